# Sourced by start and stop: where SLURM's programs are. SLURM_ROOT: a folder made by `unpack`; empty: installed packages.
ROOT=${SLURM_ROOT:-}
LIB=$ROOT/usr/lib/$(uname -m)-linux-gnu
export PATH="$ROOT/usr/sbin:$ROOT/usr/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
[ -z "$ROOT" ] || export LD_LIBRARY_PATH="$LIB:$LIB/slurm-wlm"

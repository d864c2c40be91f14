#!/bin/bash
#SBATCH --job-name=fabric-server
#SBATCH --dependency=singleton
#SBATCH --nodes=1
#SBATCH --ntasks=1
#SBATCH --cpus-per-task=2
#SBATCH --time=2-00:00:00
#SBATCH --signal=B:USR1@180
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=fabric-server.log
#
# A fabric's Redis server and submitter as a job, for sites whose login nodes end what runs long.
#
#   FABRIC_HOME=/shared/me/fabric sbatch deploy/slurm/fabric-server.sh     # sbatch's options win over those above
#   scancel --batch --signal=TERM JOBID                                    # drains the jobs, then ends, as fabric down
#
# Its pools: [pools.NAME] in the home's config.toml, or fabric pool add once it runs. Before its time is over it puts
# itself back into the queue; jobs compute on meanwhile and find the server on its new node.
set -u

# module load python; . ~/venv/bin/activate       # whatever puts fabric on PATH

: "${FABRIC_HOME:?name the folder of the fabric, which all nodes must see}"
export FABRIC_HOME
# The next node must find the data, so they cannot lie on this one's own disk. A parallel file system will do; NFS may
# lose the last seconds when a node dies.
export FABRIC_RUN_DIR="${FABRIC_RUN_DIR:-$FABRIC_HOME/data}"

# Arguments go on: after a node that died with the server, --take-over is needed once.
fabric up --foreground --bind auto "$@" &
fabric=$!
again=
trap 'again=yes; kill -s USR1 "$fabric"' USR1
trap 'kill -s TERM "$fabric"' TERM INT

while :; do
    # A signal ends the wait, not the fabric.
    wait "$fabric"
    status=$?
    kill -0 "$fabric" 2>/dev/null || break
done
if [ -n "$again" ]; then exec scontrol requeue "$SLURM_JOB_ID"; fi
exit "$status"

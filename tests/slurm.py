"""A private SLURM of virtual nodes, started by deploy/slurm-dev; its packages are installed or unpacked in a cache."""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import socket
import subprocess
from pathlib import Path

SCRIPTS = Path(__file__).parents[1] / "deploy" / "slurm-dev"
PORTS = 6
NAMED = os.environ.get("FABRIC_TEST_SLURM_ROOT")
"""Where it is unpacked, or is to be; read before tests are kept from the settings of whoever runs them."""


def root() -> str | None:
    """Where SLURM is unpacked; "" if its packages are installed, None if it is nowhere."""
    if shutil.which("slurmctld-wlm", path=_path("")) and shutil.which("munged", path=_path("")):
        return ""
    folder = _cache()
    return str(folder) if (folder / "complete").exists() else None


def lack() -> str | None:
    """Why there is no SLURM, or None; unpacks Debian's packages into the cache if they can be had."""
    if root() is not None:
        return None
    if shutil.which("apt-get") is None:
        return "slurm-wlm and munge are not installed, and there is no apt-get to unpack them with"
    folder = _cache()
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if root() is None:
            try:
                subprocess.run([SCRIPTS / "unpack", folder], check=True, capture_output=True, timeout=60)
            except (subprocess.SubprocessError, OSError) as error:
                return f"slurm-wlm and munge are not installed, and cannot be unpacked: {error}"
    return None


def _cache() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(NAMED) if NAMED else Path(base) / "adaptive-fabric" / "slurm"


def _path(unpacked: str) -> str:
    return f"{unpacked}/usr/sbin:{unpacked}/usr/bin:/usr/sbin:/usr/bin:" + os.environ["PATH"]


class Slurm:
    """A cluster of one test."""

    def __init__(self, folder: Path, nodes: int = 4) -> None:
        unpacked = root()
        assert unpacked is not None
        self.folder = folder
        self.env = {"PATH": _path(unpacked), "SLURM_CONF": str(folder / "slurm.conf")}
        if unpacked:
            library = f"{unpacked}/usr/lib/{os.uname().machine}-linux-gnu"
            self.env["LD_LIBRARY_PATH"] = f"{library}:{library}/slurm-wlm"
        self._start_env = os.environ | {"SLURM_ROOT": unpacked, "SLURM_BASE_PORT": str(_free_ports())}
        self.nodes = nodes

    def start(self) -> None:
        subprocess.run(
            [SCRIPTS / "start", self.folder, str(self.nodes)], env=self._start_env, check=True, timeout=60
        )

    def stop(self) -> None:
        subprocess.run([SCRIPTS / "stop", self.folder], env=self._start_env, check=True, timeout=60)

    def run(self, *command: str) -> str:
        """What a command of SLURM prints."""
        done = subprocess.run(
            command, env=os.environ | self.env, capture_output=True, text=True, timeout=60, check=True
        )
        return done.stdout

    def jobs(self, *states: str) -> list[str]:
        """Ids of the jobs in these states (none given: pending, running or ending)."""
        chosen = ["-t", ",".join(states)] if states else []
        return self.run("squeue", "-h", "-r", "-o", "%i", *chosen).split()

    def kill(self, daemon: str, number: signal.Signals) -> None:
        """Send a signal to "slurmctld" or a node's "slurmd-n1"."""
        os.kill(int((self.folder / "run" / f"{daemon}.pid").read_text()), number)


def _free_ports() -> int:
    """The first of some ports in a row that are free now."""
    first = 20000 + os.getpid() % 1500 * 8
    for base in range(first, 33000, 8):
        try:
            for port in range(base, base + PORTS):
                with socket.socket() as probe:
                    probe.bind(("127.0.0.1", port))
        except OSError:
            continue
        return base
    raise AssertionError("no free ports")

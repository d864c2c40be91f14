"""How the workers of a slot are started as programs: by itself on one node, by SLURM's srun on several."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Sequence
from typing import Final

from .workers import NoWorkersError, Wanted

PYTHON: Final = (sys.executable, "-P", "-m")
_SRUN: Final = (
    # A worker that dies takes the others along: the slot starts them all again, or names the point.
    *("--kill-on-bad-exit=1", "--mpi=none"),
    # The job's own script holds the cores already; without this the step would wait for them.
    *("--overlap", "--export=ALL"),
)


def commands(wanted: Wanted, module: str, *arguments: str) -> list[list[str]]:
    """The programs to start so that there are as many processes of a module as workers are wanted.

    Raises
    ------
    NoWorkersError
        There are several nodes, and no srun to reach them.
    """
    if wanted.nodes == 1:
        parent = str(os.getpid())
        return [[*PYTHON, module, "--parent", parent, *arguments] for _ in range(wanted.workers)]
    srun = shutil.which("srun")
    if srun is None:
        raise NoWorkersError(
            f"workers on {wanted.nodes} nodes are started by srun, which is not on PATH here"
        )
    spread = [f"--nodes={wanted.nodes}", f"--ntasks={wanted.workers}"]
    spread.append(f"--ntasks-per-node={wanted.workers // wanted.nodes}")
    return [[*_under_us(), srun, *_SRUN, *spread, *PYTHON, module, "--parent", "0", *arguments]]


def _under_us() -> Sequence[str]:
    """Start a program that is sent TERM when this process ends: srun passes that on, and could not pass KILL on."""
    return (*PYTHON, "fabric_jobs.deathsig", str(os.getpid()))

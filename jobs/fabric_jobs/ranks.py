"""The workers of a slot under MPI: the ranks above 0 of its world, as mpi4py.futures serves them.

Light, because every rank imports it.
"""

from __future__ import annotations

import faulthandler
import os
import signal
import sys
import traceback
from collections.abc import Callable, Sequence
from concurrent.futures import Future, wait
from pathlib import Path
from types import FrameType
from typing import Any, Final

import cloudpickle

from fabric_broker.errors import UsageError

from .deathsig import die_with_parent
from .evaluate import reseed, show_lines_at_once
from .workers import Wanted

QUIET: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
"""What a scheduler sends to all processes of a job: the agent hears it too, and lets slots finish."""
_CLOSE_S: Final = 0.2


def settle() -> None:
    """Have this rank end with what mpiexec runs on its node, and not by what a scheduler sends to all."""
    die_with_parent(os.getppid())
    for number in QUIET:
        signal.signal(number, _ignore)
    faulthandler.enable()
    show_lines_at_once()


def _ignore(number: int, frame: FrameType | None) -> None:
    """Unlike SIG_IGN, a handler is not inherited by the programs that user code starts."""


def begin(folder: str, path: Sequence[str], initializer: bytes | None) -> None:
    """Have this rank work for a run: be where rank 0 is, find what it finds, initialize.

    Parameters
    ----------
    initializer
        The run's, pickled.
    """
    reseed()
    if Path(folder).is_dir():  # rank 0 warned of it
        os.chdir(folder)
    sys.path[:0] = [entry for entry in path if entry not in sys.path]
    if initializer is not None:
        try:
            cloudpickle.loads(initializer)()
        except BaseException:
            traceback.print_exc()  # mpi4py tells only that it failed
            raise


class Ranks:
    """Workers as `workers.Workers` has them. When a rank dies, MPI ends all of them, and this slot."""

    def __init__(self, wanted: Wanted) -> None:
        from mpi4py.futures import MPIPoolExecutor

        self._executor = MPIPoolExecutor(
            main=False, initializer=begin, initargs=(str(Path.cwd()), tuple(sys.path), wanted.initializer)
        )
        self._unfinished: set[Future[Any]] = set()
        if self._executor.num_workers == 0:
            raise UsageError(
                "the run's initializer failed on a rank of MPI; its traceback is in the job's log"
            )

    def submit(self, function: Callable[..., Any], /, *args: Any) -> Future[Any]:
        """See `Workers.submit`."""
        future: Future[Any] = self._executor.submit(function, *args)
        self._unfinished.add(future)
        future.add_done_callback(self._unfinished.discard)
        return future

    def bury(self) -> str:
        """See `Workers.bury`; a rank that is seen to be dead is not the rule, since MPI ends this one too."""
        return "a cause that MPI did not tell"

    def close(self) -> None:
        """See `Workers.close`. With evaluations that go on, it ends all ranks at once, this one too."""
        self._executor.shutdown(wait=False, cancel_futures=True)
        if wait(set(self._unfinished), timeout=_CLOSE_S).not_done:
            from mpi4py import MPI

            MPI.COMM_WORLD.Abort(0)

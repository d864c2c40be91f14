"""Where evaluations run: in the slot itself, or in a pool of workers that outlives learners and its own deaths.

A kind of pool is a function that makes a PEP 3148 executor; `KINDS` names them.
"""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import pickle
import signal
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from dataclasses import dataclass
from typing import Any, Final

import cloudpickle

from fabric_broker.errors import UsageError

from .evaluate import Answer, evaluate, start_worker

_CLOSE_S: Final = 5.0
_DEATH_S: Final = 0.5


def _process_pool(workers: int, _initializer: bytes | None) -> Executor:
    return ProcessPoolExecutor(
        workers,
        # Forked: the workers have what the slot imported and initialized, at no cost. Python makes them all at the
        # first submit, from the slot's main thread, as the parent-death signal wants it.
        mp_context=multiprocessing.get_context("fork"),
        initializer=start_worker,
        initargs=(os.getpid(), None),
    )


def _loky(workers: int, initializer: bytes | None) -> Executor:
    from loky import ProcessPoolExecutor as LokyExecutor

    pool: Executor = LokyExecutor(
        workers,
        timeout=None,  # workers that end when idle would be missed by the next learner
        initializer=start_worker,
        initargs=(os.getpid(), initializer),
    )
    return pool


@dataclass(frozen=True, slots=True)
class Kind:
    """How an executor is made, and what its `shutdown` calls "drop what has not begun"."""

    make: Callable[[int, bytes | None], Executor]
    dropping: Mapping[str, bool]


KINDS: Final[Mapping[str, Kind]] = {
    "process-pool": Kind(_process_pool, {"cancel_futures": True}),
    "loky": Kind(_loky, {"kill_workers": True}),
}


class Pool:
    """Workers that evaluate the points of one function at a time.

    Parameters
    ----------
    name
        A key of `KINDS`.
    workers
        How many evaluations run at a time.
    initializer
        The run's initializer, pickled, for workers that are not forked from the initialized slot.

    Raises
    ------
    UsageError
        There is no such kind.
    """

    def __init__(self, name: str, workers: int, initializer: bytes | None = None) -> None:
        if name not in KINDS:
            raise UsageError(f"executor {name!r} is none of serial, {', '.join(KINDS)}")
        self.name = name
        self.workers = workers
        self._initializer = initializer
        self._executor = KINDS[name].make(workers, initializer)
        self._processes: list[Any] = []
        self._code = self._digest = b""
        self._sent = 0

    def use(self, function: Callable[[Any], Any]) -> None:
        """Evaluate this function from now on."""
        self._code = cloudpickle.dumps(function)
        self._digest = hashlib.sha256(self._code).digest()
        self._sent = 0

    def submit(self, point: Any, *, with_code: bool = False) -> Future[Answer]:
        """Start an evaluation. The function goes along to as many as there are workers, then on demand.

        Raises
        ------
        BrokenExecutor
            A worker died; `rebuild` first.
        """
        with_code = with_code or self._sent < self.workers
        self._sent += with_code
        try:
            body = pickle.dumps(point, 5)
        except (pickle.PicklingError, AttributeError, TypeError):
            body = cloudpickle.dumps(point, 5)
        future: Future[Answer] = self._executor.submit(
            evaluate, self._digest, self._code if with_code else None, body
        )
        self._processes = list((getattr(self._executor, "_processes", None) or {}).values())
        return future

    def rebuild(self) -> str:
        """Replace a broken executor; answers what its workers died of, as far as that is known."""
        died = self._deaths()
        self._executor.shutdown(wait=False)
        self._kill()
        self._executor = KINDS[self.name].make(self.workers, self._initializer)
        self._sent = 0
        return died

    def _deaths(self) -> str:
        # The thread of the executor may be about to collect the exit codes.
        deadline = time.monotonic() + _DEATH_S
        while True:
            # A broken executor ends the other workers by SIGTERM: those are not the cause.
            codes = {process.exitcode for process in self._processes} - {None, 0, -signal.SIGTERM}
            if codes or time.monotonic() >= deadline:
                return ", ".join(sorted(map(describe_exit, codes))) or "a cause it did not tell"
            time.sleep(0.005)

    def close(self) -> None:
        """End the workers, whatever they do."""
        self._executor.shutdown(wait=False, **KINDS[self.name].dropping)
        self._kill()

    def _kill(self) -> None:
        for process in self._processes:
            if process.exitcode is None:  # not reaped, so the pid is still its own
                os.kill(process.pid, signal.SIGKILL)
        for process in self._processes:
            process.join(_CLOSE_S)
        self._processes = []


def describe_exit(code: int) -> str:
    """An exit code in words: ``exit code 3``, ``SIGSEGV``."""
    if code >= 0:
        return f"exit code {code}"
    try:
        return signal.Signals(-code).name
    except ValueError:
        return f"signal {-code}"

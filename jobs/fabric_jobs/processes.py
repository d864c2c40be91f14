"""The workers of process-pool and loky: processes below the slot."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from typing import Any, Final

from .evaluate import start_worker
from .workers import Wanted, describe_exit

_CLOSE_S: Final = 5.0
_DEATH_S: Final = 0.5


def process_pool(wanted: Wanted) -> Processes:
    """Workers that are forked from the slot."""
    pool = ProcessPoolExecutor(
        wanted.workers,
        # Forked: the workers have what the slot imported and initialized, at no cost. Python makes them all at the
        # first submit, from the slot's main thread, as the parent-death signal wants it.
        mp_context=multiprocessing.get_context("fork"),
        initializer=start_worker,
        initargs=(os.getpid(), None),
    )
    return Processes(pool, {"cancel_futures": True})


def loky(wanted: Wanted) -> Processes:
    """Workers that are new interpreters."""
    from loky import ProcessPoolExecutor as LokyExecutor
    from loky import set_loky_pickler

    from . import loky_pickler

    set_loky_pickler(loky_pickler.__name__)
    pool: Executor = LokyExecutor(
        wanted.workers,
        timeout=None,  # workers that end when idle would be missed by the next learner
        initializer=start_worker,
        initargs=(os.getpid(), wanted.initializer),
    )
    return Processes(pool, {"kill_workers": True})


def _let_workers_go_on(thread: threading.Thread | None) -> None:
    """Let this thread, which takes the workers' answers, wait for a core rather than interrupt a worker.

    A worker that writes its answer wakes the thread, and Linux likes to run it at once in the worker's place: before
    the worker has taken what is queued for it. That nearly doubles the time between two evaluations. A thread of
    SCHED_BATCH does not interrupt whom it is woken by (sched(7)); meanwhile the worker evaluates what was queued.
    """
    if thread is None or thread.native_id is None:
        return
    try:
        if os.sched_getscheduler(thread.native_id) == os.SCHED_OTHER:
            os.sched_setscheduler(thread.native_id, os.SCHED_BATCH, os.sched_param(0))
    except (PermissionError, ProcessLookupError):
        return  # a sandbox forbids it, and what is lost is speed; or the pool broke at once, and the thread is gone


class Processes:
    """Workers of an executor that keeps them as `_processes`; see `Workers`.

    Parameters
    ----------
    dropping
        What the executor's `shutdown` calls "drop what has not begun".
    """

    def __init__(self, executor: Executor, dropping: Mapping[str, bool]) -> None:
        self._executor = executor
        self._dropping = dropping
        self._processes: list[Any] = []

    def submit(self, function: Callable[..., Any], /, *args: Any) -> Future[Any]:
        """Start a call; see `Workers.submit`."""
        future = self._executor.submit(function, *args)
        if not self._processes:  # the executor has just made them, and its thread
            _let_workers_go_on(getattr(self._executor, "_executor_manager_thread", None))
        self._processes = list((getattr(self._executor, "_processes", None) or {}).values())
        return future

    def bury(self) -> str:
        """End what a broken executor left; see `Workers.bury`."""
        died = self._deaths()
        self._executor.shutdown(wait=False)
        self._kill()
        return died

    def close(self) -> None:
        """End the workers; see `Workers.close`."""
        self._executor.shutdown(wait=False, **self._dropping)
        self._kill()

    def _deaths(self) -> str:
        # The thread of the executor may be about to collect the exit codes.
        deadline = time.monotonic() + _DEATH_S
        while True:
            # A broken executor ends the other workers by SIGTERM: those are not the cause.
            codes = {process.exitcode for process in self._processes} - {None, 0, -signal.SIGTERM}
            if codes or time.monotonic() >= deadline:
                return ", ".join(sorted(map(describe_exit, codes))) or "a cause it did not tell"
            time.sleep(0.005)

    def _kill(self) -> None:
        for process in self._processes:
            if process.exitcode is None:  # not reaped, so the pid is still its own
                os.kill(process.pid, signal.SIGKILL)
        for process in self._processes:
            process.join(_CLOSE_S)
        self._processes = []

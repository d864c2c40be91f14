"""Calls that another library's workers have in hand, as futures that `pooled` can rely on."""

from __future__ import annotations

import threading
from collections import deque
from concurrent.futures import BrokenExecutor, Future
from typing import Any


class Handing:
    """The unfinished calls of one generation of workers, oldest first; safe to use from several threads.

    The first of them count as running and cannot be cancelled any more, since libraries do not tell where a call is.

    Parameters
    ----------
    most
        How many calls may have begun.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._lock = threading.Lock()
        self._waiting: deque[Future[Any]] = deque()
        self._running: set[Future[Any]] = set()
        self._broken: str | None = None

    @property
    def broken(self) -> str | None:
        """What broke the workers, None if nothing did."""
        return self._broken

    def begin(self) -> Future[Any]:
        """The future of a call that is about to be handed over; BrokenExecutor when no calls are taken any more."""
        with self._lock:
            if self._broken is not None:
                raise BrokenExecutor(self._broken)
            future: Future[Any] = Future()
            self._waiting.append(future)
            self._promote()
            return future

    def end(self, future: Future[Any], result: Any) -> None:
        """A call ended with this result."""
        with self._lock:
            if self._over(future):
                future.set_result(result)

    def break_off(self, why: str) -> None:
        """A worker died: no unfinished call will end. Whoever says so first says why."""
        with self._lock:
            if self._broken is None:
                self._broken = why
            left = [*self._running, *(each for each in self._waiting if not each.cancelled())]
            self._running.clear()
            self._waiting.clear()
            for future in left:
                future.set_exception(BrokenExecutor(self._broken))

    def _over(self, future: Future[Any]) -> bool:
        """Count the call as ended; False when it was cancelled or broken off."""
        if future in self._waiting:  # the workers took them in another order
            self._waiting.remove(future)
            known = future.set_running_or_notify_cancel()
        else:
            known = future in self._running
            self._running.discard(future)
        self._promote()
        return known

    def _promote(self) -> None:
        while self._waiting and len(self._running) < self._most:
            future = self._waiting.popleft()
            if future.set_running_or_notify_cancel():
                self._running.add(future)

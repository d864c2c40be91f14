"""Removes checkpoint files that nobody needs any more, in a thread: a store may be slow, or not answer at all."""

from __future__ import annotations

import heapq
import threading
from collections.abc import Callable
from typing import Final

from fabric_broker.errors import FabricError
from fabric_broker.store import Store

from .orders import Remove

_LAST_WAIT: Final = 3.0
"""Seconds that the end of the agent waits for files that are due."""


class Removing:
    """Takes `Remove` orders and carries each out when it is due.

    Parameters
    ----------
    clock
        The seconds in which orders are due.
    warn
        Gets a line when a file cannot be removed; called in the thread.
    """

    def __init__(self, clock: Callable[[], float], warn: Callable[[str], None]) -> None:
        self._clock = clock
        self._warn = warn
        self._due: list[tuple[float, str, str]] = []
        self._changed = threading.Condition()
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="removing", daemon=True)

    def put(self, order: Remove) -> None:
        """Remove a file when it is due."""
        with self._changed:
            heapq.heappush(self._due, (order.due, order.store, order.path))
            if self._thread.ident is None:
                self._thread.start()
            self._changed.notify()

    def close(self) -> None:
        """Wait for what is left; a file that a slow store does not remove in time stays behind."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        if self._thread.ident is not None:
            self._thread.join(_LAST_WAIT)

    def _run(self) -> None:
        while (found := self._next()) is not None:
            store, path = found
            try:
                Store(store).remove(path)
            except FabricError as error:
                self._warn(f"a superfluous checkpoint stays behind: {error}")

    def _next(self) -> tuple[str, str] | None:
        """The next file that is due; None when there will be none."""
        with self._changed:
            while True:
                if not self._due:
                    if self._closing:
                        return None
                    self._changed.wait()
                    continue
                wait = self._due[0][0] - self._clock()
                if wait <= 0:
                    _, store, path = heapq.heappop(self._due)
                    return store, path
                self._changed.wait(wait)

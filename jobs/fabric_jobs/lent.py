"""The workers of any PEP 3148 executor, with the promises of `Workers` about their futures."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import BrokenExecutor, Executor, Future
from functools import partial
from typing import Any

from .handing import Handing


class Lent:
    """Hands calls to an executor, and breaks them all off when it fails one.

    What runs in the workers never raises (`evaluate.evaluate`), so an exception is always the executor's own: a
    worker of it died, or is out of reach.
    """

    def __init__(self, executor: Executor, workers: int) -> None:
        self._executor = executor
        # A worker begins its next call before we hear that the one before has ended.
        self._handing = Handing(2 * workers)

    @property
    def broken(self) -> str | None:
        """What broke the executor, None if nothing did."""
        return self._handing.broken

    def submit(self, function: Callable[..., Any], /, *args: Any) -> Future[Any]:
        """Start a call; see `Workers.submit`."""
        ours = self._handing.begin()
        try:
            theirs = self._executor.submit(function, *args)
        except Exception as error:
            self.break_off(_words(error))
            raise BrokenExecutor(_words(error)) from error
        ours.add_done_callback(partial(_pass_cancel, theirs))
        theirs.add_done_callback(partial(self._ended, ours))
        return ours

    def break_off(self, why: str) -> None:
        """A worker died: no unfinished call will end."""
        self._handing.break_off(why)

    def _ended(self, ours: Future[Any], theirs: Future[Any]) -> None:
        if ours.cancelled():
            return
        if theirs.cancelled():
            self.break_off("its executor, which cancelled it")
            return
        error = theirs.exception()
        if error is None:
            self._handing.end(ours, theirs.result())
        else:
            self.break_off(_words(error))


def _pass_cancel(theirs: Future[Any], ours: Future[Any]) -> None:
    if ours.cancelled():
        theirs.cancel()


def _words(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"

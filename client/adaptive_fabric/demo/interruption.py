"""Signals that end the demo."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Final, Self

_ENDING: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interruption:
    """SIGINT, SIGTERM and SIGHUP raise KeyboardInterrupt once, so that all end by way of what stops everything."""

    def __init__(self) -> None:
        self._shielded = False
        self._came = False

    def __enter__(self) -> Self:
        self._before = {number: signal.signal(number, self._come) for number in _ENDING}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    @contextmanager
    def shielded(self) -> Iterator[None]:
        """Let signals wait: a process that is being started cannot be stopped before it is written down."""
        self._shielded = True
        try:
            yield
        finally:
            self._shielded = False
        if self._came:
            raise KeyboardInterrupt

    def over(self) -> None:
        """From now on no signal counts: what stops everything takes some seconds at most."""
        self._came = True

    def _come(self, _number: int, _frame: FrameType | None) -> None:
        # An impatient second Ctrl-C must not interrupt what the first has begun.
        first, self._came = not self._came, True
        if first and not self._shielded:
            raise KeyboardInterrupt

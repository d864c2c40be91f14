"""How much of a lease's time goes into the user's function, and how many evaluations should wait for a worker."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Final

HAND_OVER_S: Final = 0.01
"""How long a worker may wait for its next point when nothing is queued for it: tell, ask, pickle, a busy machine."""
SHORT_S: Final = 1.0
"""Evaluations that take this long have nothing queued: the wait between two is nothing beside them, while a drain
would have to wait for the queued ones too."""


class Effort:
    """Seconds spent in evaluations, as those who evaluate measured them.

    Parameters
    ----------
    clock
        Monotonic seconds.
    """

    __slots__ = ("_began", "_clock", "count", "in_flight", "seconds", "workers")

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._began = clock()
        self.workers = 1
        self.count = 0
        """Evaluations that ended."""
        self.seconds = 0.0
        """What they took together."""
        self.in_flight: Callable[[], float] = lambda: 0.0
        """Seconds for which those have run that have not ended; about."""

    def add(self, seconds: float) -> None:
        """An evaluation ended."""
        self.count += 1
        self.seconds += seconds

    def overhead(self) -> float:
        """Percent of the workers' time in this lease that was not spent in the function."""
        passed = self.workers * (self._clock() - self._began)
        if passed <= 0:
            return 0.0
        return max(0.0, 100.0 * (1.0 - (self.seconds + self.in_flight()) / passed))

    def ahead(self) -> int:
        """How many evaluations to queue beyond one for each worker.

        So many that workers do not idle while the slot asks for the next point; none before the first evaluation
        ended, and none when they take long.
        """
        mean = self.seconds / self.count if self.count else SHORT_S
        if mean >= SHORT_S:
            return 0
        return min(self.workers, math.ceil(self.workers * HAND_OVER_S / max(mean, 1e-9)))

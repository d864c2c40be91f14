"""The functions that are learned. Both sides import them, so neither pays for pickling code."""

from __future__ import annotations

import functools
import os
import struct
import time
from dataclasses import dataclass
from pathlib import Path

import adaptive

_RECORD = "<ddq"
WARM_UP = "warm-up"
"""Name of the file of a function that only warms up."""
WARM_UP_POINTS = 40


def nothing(x: float) -> float:
    """No work at all: what is left is the cost of the machinery."""
    return x


@dataclass(frozen=True)
class Seen:
    """A function that leaves its process's id in a folder, so that one can kill who evaluates it."""

    folder: Path

    def __call__(self, x: float) -> float:
        (self.folder / str(os.getpid())).touch()
        time.sleep(0.02)
        return x


@dataclass(frozen=True)
class Timed:
    """A function of some length, that appends to a file when it was begun, when it ended, and the id of its process.

    Attributes
    ----------
    seconds
        By the clock on the wall.
    busy
        Compute all the while; else wait.
    """

    file: Path
    seconds: float
    busy: bool

    def __call__(self, x: float) -> float:
        began = time.perf_counter()
        if self.busy:
            while time.perf_counter() - began < self.seconds:
                pass
        else:
            time.sleep(self.seconds)
        ended = time.perf_counter()
        os.write(_open(self.file), struct.pack(_RECORD, began, ended, os.getpid()))
        return x

    def processes(self) -> int:
        """In how many processes it was evaluated."""
        return len({pid for _, _, pid in self._records()})

    def began(self) -> float:
        """When the first evaluation began, in seconds of `time.perf_counter`."""
        return min(began for began, _, _ in self._records())

    def rate(self) -> float:
        """Evaluations per second, from the first to the last."""
        times = self._records()
        return len(times) / (max(ended for _, ended, _ in times) - self.began())

    def share(self, workers: int) -> float:
        """Percent of the workers' time, from the first evaluation to the last, that was spent in evaluations."""
        times = self._records()
        passed = max(ended for _, ended, _ in times) - self.began()
        return sum(ended - began for began, ended, _ in times) / (workers * passed) * 100

    def _records(self) -> list[tuple[float, float, int]]:
        return list(struct.iter_unpack(_RECORD, self.file.read_bytes()))


@dataclass(frozen=True)
class Warm:
    """A goal: so many points; or, of a function that warms up, some in each worker."""

    workers: int
    points: int

    def __call__(self, learner: adaptive.Learner1D) -> bool:
        if learner.function.file.name == WARM_UP:
            # New interpreters: the second may come when the first has evaluated many points.
            return bool(learner.npoints >= WARM_UP_POINTS and learner.function.processes() == self.workers)
        return bool(learner.npoints >= self.points)


@functools.cache
def _open(file: Path) -> int:
    """Open a file to append to it, once in a process: it would take time between two evaluations."""
    return os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)


def learners(count: int) -> list[adaptive.Learner1D]:
    """Learners of `nothing`."""
    return [adaptive.Learner1D(nothing, (-1, 1)) for _ in range(count)]

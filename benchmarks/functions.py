"""The functions that are learned. Both sides import them, so neither pays for pickling code."""

from __future__ import annotations

import os
import struct
import time
from dataclasses import dataclass
from pathlib import Path

import adaptive


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
    """A function that waits, and appends to a file for how long it was in it."""

    file: Path
    seconds: float

    def __call__(self, x: float) -> float:
        began = time.perf_counter()
        time.sleep(self.seconds)
        with self.file.open("ab", buffering=0) as file:
            file.write(struct.pack("<d", time.perf_counter() - began))
        return x

    def spent(self) -> float:
        """Seconds of all evaluations."""
        return sum(seconds for (seconds,) in struct.iter_unpack("<d", self.file.read_bytes()))


def learners(count: int) -> list[adaptive.Learner1D]:
    """Learners of `nothing`."""
    return [adaptive.Learner1D(nothing, (-1, 1)) for _ in range(count)]

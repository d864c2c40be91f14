"""What the demo runs: the classic example, with a note of every finished evaluation."""

from __future__ import annotations

import csv
import os
import time
from collections import Counter
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any, Final, NamedTuple

from fabric_broker.home import HOME_VARIABLE

PAUSE_S: Final = 0.014
"""Seconds that each evaluation takes, so that the whole run takes about 20."""

POINTS: Final = 201
"""Each learner stops when it has more than 200."""

FACTORS: Final = (0.1, 0.5)
POWERS: Final = tuple(range(10))

NOTES: Final = "evaluations.log"


class Point(NamedTuple):
    """Where which function was evaluated."""

    a: float
    pow: int
    x: float


def h(x: float, pow: int, a: float) -> float:
    """The function to learn. Each finished evaluation adds a line to a file in the home of the job."""
    time.sleep(PAUSE_S)
    y = a * x**pow
    _note(Path(os.environ[HOME_VARIABLE]) / NOTES, f"{a!r} {pow} {float(x)!r}\n")
    return y


def enough(learner: Any) -> bool:
    """The goal."""
    return bool(learner.npoints >= POINTS)


def learners() -> tuple[list[Any], list[str]]:
    """20 learners and their names."""
    from adaptive import Learner1D

    combinations = list(product(FACTORS, POWERS))
    made = [Learner1D(partial(h, pow=pow, a=a), (-1, 1)) for a, pow in combinations]
    return made, [f"a={a}/pow={pow}" for a, pow in combinations]


def finished(home: Path) -> Counter[Point]:
    """How often each evaluation was finished."""
    found: Counter[Point] = Counter()
    for line in (home / NOTES).read_text().splitlines():
        a, pow, x = line.split()
        found[Point(float(a), int(pow), float(x))] += 1
    return found


def lost(evaluations: Counter[Point], data: set[Point]) -> int:
    """How many finished evaluations were in vain: evaluated again, or missing from the data."""
    again = sum(times - 1 for times in evaluations.values())
    missing = sum(point not in data for point in evaluations)
    return again + missing


def points_of(learners: list[Any]) -> set[Point]:
    """The points in the learners' data."""
    return {
        Point(learner.function.keywords["a"], learner.function.keywords["pow"], float(x))
        for learner in learners
        for x in learner.data
    }


def write_csv(learners: list[Any], file: Path) -> Path:
    """Write the learners' data without pandas."""
    with file.open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(("x", "y", "pow", "a"))
        for learner in learners:
            arguments = learner.function.keywords
            for x, y in sorted(learner.data.items()):
                writer.writerow((x, y, arguments["pow"], arguments["a"]))
    return file


def _note(file: Path, line: str) -> None:
    # One write to a file opened for appending is whole, whoever else writes.
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        os.write(descriptor, line.encode())
    finally:
        os.close(descriptor)

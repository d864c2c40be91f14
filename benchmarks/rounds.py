"""Measure two things by turns, so that both see the same machine, and keep what the rounds showed."""

from __future__ import annotations

import statistics
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Spread:
    """What some rounds gave."""

    min: float
    median: float
    max: float

    @classmethod
    def of(cls, values: Iterable[float]) -> Spread:
        ordered = sorted(values)
        return cls(ordered[0], statistics.median(ordered), ordered[-1])


@dataclass(frozen=True, slots=True)
class Paired:
    """Two things measured by turns; `ratio` is taken within each round."""

    ours: Spread
    theirs: Spread
    ratio: Spread


def paired(rounds: int, ours: Callable[[], float], theirs: Callable[[], float]) -> Paired:
    """Alternate `rounds` times, each time starting with the other; a first round warms up and does not count."""
    pairs: list[tuple[float, float]] = []
    for number in range(rounds + 1):
        talk(f"  round {number} of {rounds}" if number else "  warm-up")
        if number % 2:
            mine = ours()
            pairs.append((mine, theirs()))
        else:
            other = theirs()
            pairs.append((ours(), other))
    pairs = pairs[1:]
    return Paired(
        Spread.of(mine for mine, _ in pairs),
        Spread.of(other for _, other in pairs),
        Spread.of(mine / other for mine, other in pairs),
    )


def repeated(rounds: int, measure: Callable[[], float]) -> Spread:
    """What has nothing to stand beside: `rounds` measurements after one that warms up."""
    measure()
    return Spread.of(measure() for _ in range(rounds))


def talk(text: str) -> None:
    """Say how far the benchmarks are; stdout is for the table."""
    print(text, file=sys.stderr, flush=True)

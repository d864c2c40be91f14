"""A fixed work load in pure Python, by which milliseconds are judged on a machine whose speed changes."""

from __future__ import annotations

import time
from dataclasses import dataclass

UNIT_MS = 50
"""What the work load takes on the machine of RESULTS.md when nobody else uses it; else it takes up to three times that.

A budget of N ms is judged as N / UNIT_MS units, by a unit that is measured beside.
"""


@dataclass(frozen=True, slots=True)
class Unit:
    """What the work load took, in seconds."""

    wall: float
    cpu: float


@dataclass(frozen=True, slots=True)
class _Row:
    key: str
    number: int


def unit() -> Unit:
    """Do the work: numbers, texts, dictionaries, small objects, a sort."""
    began, spent = time.perf_counter(), time.thread_time()
    number, seen = 0, {}
    for i in range(110_000):
        number = (number * 31 + i) & 0xFFFF
        seen[number % 977] = i
    rows = [_Row(f"r{i % 97}.{i}", i) for i in range(17_500)]
    rows.sort(key=lambda row: (row.key, row.number))
    assert sum(len(row.key.partition(".")[2]) for row in rows) == 76390
    return Unit(time.perf_counter() - began, time.thread_time() - spent)

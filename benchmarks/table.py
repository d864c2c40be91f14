"""Rows of results, their budgets, and the one table that all of them end up in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from benchmarks.rounds import Spread


@dataclass(frozen=True, slots=True)
class Budget:
    """What a figure has to reach: at least, or below, a bound."""

    bound: float
    at_least: bool
    worst: bool = False
    """Judge the worst round instead of the median: for what is promised of every single time."""

    def met(self, spread: Spread) -> bool:
        if self.at_least:
            return (spread.min if self.worst else spread.median) >= self.bound
        return (spread.max if self.worst else spread.median) < self.bound

    def text(self, unit: str) -> str:
        worst = " at worst" if self.worst else ""
        return f"{'≥' if self.at_least else '<'} {number(self.bound)} {unit}{worst}"


@dataclass(frozen=True, slots=True)
class Row:
    """One benchmark's result. The budget is on the ratio when there is one, else on the fabric's own figure."""

    what: str
    unit: str
    fabric: Spread
    budget: Budget | None = None
    """None: a figure to compare with, not one to reach."""
    against: str | None = None
    other: Spread | None = None
    ratio: Spread | None = None

    @property
    def passed(self) -> bool | None:
        return None if self.budget is None else self.budget.met(self.ratio or self.fabric)

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "passed": self.passed}

    def cells(self) -> list[str]:
        beside = f"{self.against}: {spread_text(self.other)}" if self.other else "–"
        return [
            f"{self.what}, {self.unit}",
            spread_text(self.fabric),
            beside,
            spread_text(self.ratio) if self.ratio else "–",
            self.budget.text("×" if self.ratio else self.unit) if self.budget else "–",
            {True: "pass", False: "FAIL", None: "–"}[self.passed],
        ]


HEADS = ("what", "fabric: median (min … max)", "beside it", "ratio", "budget", "")


def number(value: float) -> str:
    """About three digits, with thousands apart."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def spread_text(spread: Spread) -> str:
    return f"{number(spread.median)} ({number(spread.min)} … {number(spread.max)})"


def table(rows: Sequence[Row]) -> str:
    """All rows as a Markdown table that also reads well in a terminal."""
    lines = [list(HEADS), *(row.cells() for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(HEADS))]
    texts = ["| " + " | ".join(map(str.ljust, line, widths)) + " |" for line in lines]
    rule = "| " + " | ".join("-" * width for width in widths) + " |"
    return "\n".join([texts[0], rule, *texts[1:]])

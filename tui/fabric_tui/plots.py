"""Plots out of characters: braille lines and shaded maps, so that they need no colour and no graphics."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

from .words import short

_DOTS: Final = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))
_SHADES: Final = " ·░▒▓█"
_LABEL: Final = 9

Point = tuple[float, float]


def line_plot(
    points: Sequence[Point], width: int, height: int, *, logarithmic: bool = False, goal: float | None = None
) -> list[str]:
    """Points joined by lines, in order of x, with the ranges beside; ``goal`` is a dashed line across."""
    finite = [(x, y) for x, y in sorted(points) if math.isfinite(x) and math.isfinite(y)]
    if logarithmic:
        finite = [(x, math.log10(y)) for x, y in finite if y > 0]
        goal = math.log10(goal) if goal is not None and goal > 0 else None
    columns, rows = width - _LABEL - 1, height - 1
    if not finite or columns < 4 or rows < 2:
        return []
    finite = _thin(finite, 2 * columns)
    ys = [y for _, y in finite] + ([goal] if goal is not None else [])
    canvas = _Canvas(columns, rows, (finite[0][0], finite[-1][0]), (min(ys), max(ys)))
    canvas.lines(finite)
    if goal is not None:
        canvas.level(goal)
    # The largest float's logarithm is rounded up, so that its power would overflow.
    top, bottom = (10 ** min(value, 308.25) if logarithmic else value for value in canvas.y[::-1])
    labels = {0: short(top), rows - 1: short(bottom)}
    lines = [f"{labels.get(row, ''):>{_LABEL - 1}} │{text}" for row, text in enumerate(canvas.texts())]
    left, right = short(canvas.x[0]), short(canvas.x[1])
    return [*lines, f"{'':>{_LABEL}}{left}{right:>{max(1, columns - len(left) + 1)}}"]


def _thin(points: list[Point], most: int) -> list[Point]:
    """Of each stretch the lowest and the highest, so that no peak is lost."""
    if len(points) <= most:
        return points
    step = len(points) / (most / 2)
    kept: list[Point] = []
    for i in range(most // 2):
        stretch = points[int(i * step) : int((i + 1) * step)]
        if stretch:
            ends = {min(stretch, key=lambda point: point[1]), max(stretch, key=lambda point: point[1])}
            kept += sorted(ends)
    return kept


class _Canvas:
    """Cells of 2 × 4 dots each over a range of x and y."""

    def __init__(self, columns: int, rows: int, x: Point, y: Point) -> None:
        self.x, self.y = x, y
        self._columns, self._rows = columns, rows
        self._cells = [[0] * columns for _ in range(rows)]

    def lines(self, points: Sequence[Point]) -> None:
        """Join the points."""
        last: tuple[int, int] | None = None
        for point in points:
            here = self._place(*point)
            self._dot(*here)
            if last is not None:
                steps = max(abs(here[0] - last[0]), abs(here[1] - last[1]))
                for step in range(1, steps):
                    part = step / steps
                    self._dot(
                        round(last[0] + (here[0] - last[0]) * part),
                        round(last[1] + (here[1] - last[1]) * part),
                    )
            last = here

    def level(self, y: float) -> None:
        """A dashed line across."""
        _, row = self._place(self.x[0], y)
        for column in range(0, 2 * self._columns, 3):
            self._dot(column, row)

    def texts(self) -> list[str]:
        """The rows as text."""
        return ["".join(chr(0x2800 + cell) if cell else " " for cell in row) for row in self._cells]

    def _place(self, x: float, y: float) -> tuple[int, int]:
        across, up = _share(x, *self.x), _share(y, *self.y)
        return round(across * (2 * self._columns - 1)), round((1 - up) * (4 * self._rows - 1))

    def _dot(self, column: int, row: int) -> None:
        if 0 <= column < 2 * self._columns and 0 <= row < 4 * self._rows:
            self._cells[row // 4][column // 2] |= _DOTS[row % 4][column % 2]


def _share(value: float, low: float, high: float) -> float:
    """Where a value lies between two, 0 to 1; in the middle if nothing is between. Halved, lest it overflow."""
    spread = high / 2 - low / 2
    return min(1.0, max(0.0, (value / 2 - low / 2) / spread)) if spread > 0 else 0.5


def heat_map(points: Sequence[tuple[float, float, float]], width: int, height: int) -> list[str]:
    """z over x and y, the nearest point for each cell, dark to bright."""
    finite = [point for point in points if all(map(math.isfinite, point))]
    columns, rows = width - _LABEL - 1, height - 2
    if len(finite) < 3 or columns < 4 or rows < 2:
        return []
    xs, ys, zs = zip(*finite, strict=True)
    low, high = min(zs), max(zs)
    cells = _nearest(finite, columns, rows)
    lines = []
    for row, values in enumerate(cells):
        shades = "".join(_SHADES[min(5, int(_share(value, low, high) * 6))] for value in values)
        label = short(max(ys)) if row == 0 else short(min(ys)) if row == rows - 1 else ""
        lines.append(f"{label:>{_LABEL - 1}} │{shades}")
    left, right = short(min(xs)), short(max(xs))
    lines.append(f"{'':>{_LABEL}}{left}{right:>{max(1, columns - len(left) + 1)}}")
    return [*lines, f"{'':>{_LABEL}}{_SHADES[1]} {short(low)} … {_SHADES[-1]} {short(high)}"]


def _nearest(points: Sequence[tuple[float, float, float]], columns: int, rows: int) -> list[list[float]]:
    """The value for each cell: its own points' mean, else what its neighbours spread into it."""
    left, right = min(point[0] for point in points), max(point[0] for point in points)
    low, high = min(point[1] for point in points), max(point[1] for point in points)
    sums: dict[tuple[int, int], list[float]] = {}
    for x, y, z in points:
        column = min(columns - 1, int(_share(x, left, right) * columns))
        row = min(rows - 1, int((1 - _share(y, low, high)) * rows))
        sums.setdefault((row, column), []).append(z)
    values = {place: sum(z / len(zs) for z in zs) for place, zs in sums.items()}
    edge = list(values)
    while edge:
        reached = []
        for row, column in edge:
            for place in ((row + 1, column), (row - 1, column), (row, column + 1), (row, column - 1)):
                if place not in values and 0 <= place[0] < rows and 0 <= place[1] < columns:
                    values[place] = values[row, column]
                    reached.append(place)
        edge = reached
    return [[values[row, column] for column in range(columns)] for row in range(rows)]

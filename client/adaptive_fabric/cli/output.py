"""How commands print: one JSON object, or a table; colours and boxes only on a terminal."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from adaptive_fabric.reasons import Reason

SCHEMA = 1
"""Version of what --json prints."""

COLOURS = {
    "done": "green",
    "leased": "cyan",
    "running": "cyan",
    "active": "cyan",
    "failed": "red",
    "quarantined": "red",
    "cancelled": "yellow",
    "paused": "yellow",
    "delayed": "yellow",
}
"""The colour of a state in tables."""


def emit(record: dict[str, Any]) -> None:
    """Print one JSON object on one line; numbers that JSON does not know (inf, nan) become null."""
    click.echo(json.dumps({"schema": SCHEMA} | _finite(record), ensure_ascii=False, allow_nan=False))


def note(text: str) -> None:
    """Say something to people: on stderr, so that it mixes with no result."""
    click.echo(text, err=True)


def on_terminal() -> bool:
    """Whether stdout is a terminal."""
    return sys.stdout.isatty()


def table(columns: Sequence[str], rows: Iterable[Sequence[object]], *, title: str | None = None) -> None:
    """Print a table: boxed on a terminal, else aligned columns of plain text."""
    cells = [["–" if cell is None else str(cell) for cell in row] for row in rows]
    if on_terminal():
        _rich_table(columns, cells, title)
        return
    if title:
        click.echo(title)
    if not cells:
        click.echo("(none)")
        return
    for line in aligned([list(columns), *cells]):
        click.echo(line)


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Rows of cells as lines with aligned columns."""
    rows = [[" ".join(cell.split()) for cell in row] for row in rows]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    ]


def plain(text: str) -> str:
    """One line without control characters: schedulers, jobs and users have written parts of it."""
    return "".join(each if each.isprintable() else " " for each in " ".join(text.split()))


def reasons(because: Iterable[Reason]) -> None:
    """Print why something is not running, and what to do."""
    for reason in because:
        click.echo(f"- {plain(reason.text)}")
        if reason.fix:
            click.echo(f"    → {plain(reason.fix)}")


def _rich_table(columns: Sequence[str], rows: Sequence[Sequence[str]], title: str | None) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    made = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, header_style="bold", pad_edge=False)
    for column in columns:
        made.add_column(column, overflow="fold")
    for row in rows:
        made.add_row(*(Text(cell, style=COLOURS.get(cell, "")) for cell in row))
    if not rows:
        made.caption = "(none)"
    Console().print(made)


def loss_text(loss: float | None) -> str | None:
    """A loss in few digits."""
    return None if loss is None else f"{loss:.3g}"


def duration_text(length: float | None) -> str | None:
    """Seconds as people read them."""
    if length is None or not math.isfinite(length):
        return None
    if length < 120:
        return f"{length:.0f} s"
    if length < 7200:
        return f"{length / 60:.0f} min"
    return f"{length / 3600:.1f} h"


def time_text(moment: float | None) -> str | None:
    """A moment in Unix seconds as local date and time."""
    if moment is None:
        return None
    return datetime.fromtimestamp(moment).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def counts_text(counts: dict[str, int]) -> str:
    """Counts of learners, e.g. ``12 done, 4 leased``."""
    return ", ".join(f"{number} {state}" for state, number in counts.items() if number) or "–"


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _finite(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(each) for each in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value

"""A run's progress while one waits for it: a live bar on a terminal, else a line now and then; on stderr."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Final

from fabric_broker.records import RunStatus
from fabric_broker.states import TERMINAL

from .runs import ENDED

if TYPE_CHECKING:
    from .runs import Run

_LOOK: Final = 0.5  # s between two looks
_SAY: Final = 10.0  # s between two lines that say the same


def watch(run: Run) -> RunStatus:
    """Show the run's progress until all its learners have ended; answers its last status."""
    return _live(run) if sys.stderr.isatty() else _lines(run)


def ended(status: RunStatus) -> int:
    """How many learners have ended."""
    return sum(number for state, number in status.counts.items() if state in TERMINAL)


def line(status: RunStatus) -> str:
    """The progress in one line."""
    text = f"{ended(status)}/{status.total} learners ended, {status.points} points"
    if status.points_per_s:
        text += f", {status.points_per_s:.3g} points/s"
    if status.eta_s is not None:
        text += f", about {status.eta_s:.0f} s left"
    return text


def _lines(run: Run) -> RunStatus:
    said, when = -1, 0.0
    for status in run.follow(pause=_LOOK):
        if status.state in ENDED:
            return status
        if ended(status) != said or time.monotonic() - when > _SAY:
            said, when = ended(status), time.monotonic()
            print(line(status), file=sys.stderr, flush=True)  # noqa: T201 - the lines are what was asked for
    raise AssertionError("follow() does not end by itself")


def _live(run: Run) -> RunStatus:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[text]}"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        bar = progress.add_task(run.name, total=run.total, text="")
        for status in run.follow(pause=_LOOK):
            progress.update(bar, completed=ended(status), text=line(status))
            if status.state in ENDED:
                return status
    raise AssertionError("follow() does not end by itself")

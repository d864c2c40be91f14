"""What the demo shows while it runs: a live picture on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Protocol, Self

from fabric_broker.records import JobRecord, LearnerRecord, RunStatus

from .example import POINTS

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.live import Live

_SAY_S: Final = 2.0  # s between two lines of progress
_NEWS: Final = 8  # lines of news under the live picture


@dataclass(frozen=True, slots=True)
class View:
    """The demo's run at one moment."""

    status: RunStatus
    jobs: Sequence[JobRecord]
    learners: Sequence[LearnerRecord]

    @property
    def done(self) -> int:
        """Learners that are done."""
        return self.status.counts.get("done", 0)

    @property
    def share(self) -> float:
        """How much of the work is done, from 0 to 1."""
        return min(1.0, self.status.points / (POINTS * self.status.total))


class Screen(Protocol):
    """Where the demo shows what happens."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def say(self, text: str) -> None:
        """Something happened."""

    def show(self, view: View) -> None:
        """Things stand like this."""


class Lines:
    """Plain lines, on stdout or, when that is for JSON, on stderr."""

    def __init__(self, *, quietly: bool) -> None:
        self._stream = sys.stderr if quietly else sys.stdout
        self._said = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        return

    def say(self, text: str) -> None:
        """Print it."""
        self._stream.write(f"{text}\n")
        self._stream.flush()

    def show(self, view: View) -> None:
        """Print a line, if the last is some time ago."""
        if time.monotonic() - self._said < _SAY_S:
            return
        self._said = time.monotonic()
        running = sum(job.state == "running" for job in view.jobs)
        self.say(
            f"{view.share:4.0%}  {view.status.points} points, {view.done}/{view.status.total} learners done, "
            f"{running} {'job' if running == 1 else 'jobs'}, {view.status.counts.get('leased', 0)} learners leased"
        )


class Picture:
    """A live picture for a terminal."""

    def __init__(self) -> None:
        self._news: deque[str] = deque(maxlen=_NEWS)
        self._began = time.monotonic()
        self._view: View | None = None
        self._live: Live | None = None

    def __enter__(self) -> Self:
        from rich.live import Live

        self._live = Live(self._render(), refresh_per_second=8, transient=True)
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()
            for text in self._news:
                self._live.console.print(text, highlight=False, markup=False)
            self._live = None

    def say(self, text: str) -> None:
        """Add it to the news under the picture; after the picture, print it."""
        if self._live is None:
            sys.stdout.write(f"{text}\n")
            sys.stdout.flush()
            return
        self._news.append(text)
        self._live.update(self._render())

    def show(self, view: View) -> None:
        """Draw the picture anew."""
        self._view = view
        if self._live is not None:
            self._live.update(self._render())

    def _render(self) -> RenderableType:
        from rich.console import Group
        from rich.text import Text

        parts: list[Any] = []
        if self._view is not None:
            parts += [self._bar(self._view), self._jobs(self._view), self._learners(self._view)]
        return Group(*parts, *(Text(text, style="yellow") for text in self._news))

    def _bar(self, view: View) -> RenderableType:
        from rich.progress_bar import ProgressBar
        from rich.table import Table

        row = Table.grid(padding=(0, 2))
        passed = time.monotonic() - self._began
        row.add_row(
            "points",
            ProgressBar(total=1.0, completed=view.share, width=40),
            f"{view.status.points}  {view.status.points_per_s:.0f}/s  {view.done}/{view.status.total} learners done",
            f"{passed:.0f} s",
        )
        return row

    def _jobs(self, view: View) -> RenderableType:
        from rich import box
        from rich.table import Table

        names = {each.id: each.name for each in view.learners}
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
        for column in ("job", "state", "learners it holds"):
            table.add_column(column)
        for job in view.jobs:
            style = {"running": "green", "ended": "red"}.get(job.state, "yellow")
            state = f"[{style}]{job.state}[/]"
            table.add_row(job.id, state, "  ".join(names.get(learner, learner) for learner in job.learners))
        return table

    def _learners(self, view: View) -> RenderableType:
        from rich.columns import Columns
        from rich.text import Text

        styles = {"done": "green", "leased": "cyan", "failed": "red", "quarantined": "red"}
        cells = [
            Text(f"{each.name} {each.npoints:>3}", style=styles.get(each.state, "dim"))
            for each in view.learners
        ]
        return Columns(cells, padding=(0, 3), equal=True)

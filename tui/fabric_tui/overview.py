"""Screen 1: how the fabric is, in numbers; its runs; its five worst problems."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.widgets import Static

from fabric_broker.states import STATES

from . import words
from .grid import Grid
from .listing import Listing
from .model import Changes, Model
from .problems import Problem, problems, scheduler_error
from .tables import Clock, Column, runs

WORST = 5


class _Worst:
    """The five worst problems as rows of a grid; a problem is its own id."""

    def __init__(self) -> None:
        self.problems: list[Problem] = []

    def __len__(self) -> int:
        return len(self.problems)

    def __getitem__(self, row: int) -> str:
        return self.problems[row].text

    def row(self, id: str) -> int | None:
        """The row of a problem."""
        return next((row for row, problem in enumerate(self.problems) if problem.text == id), None)

    def of(self, id: str) -> Problem | None:
        """The problem with this text."""
        row = self.row(id)
        return None if row is None else self.problems[row]


class Overview(Vertical):
    """The screen."""

    DEFAULT_CSS = """
    Overview .numbers { height: auto; padding: 0 1; }
    Overview .head { height: 1; padding: 0 1; color: $text-accent; text-style: bold; margin-top: 1; }
    Overview #worst { height: 6; }
    Overview.small .head { margin-top: 0; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("tab", "other", "Runs, problems", id="overview.other", show=False)
    ]
    title = "Overview"

    def __init__(self, model: Model, now: Clock, *, id: str) -> None:
        super().__init__(id=id)
        self._model = model
        self._now = now
        table = runs(model)
        self._runs = Listing(table.things(), table.order)
        self._runs.show(sort=table.sorts["Run"])
        self._worst = _Worst()
        self._told = Text()
        self._numbers = Static(classes="numbers")
        self._head = Static("Worst problems", classes="head")
        self._more = ""
        self.grid = Grid(self._runs, table.columns, id="runs", empty=lambda: "no run yet")
        columns = (Column("Enter shows them", 0, lambda id: (f"▲ {id}", "red")),)
        self.worst = Grid(self._worst, columns, id="worst", empty=lambda: "✔ nothing is wrong")

    def compose(self) -> ComposeResult:
        """Numbers, runs, problems."""
        yield self._numbers
        yield Static("Runs", classes="head")
        yield self.grid
        yield self._head
        yield self.worst

    def update(self, changes: Changes) -> None:  # noqa: ARG002 - all of it is cheap
        """The model changed."""
        self.rebuild()

    def rebuild(self) -> None:
        """Everything may be different."""
        self._runs.look_at(self._model.runs)
        found = problems(self._model)
        self._worst.problems = found[:WORST]
        more = f" (the first {WORST} of {len(found)})" if len(found) > WORST else ""
        if more != self._more:
            self._more = more
            self._head.update(f"Worst problems{more}", layout=False)
        self.grid.changed()
        self.worst.changed()
        self.tell()

    def tell(self) -> None:
        """Numbers and ages."""
        small = self.app.size.height < 30
        self.set_class(small, "small")
        width = max(20, self.size.width - 2)
        told = numbers(self._model, self._now(), width, small=small)
        if told != self._told:
            taller = told.plain.count("\n") != self._told.plain.count("\n")
            self._told = told
            self._numbers.update(told, layout=taller)

    @property
    def grids(self) -> tuple[Grid, ...]:
        """Its tables."""
        return self.grid, self.worst

    def problem(self, id: str) -> Problem | None:
        """The problem in a row of the lower table."""
        return self._worst.of(id)

    def chosen(self) -> list[str]:
        """No action is for this screen."""
        return []

    def action_other(self) -> None:
        """From one table to the other."""
        (self.worst if self.grid.has_focus else self.grid).focus()


def numbers(model: Model, now: float, width: int, *, small: bool = False) -> Text:
    """The fabric in numbers: who is alive, counts by state, rates, queue and ETA."""
    text = Text(no_wrap=True, overflow="ellipsis")
    lines = list(_health(model, now)) + ([] if small else [Text()]) + list(_counts(model, width))
    for line in [*lines, *([] if small else [Text()]), *_rates(model, width)]:
        text.append_text(line)
        text.append("\n")
    text.right_crop(1)
    return text


def _health(model: Model, now: float) -> Iterator[Text]:
    line = Text("broker ", "dim")
    line.append("✔ answers", "green") if model.connection == "live" else line.append("✘ away", "bold red")
    line.append("   submitter ", "dim")
    seen = model.submitter_seen()
    if model.submitter_alive():
        line.append("✔ alive", "green")
        line.append(f" on {words.clean(model.board.leader.get('host', '?'))}")
    else:
        line.append("✘ silent", "bold red")
        line.append("" if seen is None else f" for {words.duration(now - seen)}")
    if model.board.meta.get("held"):
        line.append("   ‖ held: no job is wanted", "magenta")
    yield line
    error = scheduler_error(model)
    line = Text("last scheduler error ", "dim")
    line.append(words.clean(error), "red") if error else line.append("none", "")
    yield line


def _counts(model: Model, width: int) -> Iterator[Text]:
    counts = {state: model.counts[state] for state in STATES}
    line = Text()
    for state, cells in words.bar(counts, width):
        line.append(words.LEARNER[state].glyph * cells, words.LEARNER[state].style)
    yield line
    line = Text()
    for state in STATES:
        if counts[state] or state in ("queued", "leased", "done", "failed"):
            told, style = words.state(words.LEARNER, state)
            line.append(f"{told} ", style)
            line.append(f"{counts[state]:,}   ", "bold")
    yield line


def _rates(model: Model, width: int) -> Iterator[Text]:
    cells = max(10, min(60, width - 40))
    for name, value, series in (
        ("points/s", words.short(model.points_per_s()), model.trend.points_per_s()),
        ("learners/h", words.count(model.trend.done_per_h_now()), model.trend.done_per_h()),
    ):
        line = Text(f"{name:<11}", "dim")
        line.append(f"{value:>9}  ", "bold")
        line.append(words.sparkline(series, cells), "green")
        yield line
    eta = model.eta_s()
    line = Text("queue depth ", "dim")
    line.append(f"{model.counts['queued']:>8,}", "bold")
    line.append("   points ", "dim")
    line.append(f"{model.points:,}", "bold")
    line.append("   ETA ", "dim")
    line.append("–" if eta is None else words.duration(eta), "bold")
    yield line

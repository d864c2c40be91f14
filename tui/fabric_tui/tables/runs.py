"""The runs of the overview."""

from __future__ import annotations

from fabric_broker.records import RunStatus
from fabric_tui import words
from fabric_tui.filters import Fields
from fabric_tui.model import Model

from .table import Cell, Column, Table, cells_of


def runs(model: Model) -> Table[RunStatus]:
    """The runs of the overview."""
    return Table(
        word="run",
        things=lambda: model.runs,
        columns=_columns(model),
        sorts={"Run": lambda run: (-(run.started or 0.0), run.name)},
        fields=Fields(texts={"name": lambda run: run.name}, numbers={}),
        problem=lambda run: run.state == "failed",
        empty="no run",
    )


def _columns(model: Model) -> tuple[Column, ...]:
    cell = cells_of(lambda: model.runs)

    def progress(run: RunStatus) -> Cell:
        done, cells = run.counts.get("done", 0), 16
        full = int(done * cells / run.total) if run.total else 0
        return "█" * full + "░" * (
            cells - full
        ) + f" {done * 100 // run.total if run.total else 0:3d} %", "green"

    def failed(run: RunStatus) -> Cell:
        number = run.counts.get("failed", 0) + run.counts.get("quarantined", 0)
        return (words.count(number), "bold red") if number else ("0", "")

    def eta(run: RunStatus) -> Cell:
        return ("–" if run.eta_s is None else words.duration(run.eta_s)), ""

    return (
        Column("State", 11, cell(lambda run: words.state(words.RUN, run.state))),
        Column("Run", 0, cell(lambda run: (run.name, "")), least=12),
        Column("Done", 22, cell(progress)),
        Column("Learners", 8, cell(lambda run: (words.count(run.total), "")), right=True, rank=2),
        Column("Failed", 6, cell(failed), right=True),
        Column("Points", 10, cell(lambda run: (words.count(run.points), "")), right=True, rank=1),
        Column("Points/s", 8, cell(lambda run: (words.short(run.points_per_s), "")), right=True),
        Column("ETA", 6, cell(eta), right=True),
    )

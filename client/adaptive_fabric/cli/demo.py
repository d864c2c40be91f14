"""The command that shows it all: demo."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from .opening import Opening, json_option, opening
from .output import emit, loss_text, on_terminal, table

if TYPE_CHECKING:
    from adaptive_fabric.demo.screen import Screen
    from adaptive_fabric.demo.stage import Report

FAILED = 5
"""Exit code when a learner failed."""


@click.command()
@click.option(
    "--dir", "folder", metavar="DIR", help="Where it lives and leaves plot and data; else demo in the home."
)
@json_option
@opening
def demo(start: Opening, folder: str | None, *, as_json: bool) -> int:
    """Run 20 learners on 2 local jobs, kill one job half-way, and count what that cost.

    It has a fabric of its own; when it ends nothing of it runs any more, plot and data stay.
    """
    from adaptive_fabric.demo.stage import run_demo

    report = run_demo(folder or start.home().path / "demo", _screen(quietly=as_json))
    if as_json:
        emit(report.as_json())
    else:
        _print(report)
    return FAILED if report.failed else 0


def _screen(*, quietly: bool) -> Screen:
    from adaptive_fabric.demo.screen import Lines, Picture

    return Picture() if on_terminal() and not quietly else Lines(quietly=quietly)


def _print(report: Report) -> None:
    rows = [
        (row.name, row.state, row.points, loss_text(row.loss), " → ".join(row.jobs)) for row in report.rows
    ]
    table(("learner", "state", "points", "loss", "jobs that ran it"), rows)
    click.echo(
        f"{report.done} of {report.learners} learners done, {report.points} points in {report.seconds:.0f} s"
    )
    click.echo(
        f"{report.killed_jobs} job killed, {report.reassigned} learners went on elsewhere; "
        f"the crash cost {report.points_lost} finished points"
    )
    click.echo(f"plot: {report.plot or 'none, matplotlib is not installed'}")
    click.echo(f"data: {report.data}")

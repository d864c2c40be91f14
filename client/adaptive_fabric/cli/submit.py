"""The command that submits."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from .opening import Opening, opening
from .output import counts_text, note

if TYPE_CHECKING:
    from adaptive_fabric.runs import Run

FAILED = 5
"""Exit code of ``submit --wait`` and ``demo`` with failed learners."""


@click.command()
@click.argument("file")
@click.option("--name", help="The run's name; a unique one is made without it.")
@click.option("--pool", help='The pool to run in; else the only one, else "local".')
@click.option(
    "--goal", help="npoints (200), loss (0.01), leased time (1:30:00) or a date; overrides FILE's goal."
)
@click.option("--wait", is_flag=True, help="Wait for the end; exit code 5 when learners failed.")
@opening
def submit(
    start: Opening, file: str, name: str | None, pool: str | None, goal: str | None, *, wait: bool
) -> int:
    """Submit the learners that FILE defines, and print the run's id.

    FILE is Python; it sets `learners`, a list, and may set `names` (one per learner) and `goal`.
    """
    from adaptive_fabric.goals import parse_goal
    from adaptive_fabric.looking import submitter_alive
    from adaptive_fabric.script import read_script

    given = None if goal is None else parse_goal(goal)
    script = read_script(file)
    with start.fabric() as fabric:
        run = fabric.submit(
            script.learners,
            name=name,
            names=script.names,
            goal=script.goal if given is None else given,
            pool=pool,
        )
        click.echo(run.id)
        if not submitter_alive(fabric):
            note("the submitter is silent, so no new jobs come: `fabric up` starts it")
        return _wait(run) if wait else 0


def _wait(run: Run) -> int:
    from adaptive_fabric.progress import watch

    try:
        status = watch(run)
    except KeyboardInterrupt:
        note(f"run {run.name} goes on")
        raise
    note(f"run {run.name} is {status.state}: {counts_text(status.counts)}; {status.points} points")
    return {"done": 0, "failed": FAILED}.get(status.state, 1)

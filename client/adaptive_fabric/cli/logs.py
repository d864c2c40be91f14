"""The command that prints logs."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

import click

from fabric_broker.errors import UsageError

from .opening import Opening, json_option, opening, run_option
from .output import emit

if TYPE_CHECKING:
    from adaptive_fabric.fabric import Fabric
    from adaptive_fabric.looking import Logs
    from fabric_broker.events import LogLine


@click.command()
@click.argument("target", metavar="JOB|LEARNER")
@click.option("-f", "--follow", is_flag=True, help="Go on with new lines until the job or learner has ended.")
@run_option
@json_option
@opening
def logs(start: Opening, target: str, run_name: str | None, *, follow: bool, as_json: bool) -> None:
    """Print the log of a job, or what all jobs said of a learner."""
    if follow and as_json:
        raise UsageError("--json prints one object, so it cannot follow")
    with start.fabric() as fabric:
        found = _find(fabric, target, run_name)
        if as_json:
            emit({"lines": [_record(line) for line in found.lines()]})
            return
        try:
            for line in found.follow() if follow else found.lines():
                click.echo(_text(line))
        except KeyboardInterrupt:
            if not follow:
                raise
            return
        _print_problem(found.problem())


def _find(fabric: Fabric, word: str, run_name: str | None) -> Logs:
    from adaptive_fabric.looking import Logs

    from .targets import Job, Learner, find_target

    target = find_target(fabric, word, run_name)
    if isinstance(target, Job):
        return Logs(fabric, target.id, None)
    if isinstance(target, Learner):
        return Logs(fabric, None, target.id)
    raise UsageError(f"{word} is a run; name one of its learners, or a job")


def _print_problem(problem: dict[str, Any] | None) -> None:
    """Where a learner's last error came from, and its traceback."""
    if problem is None:
        return
    where = [f"{what} {problem[what]}" for what in ("point", "node", "signal") if problem.get(what)]
    click.echo(f"last error: {', '.join(where)}" if where else "last error:")
    click.echo(str(problem.get("traceback") or problem.get("text", "")).rstrip())
    for line in problem.get("log", ()):  # the last words of a slot that died
        click.echo(f"  {line}")


def _record(line: LogLine) -> dict[str, object]:
    return {"time": line.time, "job": line.job, "learner": line.learner, "text": line.text}


def _text(line: LogLine) -> str:
    clock = datetime.fromtimestamp(line.time).astimezone().strftime("%H:%M:%S")
    return f"{clock} {line.learner or line.job}  {line.text}"

"""The command that answers: why is this not running?"""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from .opening import Opening, json_option, opening, run_option
from .output import emit, plain, reasons

if TYPE_CHECKING:
    from adaptive_fabric.explaining import Explained
    from adaptive_fabric.fabric import Fabric


@click.command()
@click.argument("target", metavar="LEARNER|JOB|POOL|RUN")
@run_option
@json_option
@opening
def explain(start: Opening, target: str, run_name: str | None, *, as_json: bool) -> None:
    """Say why a learner, a job, a pool or a run is not running, and what to do about it."""
    with start.fabric() as fabric:
        found = _explain(fabric, target, run_name)
    if as_json:
        emit(found.as_json())
        return
    click.echo(plain(found.heading))
    reasons(found.because)


def _explain(fabric: Fabric, word: str, run_name: str | None) -> Explained:
    """A word names a learner, else a job, else a pool, else a run; NotFoundError."""
    from adaptive_fabric import explaining
    from fabric_broker.errors import NotFoundError

    from .targets import Job, Learner, find_target, is_pool

    if run_name is None and is_pool(fabric, word):
        return explaining.explain_pool(fabric, word)
    try:
        found = find_target(fabric, word, run_name)
    except NotFoundError as error:
        if run_name is not None:
            raise
        raise NotFoundError(
            f"no learner, job, pool or run {word!r}; a learner's name needs --run RUN"
        ) from error
    if isinstance(found, Learner):
        return explaining.explain_learner(fabric, found.id)
    if isinstance(found, Job):
        return explaining.explain_job(fabric, found.id)
    return explaining.explain_run(fabric, found.id)

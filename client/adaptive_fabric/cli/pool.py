"""Commands about one pool: add, show, resume, remove."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Any

import click

from fabric_broker.errors import FabricError, NotFoundError
from fabric_submitter.specs import PBS

from .opening import Opening, opening
from .output import note, reasons
from .spec_options import spec_of, spec_options

if TYPE_CHECKING:
    from adaptive_fabric.pools import Pool


class PoolInUseError(FabricError):
    """The pool has learners that are not done; cancel them, or let them finish."""


@click.group()
def pool() -> None:
    """One pool: add it, show it, let it submit again, remove it."""


@pool.command()
@click.argument("name")
@click.option("--jobs", type=int, help="How many jobs there may be; without it: as it is, 1 for a new pool.")
@spec_options
@opening
def add(
    start: Opening, /, name: str, kind: str, more: tuple[str, ...], jobs: int | None, **options: Any
) -> None:
    """Create the pool NAME, or change what its new jobs get: what is not given becomes the default."""
    spec = spec_of(kind, more, options)
    with start.fabric() as fabric:
        made = fabric.pool(name, spec, jobs=jobs)
    note(f"pool {made.name}: at most {made.jobs} {made.spec.kind} jobs")


@pool.command()
@click.argument("name")
@click.option("--script", is_flag=True, help="Print the script that would be submitted for one job.")
@opening
def show(start: Opening, name: str, *, script: bool) -> None:
    """Show what each job of the pool NAME gets, and what keeps it from running what is queued there."""
    from adaptive_fabric.explaining import explain_pool

    with start.fabric() as fabric:
        found = fabric.pool(name)
        because = explain_pool(fabric, name).because
    if script:
        click.echo(_script(start, found), nl=False)
        return
    click.echo(f"pool = {found.name}")
    click.echo(f"jobs = {found.jobs}")
    for setting, value in {**found.spec.to_dict(), "executor": found.spec.executor}.items():
        click.echo(f"{setting} = {'–' if value in (None, [], {}) else value}")
    reasons(because)


@pool.command()
@click.argument("name")
@opening
def resume(start: Opening, name: str) -> None:
    """Let the pool NAME submit jobs again after it stopped because too many died young."""
    from adaptive_fabric.asking import asking
    from fabric_broker.intents import resume_pool

    with start.fabric() as fabric, asking(fabric.broker.redis):
        if not fabric.broker.do(resume_pool(name)):
            raise NotFoundError(f"no pool {name!r}; `fabric pools` lists them")
    note(f"pool {name} submits jobs again")


@pool.command()
@click.argument("name")
@opening
def remove(start: Opening, name: str) -> None:
    """Remove the pool NAME, which no open learner may need; its jobs end by themselves."""
    from adaptive_fabric.asking import asking
    from fabric_broker.calls import remove_pool

    with start.fabric() as fabric, asking(fabric.broker.redis):
        answer = fabric.broker.do(remove_pool(name))
    if answer == "no pool":
        raise NotFoundError(f"no pool {name!r}; `fabric pools` lists them")
    if answer == "in use":
        raise PoolInUseError(f"pool {name!r} has learners that are not done; cancel them, or let them finish")
    note(f"pool {name} is removed")


def _script(start: Opening, found: Pool) -> str:
    """What would be submitted, to the letter, but for the id of the intent."""
    from fabric_broker.survey import job_id
    from fabric_submitter.adapters.pbs import submit_command
    from fabric_submitter.adapters.scheduler import Request
    from fabric_submitter.scripts import EXAMPLE, render

    home = start.home()
    request = Request(EXAMPLE, found.name, found.spec, (job_id(EXAMPLE),))
    if isinstance(found.spec, PBS):
        note(shlex.join(submit_command(request, found.spec, str(home.job_script(EXAMPLE)))))
    return render(home, request)

"""Commands about one pool: show, remove."""

from __future__ import annotations

import click

from fabric_broker.errors import FabricError, NotFoundError

from .opening import Opening, opening
from .output import note


class PoolInUseError(FabricError):
    """The pool has learners that are not done; cancel them, or let them finish."""


@click.group()
def pool() -> None:
    """One pool: show it, remove it."""


@pool.command()
@click.argument("name")
@opening
def show(start: Opening, name: str) -> None:
    """Show what each job of the pool NAME gets."""
    with start.fabric() as fabric:
        found = fabric.pool(name)
    click.echo(f"pool = {found.name}")
    click.echo(f"jobs = {found.jobs}")
    for setting, value in found.spec.to_dict().items():
        click.echo(f"{setting} = {'–' if value in (None, [], {}) else value}")


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

"""Commands about the home: config, key."""

from __future__ import annotations

import click

from .opening import Opening, opening
from .output import note, table


@click.command()
@click.option("--explain", is_flag=True, help="Say where each value comes from and what it means.")
@opening
def config(start: Opening, *, explain: bool) -> None:
    """Show the settings of the home: config.toml, and the environment over it."""
    found = start.config()
    settings = found.explain()
    for line in found.curbed:
        note(line)
    if explain:
        table(("setting", "value", "from", "meaning"), [(s.name, s.value, s.source, s.doc) for s in settings])
        return
    click.echo(f"home = {start.home().path}")
    for setting in settings:
        click.echo(f"{setting.name} = {setting.value}")


@click.group()
def key() -> None:
    """The key that signs learners, journals and checkpoints."""


@key.command()
@opening
def export(start: Opening) -> None:
    """Print the work key, for the work.key (mode 0600) of a home on another machine. Who has it can run code."""
    from fabric_broker.signing import load_key

    click.echo(load_key(start.home().work_key).hex())

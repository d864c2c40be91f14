"""The command that checks: doctor."""

from __future__ import annotations

import os
from dataclasses import asdict

import click

from .opening import Opening, json_option, opening
from .output import aligned, emit


@click.command()
@click.option(
    "--wait",
    metavar="SECONDS",
    type=click.FloatRange(min=0),
    default=60.0,
    show_default=True,
    help="How long the small job that each pool is sent may take to phone home; 0: none is sent.",
)
@json_option
@opening
def doctor(start: Opening, wait: float, *, as_json: bool) -> int:
    """Check that everything the fabric needs is in order; exit code 1 when something is not.

    Each pool is sent one small job that tells from its node whether learners could run there.
    """
    from adaptive_fabric.doctor import examine

    if start.url is not None:
        os.environ["FABRIC_URL"] = start.url  # the jobs need to know too
    checks = list(examine(start.home(), start.config(), start.url, wait=wait))
    if as_json:
        emit({"checks": [asdict(check) for check in checks]})
    else:
        for line in aligned([["ok" if check.ok else "FAILED", check.name, check.text] for check in checks]):
            click.echo(line)
    return 0 if all(check.ok for check in checks) else 1

"""The command that checks: doctor."""

from __future__ import annotations

from dataclasses import asdict

import click

from .opening import Opening, json_option, opening
from .output import aligned, emit


@click.command()
@json_option
@opening
def doctor(start: Opening, *, as_json: bool) -> int:
    """Check that everything the fabric needs is in order; exit code 1 when something is not."""
    from adaptive_fabric.doctor import examine

    checks = list(examine(start.home(), start.config(), start.url))
    if as_json:
        emit({"checks": [asdict(check) for check in checks]})
    else:
        for line in aligned([["ok" if check.ok else "FAILED", check.name, check.text] for check in checks]):
            click.echo(line)
    return 0 if all(check.ok for check in checks) else 1

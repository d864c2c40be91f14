"""`fabric status --watch`: the same again and again until Ctrl-C, also while the server is away."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

import click

from adaptive_fabric.looking import FabricStatus, fabric_status
from fabric_broker.errors import FabricError, UnreachableError

from .opening import Opening
from .output import note, on_terminal

UNREACHABLE = UnreachableError.exit_code


def watch(start: Opening, every: float, show: Callable[[FabricStatus], None], *, clearing: bool) -> None:
    """Show the fabric every so many seconds. An error of the first look is raised; later ones are waited out.

    Each attempt finds the server anew, for address and password may change. `clearing`: on a terminal, each look
    takes the place of the one before; elsewhere an empty line lies between.
    """
    last: FabricStatus | None = None
    try:
        while True:
            try:
                with start.fabric() as fabric:
                    while True:
                        found = fabric_status(fabric)
                        _begin(first=last is None, clearing=clearing)
                        show(found)
                        last = found
                        time.sleep(every)
            except FabricError as error:
                if last is None or error.exit_code != UNREACHABLE:
                    raise
                _begin(first=False, clearing=clearing)
                show(replace(last, answers=False))
                note(f"fabric: {error}; tried again every {every:g} s")
            time.sleep(every)
    except KeyboardInterrupt:
        return  # the only way to end it, so no failure


def _begin(*, first: bool, clearing: bool) -> None:
    if not clearing:
        return
    if on_terminal():
        click.clear()
    elif not first:
        click.echo()

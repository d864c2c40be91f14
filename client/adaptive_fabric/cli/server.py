"""Commands that start and stop a home's processes: up, down."""

from __future__ import annotations

import os
import signal
import threading
from typing import TYPE_CHECKING, Final

import click

from .opening import Opening, opening
from .output import note

if TYPE_CHECKING:
    from fabric_broker.config import Config
    from fabric_broker.home import Home

LOOK_S: Final = 1.0
"""Seconds between two looks at what `up --foreground` started."""


@click.command()
@click.option(
    "--bind",
    metavar="ADDR|auto",
    help="Listen for other nodes too: on this address, or the one that they most likely reach (auto).",
)
@click.option("--foreground", is_flag=True, help="Stay, and do `fabric down` when interrupted or terminated.")
@click.option(
    "--take-over", is_flag=True, help="Start here although another host's lock is there; it must be dead."
)
@opening
def up(start: Opening, bind: str | None, *, foreground: bool, take_over: bool) -> None:
    """Start the server and the submitter; nothing happens when they run.

    With no pool in the config or in Redis it makes "local": 2 jobs on this machine. In the foreground it also starts
    again what dies of them; SIGUSR1 ends it as SIGTERM does, but leaves the jobs running.
    """
    from adaptive_fabric import running

    if start.url is not None:
        os.environ["FABRIC_URL"] = start.url  # the submitter needs to know too
    home, config = start.home(), start.config()
    for line in config.curbed:
        note(line)
    told = (
        _Told() if foreground else None
    )  # from now on: what was started half-way must be taken down as well
    server = running.up(home, config, bind=bind, take_over=take_over)
    running.define_default_pool(home, config)
    note(f"fabric {config.name!r} is up at {server.url}; its home is {home.path}")
    if told is not None:
        _stay(home, config, bind, told)


@click.command()
@click.option(
    "--keep-jobs", is_flag=True, help="Leave the jobs running; they wait for the server to come back."
)
@opening
def down(start: Opening, *, keep_jobs: bool) -> None:
    """Drain the jobs, stop the submitter, then the server; runs stay, and `up` goes on with them."""
    from adaptive_fabric import running

    running.down(start.home(), start.config(), keep_jobs=keep_jobs, say=note)
    note("the fabric is down")


class _Told:
    """What signals told `up --foreground`."""

    def __init__(self) -> None:
        self.numbers: list[int] = []
        self.to_end = threading.Event()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1):
            signal.signal(number, self._take)

    def _take(self, number: int, _frame: object) -> None:
        self.numbers.append(number)
        self.to_end.set()


def _stay(home: Home, config: Config, bind: str | None, told: _Told) -> None:
    """Look after server and submitter until a signal comes, then take them down."""
    from adaptive_fabric import running

    note("Ctrl-C stops it")
    while not told.to_end.wait(LOOK_S):  # with a time-out, or a signal would wait for the end of the wait
        if not running.revive(home, config, bind=bind):
            note("the fabric was taken down")
            return
    running.down(home, config, keep_jobs=signal.SIGUSR1 in told.numbers, say=note)

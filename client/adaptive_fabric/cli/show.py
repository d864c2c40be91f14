"""Commands that look: status, runs, learners, jobs, pools."""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from .opening import Opening, json_option, opening
from .output import counts_text, duration_text, emit, loss_text, table, time_text

if TYPE_CHECKING:
    from adaptive_fabric.looking import FabricStatus, PoolStatus
    from fabric_broker.records import RunStatus


@click.command()
@click.option(
    "--watch",
    "every",
    is_flag=False,
    flag_value=2.0,
    type=click.FloatRange(min=0, min_open=True),
    metavar="[SECONDS]",
    help="Show it again every 2 s (or so many), until Ctrl-C; with --json, an object a line.",
)
@json_option
@opening
def status(start: Opening, *, every: float | None, as_json: bool) -> None:
    """Show the fabric: server, submitter, pools, runs."""
    from adaptive_fabric.looking import fabric_status

    from .watch import watch

    def show(found: FabricStatus) -> None:
        if as_json:
            emit(found.as_json())
            return
        _print_head(found)
        _print_pools(found.pools)
        _print_runs(found.runs)

    if every is None:
        with start.fabric() as fabric:
            show(fabric_status(fabric))
    else:
        watch(start, every, show, clearing=not as_json)


@click.command()
@json_option
@opening
def runs(start: Opening, *, as_json: bool) -> None:
    """List runs, oldest first."""
    from adaptive_fabric.looking import run_list

    with start.fabric() as fabric:
        found = run_list(fabric)
    if as_json:
        emit({"runs": [run.as_json() for run in found]})
    else:
        _print_runs(found)


@click.command()
@click.argument("run")
@json_option
@opening
def learners(start: Opening, run: str, *, as_json: bool) -> None:
    """List the learners of RUN, in order of submission."""
    with start.fabric() as fabric:
        found = fabric.run(run).learners()
    if as_json:
        emit({"learners": [record.as_json() for record in found]})
        return
    rows = [
        (
            each.id,
            each.name,
            each.state,
            each.npoints,
            loss_text(each.loss),
            each.job,
            each.attempts,
            each.error,
        )
        for each in found
    ]
    table(("id", "name", "state", "points", "loss", "job", "attempts", "error"), rows)


@click.command()
@json_option
@opening
def jobs(start: Opening, *, as_json: bool) -> None:
    """List jobs, oldest first; those that ended are kept for a while."""
    with start.fabric() as fabric:
        found = fabric.jobs()
    if as_json:
        emit({"jobs": [record.as_json() for record in found]})
        return
    now = time.time()
    rows = [
        (
            each.id,
            each.pool,
            each.state,
            each.node,
            f"{len(each.learners)}/{each.slots}",
            None if each.last_seen is None else duration_text(max(0.0, now - each.last_seen)),
            each.scheduler_id,
            each.reason,
        )
        for each in found
    ]
    table(("id", "pool", "state", "node", "busy", "seen ago", "scheduler id", "reason"), rows)


@click.command()
@json_option
@opening
def pools(start: Opening, *, as_json: bool) -> None:
    """List pools, oldest first."""
    from adaptive_fabric.looking import pool_statuses

    with start.fabric() as fabric:
        found = pool_statuses(fabric)
    if as_json:
        emit({"pools": [asdict(pool) for pool in found]})
    else:
        _print_pools(found)


def _print_head(found: FabricStatus) -> None:
    submitter = "alive" if found.submitter_alive else "not running"
    if found.submitter_seen is not None:
        submitter += f" (last seen {time_text(found.submitter_seen)})"
    away = "" if found.answers else " (does not answer; what it said last)"
    click.echo(f"fabric    {found.fabric} at {found.url}{away}")
    click.echo(f"submitter {submitter}")
    click.echo(f"learners  {counts_text(found.counts)}")


def _print_pools(found: list[PoolStatus]) -> None:
    rows = [(pool.name, pool.wanted, pool.running, pool.pending, pool.circuit) for pool in found]
    table(("pool", "wanted", "running", "pending", "circuit"), rows)


def _print_runs(found: list[RunStatus]) -> None:
    rows = [
        (
            run.id,
            run.name,
            run.state,
            f"{counts_text(run.counts)} of {run.total}",
            run.points,
            f"{run.points_per_s:g}",
            duration_text(run.eta_s),
            time_text(run.started),
            time_text(run.ended),
        )
        for run in found
    ]
    table(("id", "run", "state", "learners", "points", "points/s", "left", "started", "ended"), rows)

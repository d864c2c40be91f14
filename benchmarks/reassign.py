"""How long a learner is without a holder after a kill -9 of its slot, or of its whole job."""

from __future__ import annotations

import contextlib
import os
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import adaptive
import psutil

from adaptive_fabric import Run
from benchmarks.functions import Seen
from benchmarks.rounds import repeated, talk
from benchmarks.stand import TIMEOUT, Stand, until
from benchmarks.table import Budget, Row
from fabric_broker.reads import now

NEVER = 10**9  # points; these learners are cancelled
TTL = 3.0  # s


def measure(stand: Stand, rounds: int) -> list[Row]:
    """From the kill to the lease of the next holder, by Redis' clock. A promise, so the worst round is judged."""
    return [
        Row(
            what="kill -9 a slot → another holds its learner",
            unit="s",
            fabric=repeated(rounds, lambda: _after_a_slot(stand)),
            budget=Budget(1, at_least=False, worst=True),
        ),
        Row(
            what=f"kill -9 a job, TTL {TTL:.0f} s, a slot idle elsewhere → that one holds its learner",
            unit="s",
            fabric=repeated(rounds, lambda: _after_a_job(stand)),
            budget=Budget(TTL + 1, at_least=False, worst=True),
        ),
    ]


def _after_a_slot(stand: Stand) -> float:
    talk("  kill -9 a slot")
    with _evaluating(stand, stand.pool("slots", slots=2), count=1) as (run, (folder,)):
        (process,) = folder.iterdir()
        began = now(stand.broker)
        os.kill(int(process.name), signal.SIGKILL)
        return _next_lease(stand, run, began) - began


def _after_a_job(stand: Stand) -> float:
    talk("  kill -9 a job")
    with _evaluating(stand, stand.pool("jobs", slots=1, jobs=2, ttl=TTL), count=2) as (run, _):
        # Both jobs are there; the second learner goes, so that its job has an idle slot.
        run.cancel(["1"])
        until(lambda: run.learners()[1].state == "cancelled", "the second learner cancelled")
        job = run.learners()[0].job
        processes = stand.processes({"FABRIC_JOB": str(job)})
        if not processes:
            raise RuntimeError(f"found no process of job {job}")
        began = now(stand.broker)
        for process in processes:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        return _next_lease(stand, run, began) - began


@contextlib.contextmanager
def _evaluating(stand: Stand, pool: str, count: int) -> Iterator[tuple[Run, list[Path]]]:
    """Learners that never end, all of them being evaluated; each has a folder that holds its slot's process id."""
    with tempfile.TemporaryDirectory(prefix="fabric-bench-") as parent:
        folders = [Path(parent) / str(index) for index in range(count)]
        for folder in folders:
            folder.mkdir()
        learners = [adaptive.Learner1D(Seen(folder), (-1, 1)) for folder in folders]
        run = stand.fabric.submit(learners, goal=NEVER, pool=pool)
        try:
            until(lambda: all(any(folder.iterdir()) for folder in folders), "all learners evaluated")
            yield run, folders
        finally:
            run.cancel()
            run.wait(timeout=TIMEOUT)


def _next_lease(stand: Stand, run: Run, after: float) -> float:
    """When the first learner was leased the next time, in Unix seconds of Redis TIME."""
    learner = run.learners()[0].id

    def leases() -> list[float]:
        events = stand.events(run)
        return [e.at for e in events if e.learner == learner and e.event == "acquire" and e.at > after]

    until(lambda: bool(leases()), "the learner leased again")
    return leases()[0]

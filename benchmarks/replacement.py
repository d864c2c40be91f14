"""How long a pool lacks a job: from a job's death to the submit of the one that replaces it."""

from __future__ import annotations

import contextlib
import tempfile
import time
from pathlib import Path

import adaptive
import psutil

from benchmarks.functions import Seen
from benchmarks.pretended import JOBS, TTL, Pretended, pretended
from benchmarks.rounds import repeated, talk
from benchmarks.stand import TIMEOUT, Stand, until
from benchmarks.table import Row
from fabric_broker.config import Config

NEVER = 10**9  # points; these learners are cancelled


def measure(stand: Stand, rounds: int) -> list[Row]:
    """A local job that is killed, and a node that fails under one of many batch jobs."""
    rows = [
        Row(
            what="kill -9 a local job → another one is started in its place",
            unit="s",
            fabric=repeated(rounds, lambda: _local(stand)),
        )
    ]
    with pretended() as world:
        interval = Config.load(world.home, {}).poll_interval
        rows.append(
            Row(
                what=f"node failure under one of {JOBS:,} SLURM jobs (TTL {TTL:.0f} s, a poll every {interval:.0f} s)"
                " → sbatch of its replacement",
                unit="s",
                fabric=repeated(rounds, lambda: _batch(world)),
            )
        )
    return rows


def _local(stand: Stand) -> float:
    """One job that works; all of its processes are killed at once."""
    talk("  kill -9 a local job")
    pool = stand.pool("replaced", slots=1, ttl=TTL)
    with tempfile.TemporaryDirectory(prefix="fabric-bench-") as folder:
        learner = adaptive.Learner1D(Seen(Path(folder)), (-1, 1))
        run = stand.fabric.submit([learner], goal=NEVER, pool=pool)
        try:
            until(lambda: run.learners()[0].npoints > 0, "points", seconds=TIMEOUT)
            job = str(run.learners()[0].job)
            processes = stand.processes({"FABRIC_JOB": job}, "")
            began = time.monotonic()
            for process in processes:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()
            until(lambda: _replaced(stand, pool, job), "another job", seconds=TIMEOUT)
            return time.monotonic() - began
        finally:
            run.cancel()
            run.wait(timeout=TIMEOUT)


def _replaced(stand: Stand, pool: str, dead: str) -> bool:
    """Whether the pool's newest job is another one, and has been submitted."""
    *_, newest = [job for job in stand.fabric.jobs() if job.pool == pool]
    return newest.id != dead and newest.scheduler_id is not None


def _batch(world: Pretended) -> float:
    """The scheduler says that a node failed, and its agent is silent."""
    talk("  a node fails")
    submits, held = world.cluster.calls()["sbatch"], world.agents.held()
    began = time.monotonic()
    world.cluster.end(world.agents.kill_newest())
    until(lambda: world.cluster.calls()["sbatch"] > submits, "another sbatch", seconds=TIMEOUT)
    took = time.monotonic() - began
    until(lambda: world.agents.held() == held, "its claim", seconds=TIMEOUT)
    return took

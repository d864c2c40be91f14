"""Slots under MPI: a real agent, a real Redis, a real mpiexec. Whatever is killed, nothing below it lives on."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any

import cloudpickle
import psutil
import pytest
from tests import openmpi
from tests.agents import PATIENCE, World, counted, until

from fabric_broker.home import Home
from fabric_broker.lock import ProcessId

cloudpickle.register_pickle_by_value(sys.modules[__name__])

pytestmark = [pytest.mark.needs("mpi"), pytest.mark.timeout(500)]
SLOW = 200.0
"""Seconds for a world to come up: each rank is a new interpreter."""
AGENT, MPIEXEC, RANK_0, WORKER = "agent", "mpiexec", "rank 0", "a worker rank"


@pytest.fixture
def make_world(home: Home, private_redis) -> Iterator[Callable[..., World]]:
    """Make a World whose slots are under MPI, with two workers each."""
    made: list[World] = []

    def make(**spec: Any) -> World:
        made.append(World(home, private_redis, **{"executor": "mpi4py", "cores": 3, **spec}))
        return made[-1]

    yield make
    for world in made:
        world.close()


def named(file: Path, pause: float = 0.0) -> Callable[[float], float]:
    """A function that appends which process evaluated to a file."""

    def function(x: float) -> float:
        time.sleep(pause)
        with file.open("a") as log:
            log.write(f"{os.getpid()}\n")
        return x

    return function


def pids(file: Path) -> list[int]:
    return [int(line) for line in file.read_text().split()] if file.exists() else []


def at_work(world: World, name: str, known: Collection[int] = ()) -> list[int]:
    """The pids of the ranks that evaluate, once both of them have; known are those of worlds that ended."""

    def new() -> set[int]:
        return set(pids(world.file(name))) - set(known)

    until(lambda: len(new()) >= 2, "evaluations by both workers", SLOW)
    return sorted(new())


def processes(world: World, job: str) -> dict[str, list[psutil.Process]]:
    """The living processes of a job by what they are."""
    found: dict[str, list[psutil.Process]] = {}
    for process in world.processes(job):
        try:
            seen = psutil.Process(process.pid)
            command = seen.cmdline()
        except psutil.NoSuchProcess:
            continue
        kind = "agent" if "agent" in command else "rank" if "fabric_jobs.rank" in command else "other"
        if Path((command or [""])[0]).name.startswith("mpiexec"):
            kind = MPIEXEC
        elif Path((command or [""])[0]).name.startswith("hydra"):
            kind = "proxy"
        found.setdefault(kind, []).append(seen)
    return found


def test_ranks_above_0_evaluate_and_a_killed_one_costs_only_what_it_was_at(make_world):
    world = make_world(ttl=30.0)
    run = world.submit([named(world.file(str(i)), 0.02) for i in range(2)], npoints=100)
    job = world.start()
    workers = at_work(world, "0")
    assert len(workers) == 2
    until(lambda: world.redis.hget(world.broker.keys.job(job), "acquired"), "the proof that such jobs work")
    (mpiexec,) = processes(world, job)[MPIEXEC]
    ranks = {each.pid for each in mpiexec.children(recursive=True) if "fabric_jobs.rank" in each.cmdline()}
    assert ranks > set(workers), "rank 0 manages"
    assert len(ranks) == 3
    os.kill(workers[0], signal.SIGKILL)
    until(lambda: world.all_done(run), "the ends", SLOW)
    assert world.count(run, "died") == 1
    assert world.count(run, "expire") == 0, "it was released at once"
    assert {record.attempts for record in world.learners(run)} == {0}
    assert len(set(pids(world.file("1")))) == 2, "the second world outlived its first learner"
    world.send(job, signal.SIGTERM)
    assert world.wait_end(job) == 0
    until(lambda: not world.processes(job), "the end of all processes")


@pytest.mark.long
def test_nothing_outlives_a_slot_whoever_is_killed(make_world):
    world = make_world(ttl=30.0)
    run = world.submit([named(world.file("0"), 0.05)], npoints=10_000)
    job = world.start()
    known: list[int] = []
    for deaths, victim in enumerate((WORKER, RANK_0, MPIEXEC), 1):
        workers = at_work(world, "0", known)
        known += workers
        kill_one(world, job, victim, workers)
        until(died(world, run, deaths), f"the end of the lease by {victim}")
    workers = at_work(world, "0", known)
    record = world.learner(run)
    assert (record.state, record.attempts) == ("leased", 0)
    assert world.count(run, "expire") == 0, "it was released at once"
    kill_one(world, job, AGENT, workers)


def died(world: World, run: str, times: int) -> Callable[[], bool]:
    return lambda: world.count(run, "died") == times


def kill_one(world: World, job: str, victim: str, workers: list[int]) -> None:
    """Kill a process of the slot, or its agent, and see all of the slot end."""
    seen = processes(world, job)
    zero = next(each for each in seen["rank"] if each.pid not in workers)
    target = {
        WORKER: workers[0],
        RANK_0: zero.pid,
        MPIEXEC: seen[MPIEXEC][0].pid,
        AGENT: world.agents[job].pid,
    }
    old = [ProcessId.of(each.pid) for kind in ("rank", "proxy", MPIEXEC) for each in seen[kind]]
    os.kill(target[victim], signal.SIGKILL)
    until(lambda: not any(each and each.alive() for each in old), f"the end of all others after {victim}")


@pytest.mark.long
@pytest.mark.needs("openmpi")
def test_openmpi_does_it_too_and_a_killed_rank_is_no_error_of_the_learner(make_world):
    world = make_world(ttl=30.0)
    run = world.submit([named(world.file("0"), 0.02)], npoints=150)
    job = world.start(**openmpi.ENV, FABRIC_MPIEXEC=openmpi.MPIEXEC)
    workers = at_work(world, "0")
    old = [ProcessId.of(pid) for pid in workers]
    os.kill(workers[0], signal.SIGKILL)
    until(lambda: world.all_done(run), "the ends", SLOW)
    assert not any(each and each.alive() for each in old)
    assert (world.count(run, "died"), world.count(run, "expire")) == (1, 0)
    assert world.learner(run).attempts == 0
    world.send(job, signal.SIGTERM)
    assert world.wait_end(job) == 0
    until(lambda: not world.processes(job), "the end of all processes")


@pytest.mark.long
def test_what_keeps_killing_its_rank_is_quarantined_with_the_reason(make_world):
    world = make_world(cores=2)

    def kills(x: float) -> float:
        print("about to die")
        os.kill(os.getpid(), signal.SIGKILL)
        return x

    run = world.submit([kills, counted(world.file("good"))], npoints=5)
    job = world.start()
    until(lambda: world.states(run) == ["quarantined", "done"], "the ends", SLOW)
    record = world.learner(run)
    assert record.attempts == 0
    error = json.loads(world.redis.get(world.broker.keys.error(record.id)))
    assert "mpiexec" in error["text"]
    assert "about to die" in error["log"]
    assert any("signal 9" in line for line in error["log"])
    assert world.agents[job].poll() is None, "the job goes on"


@pytest.mark.long
def test_a_drain_lets_evaluations_end_and_tells_them(make_world):
    world = make_world(grace=20.0)
    gate = world.file("gate")

    def gated(x: float) -> float:
        with world_file.open("a") as log:
            log.write(f"{x!r}\n")
        while not gate.exists():
            time.sleep(0.01)
        return x

    world_file = world.file("0")
    run = world.submit([gated], npoints=100)
    job = world.start()
    until(lambda: len(world.evaluated("0")) == 2, "two evaluations that run", SLOW)
    world.send(job, signal.SIGTERM)
    until(lambda: "drains" in world.log(job), "the drain")
    gate.touch()
    assert world.wait_end(job) == 0
    record = world.learner(run)
    assert (record.state, record.npoints, record.attempts) == ("queued", 2, 0)
    assert record.checkpoint is not None
    assert len(world.evaluated("0")) == 2, "no other evaluation began"
    until(lambda: not world.processes(job), "the end of all processes")


@pytest.mark.long
def test_a_drain_kills_evaluations_that_outlast_the_grace_time(make_world):
    world = make_world(grace=3.0)

    def endless(x: float) -> float:
        world_file.touch()
        time.sleep(PATIENCE * 10)
        return x

    world_file = world.file("0")
    run = world.submit([endless])
    job = world.start()
    until(world_file.exists, "an evaluation", SLOW)
    world.send(job, signal.SIGTERM)
    assert world.wait_end(job) == 0
    assert world.states(run) == ["queued"]
    until(lambda: not world.processes(job), "the end of all processes")


def test_slots_that_cannot_be_started_end_the_job_and_charge_no_learner(make_world):
    world = make_world()
    run = world.submit([counted(world.file("0"))])
    job = world.start(FABRIC_MPIEXEC="sh -c 'echo no such fabric >&2; exit 7' {ranks}")
    assert world.wait_end(job) == 1
    record = world.learner(run)
    assert (record.state, record.attempts) == ("queued", 0)
    told = world.redis.hgetall(world.broker.keys.job(job))
    reason = told[b"reason"].decode()
    for word in ("slots cannot be started", "exit 7", "exit code 7", "it said: no such fabric"):
        assert word in reason
    assert b"acquired" not in told, "which would show the submitter that jobs of this pool work"
    assert world.redis.hget(world.broker.keys.learner(record.id), "barren") in (None, b"0")

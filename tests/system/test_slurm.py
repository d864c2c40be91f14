"""Whole fabrics on a real SLURM: never too many jobs, all learners done, whatever happens to jobs, nodes and SLURM."""

from __future__ import annotations

import os
import signal
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import adaptive
import pytest
from tests.slurm import Slurm as Cluster
from tests.system.conftest import Scene
from tests.system.processes import EvaluationLog, wait_for

from adaptive_fabric import Fabric, Run, Slurm, UsageError
from adaptive_fabric.running import down, up
from fabric_broker.config import Config
from fabric_broker.home import Home

pytestmark = [pytest.mark.needs("slurm"), pytest.mark.timeout(400)]
LONG = 300.0


class OnSlurm(Scene):
    """A fabric whose one pool is on a cluster of its own."""

    def __init__(self, fabric: Fabric, home: Home, log: EvaluationLog, cluster: Cluster) -> None:
        super().__init__(fabric, home, log)
        self.cluster = cluster

    def start(self, *, learners: int, points: int, seconds: float, jobs: int, **spec: Any) -> Run:
        settings: dict[str, Any] = {"ttl": 3.0, "grace": 5.0, "idle_timeout": 5.0} | spec
        self.fabric.pool("batch", Slurm(**settings), jobs=jobs)
        names = [f"x{i}" for i in range(learners)]
        functions = [self.log.function(name, seconds) for name in names]
        return self.fabric.submit(
            [adaptive.Learner1D(function, (-1, 1)) for function in functions], names=names, goal=points
        )

    def done(self, run: Run) -> None:
        """Wait; all learners are done, and no job is left."""
        status = run.wait(timeout=LONG)
        assert status.counts == {"done": status.total}, [r for r in run.learners() if r.state != "done"]
        wait_for(lambda: not self.cluster.jobs(), "the end of all jobs")

    def works(self, run: Run, points: int = 5) -> None:
        wait_for(lambda: run.status().points >= points, "points")


@pytest.fixture
def on_slurm(
    home: Home, slurm: Cluster, log: EvaluationLog, monkeypatch: pytest.MonkeyPatch
) -> Iterator[OnSlurm]:
    monkeypatch.setenv("FABRIC_POLL_INTERVAL", "1")
    config = Config.load(home, os.environ)
    up(home, config, bind="auto")
    fabric = Fabric.connect(home=home.path)
    try:
        yield OnSlurm(fabric, home, log, slurm)
    finally:
        fabric.close()
        slurm.run("scancel", "--me")
        down(home, config)


@pytest.fixture
def most(slurm: Cluster) -> Iterator[Callable[[], int]]:
    """Watch how many jobs there are at a time; answers the largest number."""
    stop, seen = threading.Event(), [0]

    def watch() -> None:
        while not stop.wait(0.2):
            seen.append(len(slurm.jobs()))

    thread = threading.Thread(target=watch)
    thread.start()
    yield lambda: max(seen)
    stop.set()
    thread.join(20)


def test_forty_learners_on_eight_jobs_never_more_and_none_is_left(on_slurm, most):
    run = on_slurm.start(learners=40, points=10, seconds=0.02, jobs=8)
    on_slurm.done(run)
    assert 1 < most() <= 8
    on_slurm.all_points_are_there(run)
    ended = [job for job in on_slurm.fabric.jobs() if job.state == "ended"]
    assert {job.node for job in ended if job.node} <= {"n1", "n2", "n3", "n4"}


@pytest.mark.long
def test_jobs_cancelled_from_outside_are_replaced(on_slurm):
    run = on_slurm.start(learners=4, points=60, seconds=0.1, jobs=2)
    on_slurm.works(run)
    on_slurm.cluster.run("scancel", "--me")
    on_slurm.done(run)
    on_slurm.all_points_are_there(run)
    assert on_slurm.log.evaluated_again() == []


@pytest.mark.long
def test_a_preamble_that_fails_opens_the_circuit_with_its_reason(on_slurm):
    run = on_slurm.start(
        learners=4, points=5, seconds=0.01, jobs=4, preamble=["echo no such module >&2", "false"]
    )

    def circuit() -> str:
        from adaptive_fabric.looking import pool_statuses

        (pool,) = pool_statuses(on_slurm.fabric)
        return pool.circuit or ""

    wait_for(circuit, "an open circuit")
    assert "no such module" in circuit()
    assert len(on_slurm.fabric.jobs()) <= 12
    run.cancel()


def test_a_server_that_nodes_cannot_reach_is_no_place_for_a_slurm_pool(fabric, slurm):
    with pytest.raises(UsageError, match="--bind"):
        fabric.pool("batch", Slurm())


@pytest.mark.long
def test_learners_that_outlast_the_walltime_go_on_in_the_next_job(on_slurm):
    run = on_slurm.start(
        learners=2, points=300, seconds=0.4, jobs=2, partition="short", walltime=60, min_lease_time=5
    )
    on_slurm.done(run)
    assert len([job for job in on_slurm.fabric.jobs() if job.learners or job.node]) > 2
    assert on_slurm.log.evaluated_again() == []


@pytest.mark.long
def test_a_slurmd_that_dies_leaves_two_copies_of_a_job_and_one_holder(on_slurm):
    run = on_slurm.start(learners=8, points=400, seconds=0.1, jobs=8)
    on_slurm.works(run)
    on_slurm.cluster.kill("slurmd-n1", signal.SIGKILL)
    on_slurm.done(run)
    on_slurm.done_once(run)
    on_slurm.all_points_are_there(run)
    # The old copy goes on until it is told; what it had not sent by then is evaluated again: 10 points a second.
    again = Counter(each.learner for each in on_slurm.log.evaluated_again())
    assert max(again.values(), default=0) <= 15


@pytest.mark.long
def test_preempted_jobs_and_dead_nodes_charge_nothing(on_slurm):
    run = on_slurm.start(learners=4, points=300, seconds=0.1, jobs=2, partition="low")
    on_slurm.works(run)
    on_slurm.cluster.run("sbatch", "-p", "high", "-N4", "--exclusive", "--wrap", "sleep 5", "-o", "/dev/null")
    wait_for(lambda: on_slurm.cluster.jobs("PENDING"), "preemption")
    on_slurm.works(run, run.status().points + 10)
    on_slurm.cluster.run("scontrol", "update", "nodename=n1", "state=down", "reason=test")
    on_slurm.done(run)
    assert {record.attempts for record in run.learners()} == {0}
    assert on_slurm.log.evaluated_again() == []


@pytest.mark.long
def test_a_controller_that_is_stopped_for_a_while_changes_nothing(on_slurm):
    run = on_slurm.start(learners=4, points=500, seconds=0.1, jobs=4)
    on_slurm.works(run)
    before = {job.id: job.state for job in on_slurm.fabric.jobs()}
    on_slurm.cluster.kill("slurmctld", signal.SIGSTOP)
    try:
        gone = threading.Event()
        gone.wait(30)  # the time that the promise names
        points = run.status().points
        assert {job.id: job.state for job in on_slurm.fabric.jobs()} == before
        on_slurm.works(run, points + 5)
    finally:
        on_slurm.cluster.kill("slurmctld", signal.SIGCONT)
    on_slurm.done(run)
    assert {job.id for job in on_slurm.fabric.jobs()} == set(before)
    assert on_slurm.log.evaluated_again() == []

"""Whole fabrics on a real SLURM: never too many jobs, all learners done, whatever happens to jobs, nodes and SLURM."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial

import pytest
from tests.slurm import Slurm as Cluster
from tests.system.batch import LONG, OnSlurm, most_at_a_time, reachable
from tests.system.leases import claim, evaluated_again, leases
from tests.system.processes import EvaluationLog, of_home, wait_for

from adaptive_fabric import Slurm, UsageError
from fabric_broker.home import Home

pytestmark = [pytest.mark.needs("slurm"), pytest.mark.timeout(900)]


@pytest.fixture
def on_slurm(
    home: Home, slurm: Cluster, log: EvaluationLog, monkeypatch: pytest.MonkeyPatch
) -> Iterator[OnSlurm]:
    with reachable(home, monkeypatch) as fabric:
        yield OnSlurm(fabric, home, log, slurm)
        slurm.run("scancel", "--me")


@pytest.fixture
def most(slurm: Cluster) -> Iterator[Callable[[], int]]:
    """The largest number of jobs at a time so far."""
    with most_at_a_time(slurm.jobs) as most:
        yield most


@pytest.mark.long
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


@pytest.fixture
def few_deaths(home: Home) -> int:
    """So many young deaths are borne, by the home's own setting."""
    home.create().config_file.write_text("young_deaths = 3\n")
    return 3


@pytest.mark.long
def test_a_preamble_that_fails_opens_the_circuit_with_its_reason(few_deaths, on_slurm, monkeypatch):
    sbatch = on_slurm.shim("sbatch", monkeypatch)
    run = on_slurm.start(
        learners=4, points=5, seconds=0.01, jobs=4, preamble=["echo no such module >&2", "false"]
    )
    wait_for(on_slurm.circuit, "an open circuit", LONG)
    assert "no such module" in on_slurm.circuit()
    assert sbatch.calls() <= few_deaths, "an array of four, then one at a time"
    calls = on_slurm.looks()
    wait_for(lambda: on_slurm.looks() > calls + 5, "further ticks", LONG)
    assert sbatch.calls() <= few_deaths
    run.cancel()


def test_a_server_that_nodes_cannot_reach_is_no_place_for_a_slurm_pool(fabric, slurm):
    with pytest.raises(UsageError, match="--bind"):
        fabric.pool("batch", Slurm())


@pytest.mark.long
def test_learners_that_outlast_the_walltime_go_on_in_the_next_job(on_slurm):
    run = on_slurm.start(
        learners=2, points=200, seconds=0.4, jobs=2, partition="short", walltime=60, min_lease_time=5
    )
    on_slurm.done(run)
    assert len([job for job in on_slurm.fabric.jobs() if job.node]) > 2
    assert {record.attempts for record in run.learners()} == {0}
    assert on_slurm.log.evaluated_again() == []


@pytest.mark.long
def test_a_slurmd_that_dies_leaves_two_copies_of_a_job_and_one_holder(on_slurm):
    run, gate = on_slurm.start_gated(learners=8, seconds=0.1, jobs=8)
    wait_for(lambda: len(on_slurm.holders(run)) == 8, "eight jobs that work", LONG)
    on_slurm.works(run, 80)
    claims = {job: [claim(on_slurm.fabric, job)] for job in on_slurm.holders(run)}
    struck = [job.id for job in on_slurm.fabric.jobs() if job.node == "n1"]
    assert struck
    old = {claims[job][0].copy for job in struck}
    on_slurm.cluster.kill("slurmd-n1", signal.SIGKILL)
    killed = time.time()
    for job in struck:
        wait_for(partial(on_slurm.restarts, job), f"a second copy of {job}", LONG)
        claims[job].append(claim(on_slurm.fabric, job))
    half = killed + (min(claims[job][1].at for job in struck) - killed) / 2
    assert old <= {each.copy for each in on_slurm.log if each.finished > half}, "the old ones ran on"
    new = {claims[job][1].copy for job in struck}
    wait_for(lambda: new <= {each.copy for each in on_slurm.log}, "evaluations of the second copies", LONG)
    for name in (f"x{i}" for i in range(8)):
        (gate / name).touch()
    on_slurm.done(run)
    on_slurm.done_once(run)
    # What the superseded copies evaluate until they are told is theirs to waste; nobody else wastes anything.
    broken, strays = evaluated_again(on_slurm.log, leases(run, claims))
    assert broken == []
    assert {each.copy for each in strays} <= old
    agents = {claims[job][0].agent for job in struck}
    wait_for(lambda: not agents & {each.pid for each in of_home(on_slurm.home.path)}, "the old copies' end")


@pytest.mark.long
def test_preempted_jobs_and_dead_nodes_charge_nothing(on_slurm):
    run = on_slurm.start(learners=4, points=300, seconds=0.1, jobs=2, partition="low")
    on_slurm.works(run)
    on_slurm.cluster.run("sbatch", "-p", "high", "-N4", "--exclusive", "--wrap", "sleep 5", "-o", "/dev/null")
    jobs = [job.id for job in on_slurm.fabric.jobs()]
    wait_for(lambda: all(on_slurm.restarts(job) for job in jobs), "preemption and another start", LONG)
    on_slurm.works(run, run.status().points + 10)
    (node, *_) = [job.node for job in on_slurm.fabric.jobs() if job.state == "running" and job.learners]
    on_slurm.cluster.run("scontrol", "update", f"nodename={node}", "state=down", "reason=test")
    on_slurm.done(run)
    assert {record.attempts for record in run.learners()} == {0}
    assert not on_slurm.circuit()
    assert on_slurm.log.evaluated_again() == []


@pytest.mark.long
def test_a_controller_that_is_stopped_for_a_while_changes_nothing(on_slurm):
    run, gate = on_slurm.start_gated(learners=4, seconds=0.1, jobs=4)
    wait_for(lambda: len(on_slurm.holders(run)) == 4, "four jobs that work", LONG)
    before = {job.id: job.state for job in on_slurm.fabric.jobs()}
    on_slurm.cluster.kill("slurmctld", signal.SIGSTOP)
    try:
        threading.Event().wait(30)  # the time that the promise names
        points = run.status().points
        assert {job.id: job.state for job in on_slurm.fabric.jobs()} == before
        on_slurm.works(run, points + 5)
    finally:
        on_slurm.cluster.kill("slurmctld", signal.SIGCONT)
    for name in (f"x{i}" for i in range(4)):
        (gate / name).touch()
    on_slurm.done(run)
    assert {job.id for job in on_slurm.fabric.jobs()} == set(before)
    assert on_slurm.log.evaluated_again() == []

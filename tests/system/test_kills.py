"""SIGKILL of anything: every learner still ends done, once; what had finished a second before is not done again."""

from __future__ import annotations

import os
import signal
import time

import pytest
from tests.system.conftest import Scene
from tests.system.processes import of_job, wait_for

MERCY = 1.0
"""Seconds: evaluations that finished so long before a kill are never repeated."""


@pytest.mark.parametrize(
    "role", ["agent", *(pytest.param(each, marks=pytest.mark.long) for each in ("fork server", "slot"))]
)
def test_a_killed_process_of_a_job_costs_no_finished_points(scene: Scene, role: str) -> None:
    run = scene.submit(points=100, gated=True)
    job = scene.busy_jobs(run)[0]
    killed = time.time()
    os.kill(scene.one(job, role).pid, signal.SIGKILL)
    if role == "agent":
        wait_for(lambda: not of_job(scene.home.path, job), f"the end of all processes of {job}")
    scene.done_once(run)
    assert scene.log.evaluated_again(before=killed - MERCY) == []
    scene.all_points_are_there(run)
    assert all(record.attempts == 0 for record in run.learners())


@pytest.mark.long
@pytest.mark.parametrize("executor", ["process-pool", pytest.param("loky", marks=pytest.mark.long)])
def test_a_killed_pool_worker_is_replaced_and_its_learner_stays(scene: Scene, executor: str) -> None:
    run = scene.submit(learners=2, points=300, seconds=0.02, jobs=1, executor=executor, cores=2)
    (job,) = scene.busy_jobs(run, 1)
    token = scene.holders(run)[job][0].token
    killed = time.time()
    os.kill(scene.one(job, "worker").pid, signal.SIGKILL)
    scene.done_once(run)
    assert scene.log.evaluated_again(before=killed - MERCY) == []
    first = run.learners()[0]
    assert (first.token, first.attempts) == (token, 0)


@pytest.mark.long
def test_a_killed_submitter_is_not_needed_by_the_jobs_that_live(scene: Scene) -> None:
    run = scene.submit(points=100, gated=True)
    jobs = scene.busy_jobs(run)
    for process in scene.submitters():
        os.kill(process.pid, signal.SIGKILL)
    wait_for(scene.has_no_submitter, "the end of the submitter and its worker")
    scene.done_once(run)
    assert scene.log.evaluated_again() == []
    assert {record.job for record in run.learners()} == set(jobs)


@pytest.mark.long
def test_without_a_submitter_an_idle_job_takes_over_from_a_killed_one(scene: Scene) -> None:
    """The last idle job of a pool stays while leases live there."""
    run = scene.submit(learners=2, points=150, seconds=0.02, gated=True)
    jobs = scene.busy_jobs(run)
    for process in scene.submitters():
        os.kill(process.pid, signal.SIGKILL)
    stays, dies = jobs
    wait_for(scene.has_no_submitter, "the end of the submitter")
    os.kill(scene.one(dies, "agent").pid, signal.SIGKILL)
    scene.done_once(run)
    assert {record.job for record in run.learners()} == {stays}


@pytest.mark.long
def test_a_slots_learner_moves_without_waiting_for_the_lease_to_expire(scene: Scene) -> None:
    run = scene.submit(learners=1, points=150, jobs=1, ttl=60.0)
    (job,) = scene.busy_jobs(run, 1)
    (before,) = scene.holders(run)[job]
    os.kill(scene.one(job, "slot").pid, signal.SIGKILL)
    scene.done_once(run)
    (after,) = run.learners()
    assert after.token > before.token
    # The lease of 60 s is still running: nobody waited for it.
    assert before.until is not None
    assert run.status().ended < before.until  # type: ignore[operator]

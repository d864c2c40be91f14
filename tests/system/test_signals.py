"""A job that is told to go, and one that was away too long."""

from __future__ import annotations

import os
import signal
import time

import adaptive
import pytest
from tests.system.conftest import Scene, quick
from tests.system.processes import of_job, wait_for

from fabric_broker import reads


@pytest.mark.long
def test_sigterm_drains_a_job_and_its_learner_goes_on_elsewhere_at_once(scene: Scene) -> None:
    run = scene.submit(learners=2, points=120, ttl=60.0, gated=True)
    job = scene.busy_jobs(run)[0]
    (held,) = scene.holders(run)[job]
    os.kill(scene.one(job, "agent").pid, signal.SIGTERM)
    wait_for(lambda: not of_job(scene.home.path, job), f"the end of {job}")
    released = {record.id: record for record in run.learners()}[held.id]
    assert released.checkpoint is not None, "the slot saved before it left"
    scene.done_once(run)
    assert scene.log.evaluated_again() == [], "a drained job loses nothing, not even the last second"
    assert all(record.attempts == 0 for record in run.learners())
    assert run.status().ended < held.until  # type: ignore[operator]
    (record,) = [record for record in reads.job_records(run.broker) if record.id == job]
    assert record.state == "ended"


@pytest.mark.long
def test_a_zombie_is_refused_and_stops(scene: Scene) -> None:
    """Its slot computes on while the agent is stopped; what it found meanwhile is not the learner's."""
    path = str(scene.log.path)

    def whoami(x: int) -> tuple[int, int]:
        import os
        import time

        time.sleep(0.02)
        with open(path, "a") as log:
            log.write(f"seq\t{x}\t{time.time()}\t{os.getpid()}\t-\t-\n")
        return x, os.getpid()

    scene.fabric.pool("local", quick(ttl=3.0), jobs=2)
    run = scene.fabric.submit([adaptive.SequenceLearner(whoami, range(300))], names=["seq"])
    (job,) = scene.busy_jobs(run, 1)
    agent, slot = scene.one(job, "agent"), scene.one(job, "slot")
    os.kill(agent.pid, signal.SIGSTOP)
    try:
        stopped = time.time()
        before = run.learners()[0]
        taken = wait_for(
            lambda: [r for r in run.learners() if r.token > before.token and r.state in ("leased", "done")],
            "another holder",
        )[0]
        scene.done_once(run)
    finally:
        os.kill(agent.pid, signal.SIGCONT)
    wait_for(
        lambda: slot.pid not in {p.pid for p in of_job(scene.home.path, job)}, "the end of the zombie's slot"
    )
    (after,) = run.learners()
    assert (after.token, after.state) == (taken.token, "done")
    assert after.checkpoint is not None
    assert after.checkpoint.startswith(f"{taken.token}-"), "the new holder's checkpoint is the learner's"
    (learner,) = run.load()
    late = {int(e.x) for e in scene.log if e.pid == slot.pid and e.finished > stopped + 1}
    assert late, "the zombie's slot found points while its agent was stopped"
    for index in late:
        assert learner.data[index][1] != slot.pid, "a zombie's point got into the learner"
    assert len(learner.data) == 300


@pytest.mark.long
def test_a_function_that_holds_the_gil_for_three_ttls_keeps_its_lease(scene: Scene) -> None:
    def hold(x: int) -> int:
        import ctypes

        # PyDLL does not release the GIL while the call runs.
        ctypes.PyDLL(None).sleep(9)
        return x

    scene.fabric.pool("local", quick(ttl=3.0), jobs=1)
    run = scene.fabric.submit([adaptive.SequenceLearner(hold, range(1))])
    leased = wait_for(lambda: [r for r in run.learners() if r.state == "leased"], "a lease")[0]
    scene.done_once(run)
    assert run.learners()[0].token == leased.token

"""Why is this not running, asked of a real Redis: intents, jobs and learners as the submitter and agents leave them."""

from __future__ import annotations

import adaptive
import pytest
from tests.integration.client.conftest import Agent

from adaptive_fabric import Fabric
from adaptive_fabric.explaining import explain_job, explain_learner, explain_pool, explain_run
from fabric_broker import calls, intents
from fabric_broker.intents import Leadership, Mark, Over, Remember
from fabric_submitter.judging import STARTED


def line() -> adaptive.Learner1D:
    return adaptive.Learner1D(lambda x: x, (-1, 1))


@pytest.fixture
def leads(fabric: Fabric) -> Leadership:
    """This test is the submitter."""
    epoch = fabric.broker.do(intents.lead("me", host="login1", ttl=60.0))
    assert epoch is not None
    return Leadership("me", epoch)


@pytest.fixture
def pending(fabric: Fabric, leads: Leadership) -> str:
    """A job that was submitted."""
    fabric.broker.do(intents.intend(leads, "local", [("iabc", 1)]))
    fabric.broker.do(intents.begin("iabc", "t"))
    fabric.broker.do(intents.submitted("iabc", "t", host="", ids={"iabc.0": "77"}))
    return "iabc.0"


def codes(explained: object) -> list[str]:
    return [reason.code for reason in explained.because]  # type: ignore[attr-defined]


def test_a_job_that_waits_in_its_scheduler_is_the_reason_of_its_pool_its_learner_and_its_run(
    fabric, leads, pending
):
    run = fabric.submit([line()], goal=3, name="mine")
    mark = Mark(pending, "pending", "pending", "PartitionTimeLimit")
    fabric.broker.do(intents.apply(leads, [mark]))
    for explained in (
        explain_pool(fabric, "local"),
        explain_learner(fabric, f"{run.id}.0"),
        explain_run(fabric, run.id),
        explain_job(fabric, pending),
    ):
        assert "never-starts" in codes(explained), explained
        assert "PartitionTimeLimit" in str(explained.because)
    assert "at-limit" in codes(explain_pool(fabric, "local"))
    assert "no-submitter" not in codes(explain_pool(fabric, "local"))


def test_an_open_circuit_says_since_when_and_why(fabric, leads):
    fabric.submit([line()], goal=3)
    now = str(round(fabric.broker.redis.time()[0] * 1000) - 60_000)
    circuit = Remember("local", {"circuit": "it failed: no module", "circuit_since": now, "deaths": "5"})
    fabric.broker.do(intents.apply(leads, [circuit]))
    (reason,) = explain_pool(fabric, "local").because
    assert reason.code == "circuit"
    assert "since 0:01:0" in reason.text
    assert "5 jobs died young, the last: it failed: no module" in reason.text
    fabric.broker.do(intents.resume_pool("local"))
    assert codes(explain_pool(fabric, "local")) == ["soon"]


def test_a_fabric_that_is_held_and_a_pool_without_jobs(fabric, leads):
    fabric.submit([line()], goal=3)
    fabric.pool("local", jobs=0)
    fabric.broker.do(intents.hold(held=True))
    assert codes(explain_pool(fabric, "local")) == ["held", "no-jobs"]


def test_a_limit_for_all_pools_is_read_from_the_settings(fabric, leads, pending, monkeypatch):
    fabric.submit([line()], goal=3)
    fabric.pool("local", jobs=5)
    assert "ceiling" not in codes(explain_pool(fabric, "local"))
    monkeypatch.setenv("FABRIC_MAX_JOBS", "1")
    assert "ceiling" in codes(explain_pool(fabric, "local"))


def test_a_job_that_started_and_says_nothing_shows_the_end_of_its_log(fabric, leads, pending):
    fabric.submit([line()], goal=3)
    fabric.home.job_log(pending).write_text("module load x\nRedis is away (unreachable)\n")
    fabric.broker.do(intents.apply(leads, [Mark(pending, "pending", "pending", STARTED)]))
    explained = explain_job(fabric, pending)
    assert codes(explained) == ["starting", "log"]
    assert "module load x / Redis is away" in explained.because[1].text
    assert "starting" in codes(explain_pool(fabric, "local"))


def test_a_job_that_failed_gives_its_reason_and_its_log(fabric, leads, pending):
    fabric.broker.do(intents.apply(leads, [Over(pending, "", "it failed: No module named fabric_jobs")]))
    explained = explain_job(fabric, pending)
    assert codes(explained) == ["ended", "no-log"]
    assert "No module named fabric_jobs" in explained.because[0].text


def test_learners_that_were_tried_say_when_they_are_tried_again_or_what_to_mend(fabric: Fabric, agent: Agent):
    run = fabric.submit([line()], goal=3, attempts=2, backoff=60)
    learner, _ = agent.lease()
    assert codes(explain_learner(fabric, learner)) == ["running"]
    agent.fail(learner)
    (reason,) = explain_learner(fabric, learner).because
    assert reason.code == "back-off"
    assert "attempt 1 of 2 ended with ValueError: no luck" in reason.text
    assert codes(explain_run(fabric, run.id)) == ["delayed"]


def test_a_holder_that_was_asked_to_pause_is_said_to_save_first(fabric: Fabric, agent: Agent):
    run = fabric.submit([line()], goal=3)
    learner, _ = agent.lease()
    run.pause()
    assert codes(explain_learner(fabric, learner)) == ["running", "asked"]
    lease = agent.held[learner]
    fabric.broker.do(calls.release(agent.holder, learner, lease.token, event="release"))
    (reason,) = explain_learner(fabric, learner).because
    assert (reason.code, reason.fix) == ("paused", f"fabric resume {run.id}")


def test_a_pool_that_was_removed_is_named(fabric: Fabric):
    run = fabric.submit([line()], goal=3)
    run.cancel()
    assert fabric.broker.do(calls.remove_pool("local")) == "ok"
    run.retry()
    assert codes(explain_learner(fabric, f"{run.id}.0")) == ["queued", "pool-gone"]

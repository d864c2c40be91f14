"""Killed, stopped and late submits, stragglers and empty answers: on a real SLURM, and on the PBS of the tests."""

from __future__ import annotations

import os
import signal
from collections import Counter
from collections.abc import Iterator
from functools import partial

import pytest
from tests.shim import Shim
from tests.system.batch import LONG, SCHEDULERS, OnBatch, on_batch, send
from tests.system.processes import EvaluationLog, wait_for

from adaptive_fabric import Run
from fabric_broker.home import Home
from fabric_submitter.daemon import submitter

pytestmark = [pytest.mark.long, pytest.mark.timeout(900)]
ROUNDS = 10


@pytest.fixture(params=SCHEDULERS)
def batch(
    request: pytest.FixtureRequest, home: Home, log: EvaluationLog, monkeypatch: pytest.MonkeyPatch
) -> Iterator[OnBatch]:
    with on_batch(request, home, log, monkeypatch) as scene:
        yield scene


def one_learner_each(batch: OnBatch, pools: int) -> list[Run]:
    """Runs of one learner, each on a pool of its own that may have one job: each job is a submit of its own."""
    runs = []
    for number in range(pools):
        name = f"x{number}"
        pool = batch.pool(f"pool{number}", jobs=1)
        runs.append(batch.fabric.submit(batch.learners([name], 0.05), names=[name], goal=40, pool=pool))
    return runs


def check_one_effective_job_per_intent(batch: OnBatch, pools: int) -> Counter[str]:
    """Each intent's work was done by one agent, and those that came too late left; answers how many did, by job."""
    worked, lost = batch.claims()
    assert set(worked.values()) == {1}, worked
    assert len(worked) == pools, "one job for each pool, none besides"
    for log in batch.home.logs.glob("i*.log"):
        assert "failed" not in log.read_text(), "whoever is too late ends well"
    return lost


@pytest.mark.parametrize(
    ("batch", "who"),
    [
        pytest.param("slurm", "task", marks=pytest.mark.needs("slurm")),
        pytest.param("slurm", "submitter and task", marks=pytest.mark.needs("slurm")),
        ("pbs", "now the one, now the other"),
    ],
    indirect=["batch"],
)
@pytest.mark.parametrize("point", ["before", "between", "after"])
def test_killed_before_between_or_after_a_submit_there_is_one_effective_job(batch, who, point, monkeypatch):
    shim = batch.shim(batch.submit_command, monkeypatch)
    shim.plan([point] * ROUNDS)
    runs = one_learner_each(batch, ROUNDS)
    late = []
    for number in range(1, ROUNDS + 1):
        task, call = wait_for(partial(shim.at, number, point), f"submit {number}", LONG)
        # In pairs, as each second call goes on late.
        alone = who == "task" or (who != "submitter and task" and number % 4 < 2)
        if alone:
            send(task, signal.SIGKILL)
        else:
            batch.kill_submitter()
        if point == "before" and number % 2:
            late.append(number)  # it is served although whoever asked for it is dead
        else:
            send(call, signal.SIGKILL)
        if not alone:
            batch.revive()
    again = ROUNDS if point == "before" else 0
    wait_for(lambda: shim.calls() >= ROUNDS + again, "those that were lost are submitted again", LONG)
    for number in late:
        shim.go_on(number)
    batch.done(*runs)
    lost = check_one_effective_job_per_intent(batch, ROUNDS)
    assert bool(late) <= sum(lost.values()) <= len(late)
    assert shim.calls() == ROUNDS + again


def test_a_task_stopped_before_its_submit_that_goes_on_after_another_one_adds_no_job(batch, monkeypatch):
    shim = batch.shim(batch.submit_command, monkeypatch)
    shim.plan(["before"])
    (run,) = one_learner_each(batch, 1)
    task, _ = wait_for(lambda: shim.at(1, "before"), "a submit")
    (worker,) = [each.parent for each in batch.submitters() if each.pid == task]
    for pid in (worker, task):
        os.kill(pid, signal.SIGSTOP)
    # The submitter dies meanwhile; the next one has a worker of its own, and nobody knows what the old task will do.
    leader = submitter(batch.home)
    assert leader is not None
    leader.send(signal.SIGKILL)
    assert leader.wait(LONG)
    batch.revive()
    wait_for(lambda: shim.calls() == 2, "another task that submits", LONG)
    wait_for(lambda: run.status().points > 5, "points", LONG)
    (holder,) = batch.holders(run)
    shim.go_on(1)
    for pid in (worker, task):
        os.kill(pid, signal.SIGCONT)
    wait_for(lambda: task not in [each.pid for each in batch.submitters()], "the end of the late task", LONG)
    batch.done(run)
    check_one_effective_job_per_intent(batch, 1)
    assert [job.id for job in batch.fabric.jobs()] == [holder]
    assert batch.log.evaluated_again() == []


def test_stragglers_on_three_jobs_keep_them_to_the_end(batch):
    """Three jobs of four slots; when one learner is left on each, nobody is cancelled to save a job."""
    run, gate = batch.start_gated(learners=12, seconds=0.1, jobs=3, slots=4)
    wait_for(lambda: sum(map(len, batch.holders(run).values())) == 12, "all learners held", LONG)
    held = batch.holders(run)
    assert {job: len(records) for job, records in held.items()} == dict.fromkeys(held, 4)
    stragglers = {records[0].name: job for job, records in held.items()}
    for record in run.learners():
        if record.name not in stragglers:
            (gate / record.name).touch()
    wait_for(lambda: run.status().counts.get("done") == 9, "the others", LONG)
    points = run.status().points
    batch.works(run, points + 200)  # long enough for any surplus to be settled and idle slots to be noticed
    now = {record.name: record.job for record in run.learners() if record.state == "leased"}
    assert now == stragglers, "the same jobs hold them"
    assert wishes(batch) == dict.fromkeys(held)
    # Even when the pool shrinks below its holders they are asked to drain, not cancelled: nothing is lost by it.
    batch.fabric.pool("batch", jobs=1)
    wait_for(lambda: len(batch.living()) == 1, "two jobs drained", LONG)
    assert sorted(wishes(batch).values(), key=str) == [None, "drain", "drain"]
    for name in stragglers:
        (gate / name).touch()
    batch.done(run)
    assert batch.log.evaluated_again() == []


def wishes(batch: OnBatch) -> dict[str, str | None]:
    """By job: how it was asked to go."""
    broker = batch.fabric.broker
    found = {job.id: broker.redis.hget(broker.keys.job(job.id), "wish") for job in batch.fabric.jobs()}
    return {job: None if wish is None else bytes(wish).decode() for job, wish in found.items()}


def test_an_empty_answer_changes_nothing(batch, monkeypatch):
    """While jobs pend and while they run: for many TTLs the list command answers well, and with nothing."""
    shim = batch.shim(batch.list_command, monkeypatch)
    submits = batch.shim(batch.submit_command, monkeypatch)
    batch.fill()
    run = batch.start(learners=4, points=100, seconds=0.1, jobs=2)
    submitted(batch, 2)
    pending = sorted(batch.living())
    empty_for_long(batch, shim)
    assert sorted(batch.living()) == pending
    batch.free()
    shim.answer_listings(None)
    batch.works(run)
    empty_for_long(batch, shim)
    assert sorted(batch.living()) == pending
    shim.answer_listings(None)
    batch.done(run)
    assert len(batch.fabric.jobs()) == 2
    assert submits.calls() == 1, "one array"
    assert batch.log.evaluated_again() == []


def submitted(batch: OnBatch, jobs: int) -> None:
    """Wait until the scheduler's ids of so many jobs are known."""
    wait_for(lambda: sum(job.scheduler_id is not None for job in batch.fabric.jobs()) == jobs, "ids", LONG)


def empty_for_long(batch: OnBatch, shim: Shim) -> None:
    """Answer with nothing, several times as often as an absence is believed; nothing comes of it."""
    before = {job.id for job in batch.fabric.jobs()}
    shim.answer_listings(batch.nothing)
    calls = shim.calls()
    wait_for(lambda: shim.calls() > calls + 10, "ten empty answers", LONG)
    assert {job.id for job in batch.fabric.jobs()} == before
    assert {job.state for job in batch.fabric.jobs()} <= {"pending", "running"}


def test_jobs_that_are_really_gone_are_replaced_although_the_answer_is_empty(batch, monkeypatch):
    """What pended was deleted and forgotten while the answers were empty: the second look says so."""
    batch.fill()
    run = batch.start(learners=2, points=10, seconds=0.05, jobs=2)
    submitted(batch, 2)
    batch.kill_submitter()
    first = {job.id for job in batch.fabric.jobs()}
    batch.delete_all()
    batch.forget_ended()
    batch.free()
    batch.revive()
    batch.done(run)
    assert first.isdisjoint(job.id for job in batch.fabric.jobs() if job.node)

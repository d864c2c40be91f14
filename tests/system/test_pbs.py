"""Whole fabrics on a PBS that is faked command by command, with real jobs behind it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests import fake_pbs
from tests.system.batch import LONG, OnPBS, most_at_a_time, private_pbs, reachable
from tests.system.processes import EvaluationLog, wait_for

from adaptive_fabric import PBS, UsageError
from fabric_broker.home import Home
from fabric_submitter.adapters.pbs import PBSScheduler
from fabric_submitter.adapters.scheduler import AnswerLostError, Request

pytestmark = pytest.mark.timeout(900)


without_history_too = pytest.mark.parametrize("pbs", ["history", "no history"], indirect=True)


@pytest.fixture
def pbs(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Folder of a PBS whose commands are on PATH."""
    with private_pbs(monkeypatch, history=getattr(request, "param", "") != "no history") as folder:
        yield folder


@pytest.fixture
def on_pbs(home: Home, pbs: Path, log: EvaluationLog, monkeypatch: pytest.MonkeyPatch) -> Iterator[OnPBS]:
    with reachable(home, monkeypatch) as fabric:
        yield OnPBS(fabric, home, log, pbs)


@pytest.mark.long
def test_learners_are_done_on_never_more_jobs_than_allowed(on_pbs):
    with most_at_a_time(on_pbs.living) as most:
        on_pbs.done(on_pbs.start(learners=12, points=10, seconds=0.05, jobs=3))
        assert 1 <= most() <= 3


@without_history_too
@pytest.mark.long
def test_jobs_deleted_from_outside_are_replaced(on_pbs):
    run = on_pbs.start(learners=4, points=60, seconds=0.1, jobs=2)
    on_pbs.works(run)
    on_pbs.delete_all()
    on_pbs.done(run)
    assert on_pbs.log.evaluated_again() == []


@pytest.mark.long
def test_learners_that_outlast_the_walltime_go_on_in_the_next_job(on_pbs):
    run = on_pbs.start(learners=2, points=350, seconds=0.2, jobs=2, walltime=60)
    on_pbs.done(run)
    assert len([job for job in on_pbs.fabric.jobs() if job.node]) > 2
    assert on_pbs.log.evaluated_again() == []
    assert {record.attempts for record in run.learners()} == {0}


@without_history_too
@pytest.mark.long
@pytest.mark.parametrize("rerun", [False, True], ids=["given up", "run again"])
def test_a_mom_that_dies_leaves_processes_that_go_on_as_the_one_holder(on_pbs, pbs, rerun):
    run, gate = on_pbs.start_gated(learners=3, seconds=0.1, jobs=3)
    wait_for(lambda: len(on_pbs.holders(run)) == 3, "three jobs that work", LONG)
    held = on_pbs.holders(run)
    struck = on_pbs.living()[0]
    fake_pbs.fail_node(pbs, struck, rerun=rerun)
    if rerun:
        wait_for(lambda: sum(on_pbs.claims()[1].values()) == 1, "the second copy finds the first one", LONG)
    on_pbs.works(run, run.status().points + 100)  # several polls and TTLs
    assert on_pbs.holders(run).keys() == held.keys(), "whoever speaks and holds is alive, whatever PBS says"
    for name in (f"x{i}" for i in range(3)):
        (gate / name).touch()
    on_pbs.done(run)
    on_pbs.done_once(run)
    assert on_pbs.log.evaluated_again() == []
    assert set(on_pbs.claims()[0].values()) == {1}


@without_history_too
@pytest.mark.long
def test_a_node_that_dies_with_its_job_charges_nothing(on_pbs, pbs):
    run = on_pbs.start(learners=2, points=60, seconds=0.1, jobs=2)
    on_pbs.works(run)
    struck = on_pbs.living()[0]
    session = fake_pbs.records(pbs)[struck]["session_id"]
    fake_pbs.fail_node(pbs, struck, rerun=False)
    fake_pbs.kill_session(session)
    on_pbs.done(run)
    assert {record.attempts for record in run.learners()} == {0}
    assert not on_pbs.circuit()


@pytest.mark.long
def test_a_server_that_is_down_changes_nothing(on_pbs, pbs):
    run, gate = on_pbs.start_gated(learners=2, seconds=0.1, jobs=2)
    wait_for(lambda: len(on_pbs.holders(run)) == 2, "two jobs that work", LONG)
    before = {job.id: job.state for job in on_pbs.fabric.jobs()}
    (pbs / "down").touch()
    on_pbs.works(run, run.status().points + 100)
    assert {job.id: job.state for job in on_pbs.fabric.jobs()} == before
    (pbs / "down").unlink()
    for name in ("x0", "x1"):
        (gate / name).touch()
    on_pbs.done(run)
    assert {job.id for job in on_pbs.fabric.jobs()} == set(before)
    assert on_pbs.log.evaluated_again() == []


@pytest.fixture
def few_deaths(home: Home) -> int:
    """So many young deaths are borne, by the home's own setting."""
    home.create().config_file.write_text("young_deaths = 3\n")
    return 3


@pytest.mark.long
def test_a_preamble_that_fails_opens_the_circuit_with_its_reason(few_deaths, on_pbs, monkeypatch):
    qsub = on_pbs.shim("qsub", monkeypatch)
    run = on_pbs.start(learners=4, points=5, seconds=0.01, jobs=2, preamble=["echo no such module", "false"])
    wait_for(on_pbs.circuit, "an open circuit", LONG)
    assert "no such module" in on_pbs.circuit()
    looks = on_pbs.looks()
    wait_for(lambda: on_pbs.looks() > looks + 5, "further ticks", LONG)
    assert qsub.calls() <= few_deaths
    run.cancel()


def test_a_server_that_nodes_cannot_reach_is_no_place_for_a_pbs_pool(fabric, pbs):
    with pytest.raises(UsageError, match="--bind"):
        fabric.pool("batch", PBS())


def test_submit_list_drain_and_delete(home, pbs):
    home.create()
    scheduler = PBSScheduler(home)
    assert scheduler.has_none()
    jobs = tuple(f"iabc.{place}" for place in range(2))
    sleeper = ["trap 'echo told USR1' USR1", "while :; do sleep 0.1; done"]
    ids = scheduler.submit(Request("iabc", "p", PBS(preamble=sleeper), jobs))
    assert not scheduler.has_none()
    assert {job: each.scheduler_id for job, each in scheduler.list().jobs.items()} == ids
    wait_for(lambda: all(fake_pbs.records(pbs)[its_id].get("session_id") for its_id in ids.values()), "start")
    wait_for(home.job_log(jobs[0]).exists, "a log")
    (pbs / "down").touch()
    assert not scheduler.list().good
    assert not scheduler.has_none()
    with pytest.raises(AnswerLostError):
        scheduler.submit(Request("idef", "p", PBS(), ("idef.0",)))
    (pbs / "down").unlink()
    scheduler.cancel(
        [(jobs[0], "", "cancel"), (jobs[1], ids[jobs[1]], "cancel"), ("i.0", "99.login1", "cancel")]
    )
    wait_for(lambda: not fake_pbs.living(pbs), "the end of both")

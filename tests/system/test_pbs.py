"""Whole fabrics on a PBS that is faked command by command, with real jobs behind it."""

from __future__ import annotations

import os
import shutil
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import adaptive
import pytest
from tests import fake_pbs
from tests.system.conftest import Scene
from tests.system.processes import EvaluationLog, wait_for

from adaptive_fabric import PBS, Fabric, Run, UsageError
from adaptive_fabric.running import down, up
from fabric_broker.config import Config
from fabric_broker.home import Home
from fabric_submitter.adapters.pbs import PBSScheduler
from fabric_submitter.adapters.scheduler import AnswerLostError, Request

pytestmark = pytest.mark.timeout(300)
LONG = 240.0


@pytest.fixture(params=[True, pytest.param(False, marks=pytest.mark.long)], ids=["history", "no-history"])
def pbs(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Folder of a PBS whose commands are on PATH."""
    folder = Path(tempfile.mkdtemp(prefix="fabric-pbs-"))
    fake_pbs.install(folder, history=request.param)
    monkeypatch.setenv("PATH", f"{folder / 'bin'}:{os.environ['PATH']}")
    yield folder
    fake_pbs.stop(folder)
    shutil.rmtree(folder)


@pytest.fixture
def scene(home: Home, pbs: Path, log: EvaluationLog, monkeypatch: pytest.MonkeyPatch) -> Iterator[Scene]:
    monkeypatch.setenv("FABRIC_POLL_INTERVAL", "1")
    config = Config.load(home, os.environ)
    up(home, config, bind="auto")
    fabric = Fabric.connect(home=home.path)
    try:
        yield Scene(fabric, home, log)
    finally:
        fabric.close()
        down(home, config)


def start(scene: Scene, *, learners: int, points: int, seconds: float, jobs: int, **spec: Any) -> Run:
    settings: dict[str, Any] = {"ttl": 3.0, "grace": 5.0, "idle_timeout": 5.0} | spec
    scene.fabric.pool("batch", PBS(**settings), jobs=jobs)
    names = [f"x{i}" for i in range(learners)]
    functions = [scene.log.function(name, seconds) for name in names]
    return scene.fabric.submit(
        [adaptive.Learner1D(function, (-1, 1)) for function in functions], names=names, goal=points
    )


def done(run: Run, pbs: Path) -> None:
    status = run.wait(timeout=LONG)
    assert status.counts == {"done": status.total}
    wait_for(lambda: not fake_pbs.living(pbs), "the end of all jobs")


def test_learners_are_done_on_never_more_jobs_than_allowed(scene, pbs):
    seen, over = [0], threading.Event()

    def watch() -> None:
        while not over.wait(0.1):
            seen.append(len(fake_pbs.living(pbs)))

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        done(start(scene, learners=12, points=10, seconds=0.05, jobs=3), pbs)
    finally:
        over.set()
        thread.join(20)
    assert 1 <= max(seen) <= 3


@pytest.mark.long
def test_jobs_deleted_from_outside_are_replaced(scene, pbs):
    run = start(scene, learners=4, points=60, seconds=0.1, jobs=2)
    wait_for(lambda: run.status().points > 5, "points")
    fake_pbs.qdel_all(pbs)
    done(run, pbs)
    assert scene.log.evaluated_again() == []


@pytest.mark.long
def test_learners_that_outlast_the_walltime_go_on_in_the_next_job(scene, pbs):
    run = start(scene, learners=2, points=150, seconds=0.2, jobs=2, walltime=25)
    done(run, pbs)
    assert scene.log.evaluated_again() == []
    assert {record.attempts for record in run.learners()} == {0}


@pytest.mark.long
def test_a_server_that_is_down_changes_nothing(scene, pbs):
    run = start(scene, learners=2, points=200, seconds=0.1, jobs=2)
    wait_for(lambda: run.status().points > 5, "points")
    before = {job.id for job in scene.fabric.jobs()}
    (pbs / "down").touch()
    points = run.status().points
    wait_for(lambda: run.status().points > points + 100, "points while PBS is down")
    (pbs / "down").unlink()
    done(run, pbs)
    assert {job.id for job in scene.fabric.jobs()} == before


@pytest.mark.long
def test_a_preamble_that_fails_opens_the_circuit_with_its_reason(scene, pbs):
    from adaptive_fabric.looking import pool_statuses

    run = start(scene, learners=4, points=5, seconds=0.01, jobs=2, preamble=["echo no such module", "false"])
    wait_for(lambda: pool_statuses(scene.fabric)[0].circuit, "an open circuit", LONG)
    assert "no such module" in (pool_statuses(scene.fabric)[0].circuit or "")
    assert len(fake_pbs.records(pbs)) <= 12
    run.cancel()


def test_a_server_that_nodes_cannot_reach_is_no_place_for_a_pbs_pool(fabric, pbs):
    with pytest.raises(UsageError, match="--bind"):
        fabric.pool("batch", PBS())


def test_submit_list_drain_and_delete(home, pbs):
    home.create()
    scheduler = PBSScheduler(home)
    jobs = tuple(f"iabc.{place}" for place in range(2))
    sleeper = ["trap 'echo told USR1' USR1", "while :; do sleep 0.1; done"]
    ids = scheduler.submit(Request("iabc", "p", PBS(preamble=sleeper), jobs))
    assert {job: each.scheduler_id for job, each in scheduler.list().jobs.items()} == ids
    wait_for(lambda: all(fake_pbs.records(pbs)[its_id].get("session_id") for its_id in ids.values()), "start")
    wait_for(home.job_log(jobs[0]).exists, "a log")
    (pbs / "down").touch()
    assert not scheduler.list().good
    with pytest.raises(AnswerLostError):
        scheduler.submit(Request("idef", "p", PBS(), ("idef.0",)))
    (pbs / "down").unlink()
    scheduler.cancel(
        [(jobs[0], "", "cancel"), (jobs[1], ids[jobs[1]], "cancel"), ("i.0", "99.login1", "cancel")]
    )
    wait_for(lambda: not fake_pbs.living(pbs), "the end of both")

"""Whole fabrics whose slots evaluate with dask, with ipyparallel, or with an executor of the user's own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import adaptive
import pytest
from tests.system.conftest import Scene, quick
from tests.system.processes import Process, of_home, of_job, wait_for

from adaptive_fabric import Fabric, PickleError, Run, UsageError
from fabric_broker import reads

PATIENCE = 240.0
"""Seconds; workers that are new interpreters come late on a busy machine."""
CORES = 2
MERCY = 1.0
"""Seconds: evaluations that finished so long before a kill are never repeated."""
MODULES = {"dask": "dask_worker", "ipyparallel": "ipyparallel_engine"}
EACH_KIND = pytest.mark.parametrize(
    "kind",
    [
        pytest.param("dask", marks=pytest.mark.needs("dask")),
        pytest.param("ipyparallel", marks=pytest.mark.needs("ipyparallel")),
    ],
)


def workers(scene: Scene, kind: str) -> list[Process]:
    return [each for each in of_home(scene.home.path) if f"fabric_jobs.{MODULES[kind]}" in each.command]


def at_work(scene: Scene, run: Run) -> tuple[str, int]:
    """The only job and its learner's token, once the learner has a few points."""
    wait_for(lambda: run.status().points > 3, "points", PATIENCE)
    scene.log.open_gate()
    ((job, (learner, *_)),) = scene.holders(run).items()
    return job, learner.token


def done(scene: Scene, run: Run, *, killed: float | None = None) -> None:
    """`killed`: when a process died with which results may have died that were not told yet."""
    status = run.wait(timeout=PATIENCE)
    assert status.counts == {"done": status.total}, [r for r in run.learners() if r.state != "done"]
    (learner,) = run.load()
    known = set(learner.data)
    unknown = [each for each in scene.log if float(each.x) not in known]
    if killed is not None:
        unknown = [each for each in unknown if abs(each.finished - killed) > MERCY]
    # What is on its way at the goal is not waited for: one for each worker, and as many again that are queued.
    assert len({each.x for each in unknown}) < 2 * CORES
    assert {record.attempts for record in run.learners()} == {0}


@EACH_KIND
@pytest.mark.long
@pytest.mark.timeout(400)
def test_a_killed_worker_is_replaced_and_its_learner_stays_in_its_slot(scene, kind):
    run = scene.submit(learners=1, points=60, jobs=1, executor=kind, cores=CORES, gated=True)
    job, token = at_work(scene, run)
    slot = scene.one(job, "slot").pid
    before = {each.pid for each in workers(scene, kind)}
    assert len(before) == 2
    killed = time.time()
    os.kill(min(before), signal.SIGKILL)
    done(scene, run)
    assert scene.log.evaluated_again(before=killed - MERCY) == []
    assert run.learners()[0].token == token
    assert scene.one(job, "slot").pid == slot
    log = scene.home.job_log(job).read_text()
    assert f"a worker of the {kind} died of SIGKILL; the pool was rebuilt" in log
    assert {evaluation.pid for evaluation in scene.log} - before, "others went on"
    wait_for(lambda: not of_job(scene.home.path, job), "the end of the job", PATIENCE)


@pytest.mark.long
@pytest.mark.timeout(400)
@pytest.mark.parametrize(
    ("kind", "role"),
    [
        pytest.param("dask", "slot", marks=pytest.mark.needs("dask")),
        pytest.param("ipyparallel", "agent", marks=pytest.mark.needs("ipyparallel")),
    ],
)
def test_no_worker_outlives_a_killed_agent_or_slot(scene, kind, role):
    run = scene.submit(learners=1, points=60, jobs=1, executor=kind, cores=CORES, gated=True)
    job, _ = at_work(scene, run)
    before = {each.pid for each in workers(scene, kind)}
    killed = time.time()
    os.kill(scene.one(job, role).pid, signal.SIGKILL)
    wait_for(lambda: not before & {each.pid for each in of_home(scene.home.path)}, "the end of its workers")
    done(scene, run, killed=killed)
    assert scene.log.evaluated_again(before=killed - MERCY) == []


@EACH_KIND
@pytest.mark.long
@pytest.mark.timeout(400)
def test_a_drained_job_tells_what_its_workers_finish(scene, kind):
    run = scene.submit(learners=1, points=60, seconds=0.5, jobs=1, executor=kind, cores=CORES, grace=20.0)
    wait_for(lambda: run.status().points > 3, "points", PATIENCE)
    ((job, _),) = scene.holders(run).items()
    run.pause()
    scene.one(job, "agent")
    os.kill(scene.one(job, "agent").pid, signal.SIGTERM)
    wait_for(lambda: not of_job(scene.home.path, job), "the end of the job", PATIENCE)
    assert run.status().points == len(scene.log)
    assert run.learners()[0].checkpoint is not None


def test_a_function_of_the_user_makes_the_executor(scene, tmp_path):
    made = tmp_path / "made"

    def make() -> Any:
        from concurrent.futures import ThreadPoolExecutor

        made.touch()
        return ThreadPoolExecutor(2)

    scene.fabric.pool("mine", quick(executor=make, cores=CORES), jobs=1)
    own = scene.fabric.pool("mine").spec
    assert own.executor_kind == "factory"
    assert str(own.executor).endswith("make")
    learner = adaptive.Learner1D(scene.log.function("x", 0.001), (-1, 1))
    run = scene.fabric.submit([learner], names=["x"], goal=20, pool="mine")
    done(scene, run)
    assert made.exists()
    (record,) = reads.pool_records(scene.fabric.broker, ["mine"])
    assert set(record.spec["executor"]) == {"name", "code"}


@pytest.mark.long
def test_a_factory_is_named_on_the_command_line_and_its_pool_is_changed_as_any(fabric: Fabric) -> None:
    told = cli(
        fabric, "add", "mine", "--kind", "local", "--executor", "concurrent.futures:ThreadPoolExecutor"
    )
    assert "pool mine" in told
    assert "executor = concurrent.futures:ThreadPoolExecutor\n" in cli(fabric, "show", "mine")
    fabric.pool("other", fabric.pool("mine").spec)
    run = fabric.submit([adaptive.SequenceLearner(lambda x: x + 1, range(5))], pool="other")
    assert run.wait(timeout=PATIENCE).counts == {"done": 1}
    assert list(run.load()[0].data.values()) == [1, 2, 3, 4, 5]


def cli(fabric: Fabric, *words: str) -> str:
    command = [str(Path(sys.executable).with_name("fabric")), "--home", str(fabric.home.path), "pool", *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    return done.stdout + done.stderr


def test_a_factory_that_cannot_travel_makes_no_pool(fabric: Fabric) -> None:
    def factory() -> Callable[[], Any]:
        lock = __import__("threading").Lock()
        return lambda: lock

    with pytest.raises(PickleError, match="the executor's function cannot be pickled"):
        fabric.pool("mine", quick(executor=factory()))
    assert reads.pool_names(fabric.broker) == []


def test_a_pool_names_the_extra_that_its_executor_lacks(
    fabric: Fabric, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fabric_submitter.extras.find_spec", lambda _name: None)
    with pytest.raises(
        UsageError, match=r"needs distributed and cryptography: pip install 'adaptive-fabric\[dask\]'"
    ):
        fabric.pool("mine", quick(executor="dask"))
    with pytest.raises(UsageError, match=r"needs ipyparallel: pip install 'adaptive-fabric\[ipyparallel\]'"):
        fabric.pool("mine", quick(executor="ipyparallel"))
    # Its own Python has modules of its own.
    assert fabric.pool("mine", quick(executor="dask", python=sys.executable)).name == "mine"

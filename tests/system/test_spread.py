"""One learner over two nodes of a real SLURM: its workers are started by srun, one per core of the allocation."""

from __future__ import annotations

import os
import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import adaptive
import pytest
from tests.slurm import Slurm as Cluster
from tests.system.batch import LONG, OnSlurm, reachable
from tests.system.processes import EvaluationLog, Process, of_home, of_job, wait_for

from adaptive_fabric import Run
from fabric_broker import calls
from fabric_broker.home import Home

pytestmark = [pytest.mark.long, pytest.mark.needs("slurm"), pytest.mark.timeout(500)]

KINDS = [
    pytest.param("dask", "dask_worker", marks=pytest.mark.needs("dask")),
    pytest.param("ipyparallel", "ipyparallel_engine", marks=pytest.mark.needs("ipyparallel")),
]


@pytest.fixture
def on_slurm(
    home: Home, slurm: Cluster, log: EvaluationLog, monkeypatch: pytest.MonkeyPatch
) -> Iterator[OnSlurm]:
    with reachable(home, monkeypatch) as fabric:
        yield OnSlurm(fabric, home, log, slurm)
        slurm.run("scancel", "--me")


def start(on_slurm: OnSlurm, executor: str, folder: Path, until: Path) -> Run:
    """One learner over two nodes with two cores each; its goal also waits for a file."""
    on_slurm.pool(jobs=1, executor=executor, nodes=2, cores=4)

    def where(x: float) -> float:
        import os
        import time
        from pathlib import Path

        (Path(folder) / f"{os.environ['SLURMD_NODENAME']}-{os.getpid()}").touch()
        time.sleep(0.05)
        return x * x

    def goal(learner: Any) -> bool:
        return learner.npoints >= 40 and until.exists()

    return on_slurm.fabric.submit([adaptive.Learner1D(where, (-1, 1))], goal=goal, pool="batch")


def workers(on_slurm: OnSlurm, module: str) -> list[Process]:
    return [
        each
        for each in of_home(on_slurm.home.path)
        if f"fabric_jobs.{module}" in each.command and "srun" not in each.command
    ]


@pytest.mark.parametrize(("executor", "module"), KINDS)
def test_one_learner_has_workers_on_two_nodes_and_none_outlives_the_other_or_the_slot(
    on_slurm, tmp_path, executor, module
):
    folder, until = tmp_path / "workers", tmp_path / "until"
    folder.mkdir()
    run = start(on_slurm, executor, folder, until)
    wait_for(lambda: len(list(folder.iterdir())) == 4, "evaluations by all workers", LONG)
    nodes = Counter(path.name.split("-")[0] for path in folder.iterdir())
    assert list(nodes.values()) == [2, 2]
    first = workers(on_slurm, module)
    assert len(first) == 4
    os.kill(first[0].pid, signal.SIGKILL)
    wait_for(lambda: others(on_slurm, module, first), "new workers", LONG)
    (job,) = [job.id for job in on_slurm.fabric.jobs()]
    (slot,) = of_job(on_slurm.home.path, job, "slot")
    log = on_slurm.home.job_log(job)
    wait_for(lambda: "the pool was rebuilt" in log.read_text(), "word of them", LONG)
    second = others(on_slurm, module, first)
    os.kill(slot.pid, signal.SIGKILL)
    wait_for(lambda: not same(second, workers(on_slurm, module)), "the end of the slot's workers", LONG)
    wait_for(lambda: others(on_slurm, module, first + second), "those of the next slot", LONG)
    until.touch()
    on_slurm.done(run)
    assert [record.attempts for record in run.learners()] == [0]
    assert not workers(on_slurm, module)


def others(on_slurm: OnSlurm, module: str, known: list[Process]) -> list[Process]:
    """Four workers that are none of those, once there are."""
    found = [each for each in workers(on_slurm, module) if each.pid not in {one.pid for one in known}]
    return found if len(found) == 4 else []


def same(some: list[Process], now: list[Process]) -> set[int]:
    return {each.pid for each in some} & {each.pid for each in now}


@pytest.mark.parametrize(("executor", "module"), KINDS)
def test_workers_finish_what_they_evaluate_when_slurm_is_told_to_cancel(on_slurm, tmp_path, executor, module):
    on_slurm.pool(jobs=1, executor=executor, nodes=2, cores=2, grace=20.0)
    folder = tmp_path / "points"
    folder.mkdir()

    def slowly(x: float) -> float:
        import time
        from pathlib import Path

        (Path(folder) / f"{x!r} began").touch()
        time.sleep(3)
        (Path(folder) / f"{x!r} ended").touch()
        return x

    run = on_slurm.fabric.submit([adaptive.SequenceLearner(slowly, range(40))], pool="batch")
    on_slurm.works(run, 1)
    (first,) = on_slurm.fabric.jobs()
    run.broker.do(calls.scale_pool("batch", 0))
    on_slurm.cluster.run("scancel", "--me")  # which sends TERM to every process of the job
    wait_for(lambda: not of_job(on_slurm.home.path, first.id), "the end of the job", LONG)
    began = sorted(path.name.split()[0] for path in folder.glob("* began"))
    assert began == sorted(path.name.split()[0] for path in folder.glob("* ended"))
    assert run.status().points == len(began)
    run.cancel()

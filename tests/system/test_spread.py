"""One learner over two nodes of a real SLURM: its workers are started by srun, one per core of the allocation."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import adaptive
import pytest
from tests.slurm import Slurm as Cluster
from tests.system.batch import OnSlurm, reachable
from tests.system.processes import EvaluationLog, Process, of_home

from adaptive_fabric import Run
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


def start(on_slurm: OnSlurm, executor: str, folder: Path, *, until: Path | None = None) -> Run:
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
        return learner.npoints >= 40 and (until is None or until.exists())

    return on_slurm.fabric.submit([adaptive.Learner1D(where, (-1, 1))], goal=goal, pool="batch")


def workers(on_slurm: OnSlurm, module: str) -> list[Process]:
    return [
        each
        for each in of_home(on_slurm.home.path)
        if f"fabric_jobs.{module}" in each.command and "srun" not in each.command
    ]


@pytest.mark.parametrize(("executor", "module"), KINDS)
def test_one_learner_has_workers_on_two_nodes(on_slurm, tmp_path, executor, module):
    folder = tmp_path / "workers"
    folder.mkdir()
    run = start(on_slurm, executor, folder)
    on_slurm.done(run)
    came = sorted(path.name.split("-")[0] for path in folder.iterdir())
    assert len(came) == 4
    assert len(set(came)) == 2
    assert came[0] == came[1]
    assert came[2] == came[3]
    assert not workers(on_slurm, module)

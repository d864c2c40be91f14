"""One learner over several nodes of a real SLURM, evaluated by the ranks of MPI."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import adaptive
import pytest
from tests import openmpi
from tests.slurm import Slurm as Cluster
from tests.system.batch import LONG, OnSlurm, reachable
from tests.system.processes import EvaluationLog, of_home, wait_for

from fabric_broker.home import Home

pytestmark = [
    pytest.mark.needs("slurm"),
    pytest.mark.needs("mpi"),
    pytest.mark.long,
    pytest.mark.timeout(500),
]
HYDRA = "mpiexec -n {ranks}"
SRUN = "srun --mpi=pmi2 --nodes={nodes} --ntasks={ranks}"


@pytest.fixture
def on_slurm(
    home: Home, slurm: Cluster, log: EvaluationLog, monkeypatch: pytest.MonkeyPatch
) -> Iterator[OnSlurm]:
    with reachable(home, monkeypatch) as fabric:
        yield OnSlurm(fabric, home, log, slurm)
        slurm.run("scancel", "--me")


class Nodes:
    """Which processes evaluated on which nodes."""

    def __init__(self, file: Path) -> None:
        self.file = file
        file.touch()

    def function(self, seconds: float):
        """A function that notes node and process."""
        file = self.file

        def evaluate(x: float) -> float:
            import os
            import time
            from pathlib import Path

            time.sleep(seconds)
            # mpiexec hands its own environment on; what SLURM started on this node, its parent, knows where it is.
            places = [Path("/proc/self/environ"), Path(f"/proc/{os.getppid()}/environ")]
            node = "?"
            for place in places:
                for entry in place.read_bytes().split(b"\0"):
                    if entry.startswith(b"SLURMD_NODENAME="):
                        node = entry.partition(b"=")[2].decode()
            with file.open("a") as log:
                log.write(f"{node} {os.getpid()}\n")
            return x

        return evaluate

    def seen(self) -> dict[str, set[int]]:
        """Node → pids."""
        found: dict[str, set[int]] = {}
        for line in self.file.read_text().splitlines():
            node, pid = line.split()
            found.setdefault(node, set()).add(int(pid))
        return found


@pytest.mark.parametrize("mpiexec", [HYDRA, SRUN])
def test_one_learner_over_two_nodes(on_slurm, tmp_path, mpiexec):
    nodes = Nodes(tmp_path / "nodes")
    pool = on_slurm.pool(
        jobs=1, executor="mpi4py", nodes=2, cores=4, ttl=30.0, env={"FABRIC_MPIEXEC": mpiexec}
    )
    run = on_slurm.fabric.submit([adaptive.Learner1D(nodes.function(0.05), (-1, 1))], goal=300, pool=pool)
    wait_for(lambda: sum(map(len, nodes.seen().values())) >= 3, "three workers", LONG)
    seen = nodes.seen()
    assert len(seen) == 2, "both nodes evaluate"
    assert sorted(map(len, seen.values())) == [1, 2], "rank 0 manages, where the agent is"
    (job,) = [job for job in on_slurm.fabric.jobs() if job.state == "running"]
    assert len(seen[job.node]) == 1
    (elsewhere,) = set(seen) - {job.node}
    old = set.union(*seen.values())
    os.kill(min(seen[elsewhere]), signal.SIGKILL)
    wait_for(lambda: sum(map(len, nodes.seen().values())) >= 6, "three other workers", LONG)
    assert not old & {process.pid for process in of_home(on_slurm.home.path)}
    on_slurm.done(run)
    (record,) = run.learners()
    assert (record.state, record.attempts) == ("done", 0)
    wait_for(
        lambda: not [p for p in of_home(on_slurm.home.path) if "rank" in p.command], "the end of all ranks"
    )


@pytest.mark.needs("openmpi")
def test_a_srun_that_makes_worlds_of_one_ends_the_job_with_the_numbers(on_slurm):
    # Open MPI does not understand SLURM's PMI-2: each rank is alone, and thinks that this is all.
    env = openmpi.ENV | {"FABRIC_MPIEXEC": "srun --mpi=pmi2 --ntasks={ranks}"}
    pool = on_slurm.pool(jobs=1, executor="mpi4py", cores=3, env=env)
    run = on_slurm.fabric.submit([adaptive.Learner1D(abs, (-1, 1))], goal=10, pool=pool)
    ended = wait_for(
        lambda: [job for job in on_slurm.fabric.jobs() if job.state == "ended"], "the end of a job", LONG
    )
    assert "made a world of 1 where 3 ranks were asked for" in (ended[0].reason or "")
    assert "Open MPI" in (ended[0].reason or "")
    (record,) = run.learners()
    assert (record.state, record.attempts) == ("queued", 0)
    run.cancel()

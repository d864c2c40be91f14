"""Whole fabrics on a batch scheduler: a real SLURM of the test's own, or the PBS that is faked command by command."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import adaptive
import pytest
from tests import fake_pbs
from tests.shim import Shim
from tests.slurm import Slurm as Cluster
from tests.system.conftest import Scene
from tests.system.processes import EvaluationLog, wait_for

from adaptive_fabric import PBS, Fabric, Run, Slurm
from adaptive_fabric.looking import pool_statuses
from adaptive_fabric.running import down, up
from fabric_broker.config import Config
from fabric_broker.home import Home
from fabric_submitter.spec import Spec

LONG = 600.0
SCHEDULERS = [pytest.param("slurm", marks=pytest.mark.needs("slurm")), "pbs"]
NODES = ("n1", "n2", "n3", "n4")


class OnBatch(Scene):
    """A fabric whose pools are on a batch scheduler."""

    submit_command: str
    list_command: str
    nothing: str
    """what the list command answers when there are no jobs"""

    def spec(self, **settings: Any) -> Spec:
        raise NotImplementedError

    def living(self) -> list[str]:
        """The scheduler's ids of jobs that pend or run."""
        raise NotImplementedError

    def job_names(self) -> list[str]:
        """The names of the living jobs, as the scheduler has them."""
        raise NotImplementedError

    def delete_all(self) -> None:
        """Let all jobs be deleted by their owner."""
        raise NotImplementedError

    def forget_ended(self) -> None:
        """Wait until the scheduler knows nothing of jobs that ended."""
        raise NotImplementedError

    def fill(self) -> None:
        """Let no more jobs start."""
        raise NotImplementedError

    def free(self) -> None:
        """Let jobs start again."""
        raise NotImplementedError

    def pool(self, name: str = "batch", *, jobs: int, **spec: Any) -> str:
        settings: dict[str, Any] = {"ttl": 3.0, "grace": 5.0, "idle_timeout": 5.0} | spec
        self.fabric.pool(name, self.spec(**settings), jobs=jobs)
        return name

    def learners(self, names: list[str], seconds: float) -> list[adaptive.Learner1D]:
        return [adaptive.Learner1D(self.log.function(name, seconds), (-1, 1)) for name in names]

    def start(self, *, learners: int, points: int, seconds: float, jobs: int, **spec: Any) -> Run:
        pool = self.pool(jobs=jobs, **spec)
        names = [f"x{i}" for i in range(learners)]
        return self.fabric.submit(self.learners(names, seconds), names=names, goal=points, pool=pool)

    def start_gated(self, *, learners: int, seconds: float, jobs: int, **spec: Any) -> tuple[Run, Path]:
        """A run whose learners go on until there is a file of their name in the folder that is answered."""
        gate = self.home.path.parent / "gate"
        gate.mkdir()
        names = [f"x{i}" for i in range(learners)]
        folder = str(gate)

        def goal(learner: Any) -> bool:
            from pathlib import Path

            return Path(folder, learner.function.name).exists()

        each = self.learners(names, seconds)
        for name, learner in zip(names, each, strict=True):
            learner.function.name = name
        return self.fabric.submit(each, names=names, goal=goal, pool=self.pool(jobs=jobs, **spec)), gate

    def done(self, *runs: Run) -> None:
        """Wait; all learners are done, and no job is left."""
        for run in runs:
            status = run.wait(timeout=LONG)
            assert status.counts == {"done": status.total}, [r for r in run.learners() if r.state != "done"]
        wait_for(lambda: not self.living(), "the end of all jobs", LONG)

    def works(self, run: Run, points: int = 5) -> None:
        wait_for(lambda: run.status().points >= points, "points", LONG)

    def circuit(self) -> str:
        (pool,) = pool_statuses(self.fabric)
        return pool.circuit or ""

    def looks(self) -> int:
        """How often the submitter looked, in some unit: it goes up while it ticks."""
        return int(self.fabric.broker.redis.hget(self.fabric.broker.keys.leader, "seen") or 0) // 1000

    def restarts(self, job: str) -> int:
        """How often the scheduler had started the copy of a job that counts."""
        return int(self.fabric.broker.redis.hget(self.fabric.broker.keys.job(job), "restart") or 0)

    def shim(self, name: str, monkeypatch: pytest.MonkeyPatch) -> Shim:
        """Stand before a command of the scheduler; the submitter is started anew, or it would not see it."""
        shim = Shim(self.home.path.parent, name, monkeypatch)
        self.kill_submitter()
        self.revive()
        return shim

    def kill_submitter(self) -> None:
        """Kill -9 the submitter and its worker; a task that is being run, too."""
        for process in self.submitters():
            send(process.pid, signal.SIGKILL)
        wait_for(self.has_no_submitter, "the submitter's death")

    def revive(self) -> None:
        up(self.home, Config.load(self.home, os.environ), bind="auto")

    def claims(self) -> tuple[Counter[str], Counter[str]]:
        """By job: how many agents worked as it, and how many found that another one does."""
        worked, lost = Counter[str](), Counter[str]()
        for log in self.home.logs.glob("i*.log"):
            text = log.read_text()
            worked[log.stem] = text.count(f"works as job {log.stem} ")
            lost[log.stem] = text.count(f"does not work as job {log.stem}:")
        return +worked, +lost


class OnSlurm(OnBatch):
    """On a cluster of the test's own."""

    submit_command, list_command, nothing = "sbatch", "squeue", ""

    def __init__(self, fabric: Fabric, home: Home, log: EvaluationLog, cluster: Cluster) -> None:
        super().__init__(fabric, home, log)
        self.cluster = cluster

    def spec(self, **settings: Any) -> Spec:
        return Slurm(**settings)

    def living(self) -> list[str]:
        return self.cluster.jobs()

    def job_names(self) -> list[str]:
        return self.cluster.run("squeue", "-h", "-r", "-o", "%j").splitlines()

    def delete_all(self) -> None:
        self.cluster.run("scancel", "--me")

    def forget_ended(self) -> None:
        # MinJobAge of the cluster is 30 s.
        wait_for(lambda: not self.cluster.run("squeue", "-h", "-t", "all"), "SLURM to forget", LONG)

    def fill(self) -> None:
        for node in NODES:
            self.cluster.run("scontrol", "update", f"nodename={node}", "state=drain", "reason=test")

    def free(self) -> None:
        for node in NODES:
            self.cluster.run("scontrol", "update", f"nodename={node}", "state=resume")


class OnPBS(OnBatch):
    """On a PBS in a folder."""

    submit_command, list_command = "qsub", "qstat"
    nothing = '{"timestamp": 1795307531, "pbs_version": "23.06.06", "pbs_server": "login1"}'

    def __init__(self, fabric: Fabric, home: Home, log: EvaluationLog, folder: Path) -> None:
        super().__init__(fabric, home, log)
        self.folder = folder

    def spec(self, **settings: Any) -> Spec:
        return PBS(**settings)

    def living(self) -> list[str]:
        return fake_pbs.living(self.folder)

    def job_names(self) -> list[str]:
        known = fake_pbs.records(self.folder)
        return [known[its_id]["Job_Name"] for its_id in self.living()]

    def delete_all(self) -> None:
        fake_pbs.qdel_all(self.folder)

    def forget_ended(self) -> None:
        fake_pbs.forget_ended(self.folder)

    def fill(self) -> None:
        fake_pbs.set_slots(self.folder, 0)

    def free(self) -> None:
        fake_pbs.set_slots(self.folder, 16)


def send(pid: int, number: signal.Signals) -> None:
    """Send a signal to a process that may have ended just now."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return


@contextmanager
def reachable(home: Home, monkeypatch: pytest.MonkeyPatch) -> Iterator[Fabric]:
    """A fabric that nodes can reach and whose submitter asks the scheduler every second."""
    monkeypatch.setenv("FABRIC_POLL_INTERVAL", "1")
    config = Config.load(home, os.environ)
    up(home, config, bind="auto")
    fabric = Fabric.connect(home=home.path)
    try:
        yield fabric
    finally:
        fabric.close()
        down(home, config)


@contextmanager
def private_pbs(monkeypatch: pytest.MonkeyPatch, *, history: bool = True) -> Iterator[Path]:
    """The folder of a PBS whose commands are on PATH."""
    folder = Path(tempfile.mkdtemp(prefix="fabric-pbs-"))
    fake_pbs.install(folder, history=history)
    monkeypatch.setenv("PATH", f"{folder / 'bin'}:{os.environ['PATH']}")
    yield folder
    fake_pbs.stop(folder)
    shutil.rmtree(folder)


@contextmanager
def most_at_a_time(living: Callable[[], list[str]]) -> Iterator[Callable[[], int]]:
    """Watch how many jobs there are at a time; answers the largest number."""
    stop, seen = threading.Event(), [0]

    def watch() -> None:
        while not stop.wait(0.2):
            seen.append(len(living()))

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield lambda: max(seen)
    finally:
        stop.set()
        thread.join(20)


@contextmanager
def on_batch(
    request: pytest.FixtureRequest, home: Home, log: EvaluationLog, monkeypatch: pytest.MonkeyPatch
) -> Iterator[OnBatch]:
    """A fabric on the scheduler that a fixture's parameter names, one of `SCHEDULERS`."""
    if request.param == "slurm":
        cluster = request.getfixturevalue("slurm")
        with reachable(home, monkeypatch) as fabric:
            yield OnSlurm(fabric, home, log, cluster)
            cluster.run("scancel", "--me")
    else:
        with private_pbs(monkeypatch) as folder, reachable(home, monkeypatch) as fabric:
            yield OnPBS(fabric, home, log, folder)

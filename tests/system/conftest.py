"""A whole fabric of real processes: server, submitter, jobs. Nothing of it is left after a test, also a failed one."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import adaptive
import pytest
from tests.system.processes import PATIENCE, EvaluationLog, Process, of_home, of_job, wait_for

from adaptive_fabric import Fabric, Local, Run
from fabric_broker import events
from fabric_broker.config import Config
from fabric_broker.home import Home
from fabric_broker.records import LearnerRecord
from fabric_submitter.daemon import submitter


@pytest.fixture
def log(tmp_path: Path) -> EvaluationLog:
    return EvaluationLog(tmp_path / "evaluations.tsv")


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    """A home of the test's own; every process that carries it is gone afterwards."""
    folder = tmp_path / "home"
    yield Home(folder)
    left = of_home(folder)
    for process in left:
        os.kill(process.pid, signal.SIGKILL)
    if left:
        wait_for(lambda: not of_home(folder), "the end of what was left")


@pytest.fixture
def fabric(home: Home) -> Iterator[Fabric]:
    """A connected fabric: its server and submitter run."""
    from adaptive_fabric.running import down

    fabric = Fabric.connect(home=home.path)
    try:
        yield fabric
    finally:
        fabric.close()
        down(home, Config.load(home, os.environ))


def quick(**changes: object) -> Local:
    """A local pool's spec with short times."""
    settings: dict[str, object] = {"ttl": 3.0, "grace": 5.0, "idle_timeout": 5.0} | changes
    return Local(**settings)


class Scene:
    """A run on two local jobs, and what a test wants to know of it."""

    def __init__(self, fabric: Fabric, home: Home, log: EvaluationLog) -> None:
        self.fabric, self.home, self.log = fabric, home, log

    def submit(
        self,
        *,
        learners: int = 4,
        points: int = 60,
        seconds: float = 0.01,
        jobs: int = 2,
        gated: bool = False,
        **more: Any,
    ) -> Run:
        """``learners`` Learner1D that log each evaluation, on ``jobs`` local jobs of one slot each.

        ``gated``: they wait for each other in `busy_jobs`, lest a job that starts late finds nothing left to do.
        """
        if gated:
            self.log.close_gate()
        spec = {name: more.pop(name) for name in list(more) if name in Local.__dataclass_fields__}
        self.fabric.pool("local", quick(**spec), jobs=jobs)
        names = [f"x{i}" for i in range(learners)]
        return self.fabric.submit(
            [adaptive.Learner1D(self.log.function(name, seconds), (-1, 1)) for name in names],
            names=names,
            goal=points,
            **more,
        )

    def holders(self, run: Run) -> dict[str, list[LearnerRecord]]:
        """Job → the learners it holds."""
        held: dict[str, list[LearnerRecord]] = {}
        for record in run.learners():
            if record.state == "leased" and record.job is not None:
                held.setdefault(record.job, []).append(record)
        return held

    def busy_jobs(self, run: Run, count: int = 2) -> list[str]:
        """So many jobs that hold learners which have points, once there are."""

        def busy() -> list[str]:
            found = [job for job, held in self.holders(run).items() if any(r.npoints > 3 for r in held)]
            return found if len(found) >= count else []

        found = wait_for(busy, f"{count} jobs that work")
        self.log.open_gate()
        return found

    def one(self, job: str, role: str) -> Process:
        """The job's one process of a role, once it is there."""
        return wait_for(lambda: of_job(self.home.path, job, role), f"a {role} of {job}")[0]

    def submitters(self) -> list[Process]:
        """The submitter and the worker of its tasks."""
        return [process for process in of_home(self.home.path) if "fabric_submitter" in process.command]

    def has_no_submitter(self) -> bool:
        """A process that dies has lost its environment, by which it is found, a little before it is dead."""
        return not self.submitters() and submitter(self.home) is None

    def done_once(self, run: Run) -> None:
        """Wait; every learner is done, and the stream of events says so once for each."""
        status = run.wait(timeout=PATIENCE)
        assert status.counts == {"done": status.total}, [r for r in run.learners() if r.state != "done"]
        ended = [e.learner for e in events.read_events(run.broker) if e.run == run.id and e.target == "done"]
        assert sorted(ended) == sorted(record.id for record in run.learners())

    def all_points_are_there(self, run: Run) -> None:
        """What was evaluated (all but what a death interrupted) is in the learners."""
        loaded = dict(zip([record.name for record in run.learners()], run.load(), strict=True))
        for evaluation in self.log:
            assert float(evaluation.x) in loaded[evaluation.learner].data


@pytest.fixture
def scene(fabric: Fabric, home: Home, log: EvaluationLog) -> Scene:
    return Scene(fabric, home, log)

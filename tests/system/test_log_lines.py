"""What the log of a job says about the learners that it runs."""

from __future__ import annotations

import re

import pytest
from tests.system.conftest import Scene
from tests.system.processes import wait_for

from fabric_broker import events, reads

STATUS = re.compile(
    r"npoints (?P<npoints>\d+), loss (?P<loss>[\d.e-]+|not known), overhead (?P<overhead>[\d.]+) %, "
    r"CPU (?P<cpu>\d+) %, memory (?P<memory>\d+) MB"
)


@pytest.mark.parametrize("executor", ["serial", pytest.param("process-pool", marks=pytest.mark.long)])
def test_the_log_says_how_far_each_learner_is_and_what_it_costs(scene: Scene, executor: str) -> None:
    run = scene.submit(learners=2, points=80, seconds=0.02, jobs=1, log_interval=0.2, executor=executor)
    scene.done_once(run)
    jobs = [record.id for record in reads.job_records(run.broker)]
    for index in range(2):
        learner = f"{run.id}.{index}"

        def found(learner: str = learner) -> list[re.Match[str]]:
            lines = events.read_log(run.broker, jobs, learner=learner)
            return [match for line in lines if (match := STATUS.search(line.text))]

        told = wait_for(found, f"status lines of {learner}")
        npoints = [int(match["npoints"]) for match in told]
        assert npoints == sorted(npoints)
        assert 0 < npoints[-1] <= 80
        assert all(0 <= float(match["overhead"]) <= 100 for match in told)
        assert all(int(match["memory"]) > 10 for match in told)
        (log,) = scene.home.logs.glob(f"{jobs[0]}*")
        assert f"agent: {learner}: npoints {npoints[-1]}, loss " in log.read_text()

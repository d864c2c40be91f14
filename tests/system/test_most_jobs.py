"""All pools of a fabric together keep to its own limit, whatever each of them may have."""

from __future__ import annotations

import adaptive
import pytest
from tests.system.conftest import quick
from tests.system.processes import EvaluationLog, wait_for

from adaptive_fabric import Fabric


@pytest.fixture
def limited(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Fabric:
    """A fabric that may have two jobs."""
    monkeypatch.setenv("FABRIC_MAX_JOBS", "2")
    fabric: Fabric = request.getfixturevalue("fabric")
    return fabric


@pytest.mark.long
def test_two_pools_share_the_jobs_that_there_may_be(limited: Fabric, log: EvaluationLog) -> None:
    runs = []
    for pool in ("a", "b"):
        limited.pool(pool, quick(idle_timeout=1.0), jobs=2)
        learners = [adaptive.SequenceLearner(log.function(f"{pool}{n}", 0.1), range(5)) for n in range(2)]
        runs.append(limited.submit(learners, pool=pool))
    most = 0

    def done() -> bool:
        nonlocal most
        most = max(most, sum(job.state != "ended" for job in limited.jobs()))
        return all(run.status().state == "done" for run in runs)

    wait_for(done, "the end of both runs", 100)
    assert most == 2

"""What can never run is refused before any submit, with the limit; what the scheduler refuses, in its words."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from tests.system.batch import SCHEDULERS, OnBatch, OnSlurm, on_batch
from tests.system.processes import EvaluationLog, wait_for

from adaptive_fabric import UsageError
from adaptive_fabric.looking import pool_statuses
from fabric_broker.home import Home

pytestmark = pytest.mark.timeout(200)


@pytest.fixture(params=SCHEDULERS)
def batch(
    request: pytest.FixtureRequest, home: Home, log: EvaluationLog, monkeypatch: pytest.MonkeyPatch
) -> Iterator[OnBatch]:
    with on_batch(request, home, log, monkeypatch) as scene:
        yield scene


EVERYWHERE: dict[str, dict[str, Any]] = {
    "more than 4": {"cores": 3, "slots": 2},
    "2000MB|2048MB": {"memory": "4GB"},
    "one slot": {"nodes": 2, "cores": 2, "slots": 2},
    "account": {"account": "a b"},
    "one line": {"directives": ["--x\n#SBATCH -J mine"]},
    "preamble": {"preamble": ["true\nfalse"]},
}
IN_SLURM: dict[str, dict[str, Any]] = {
    "nosuch.*main": {"partition": "nosuch"},
    "0:01:00": {"partition": "short", "walltime": "0:10:00"},
    "contradicts partition='main'": {"partition": "main", "directives": ["--partition=low"]},
    "contradicts walltime": {"walltime": 600, "directives": ["-t 5"]},
    "job-name itself": {"directives": ["--job-name=mine"]},
    "has 4": {"nodes": 9, "cores": 9, "partition": "main"},
    "constraint": {"constraint": "a b"},
    "qos": {"qos": "a\nb"},
}
IN_PBS: dict[str, dict[str, Any]] = {
    "nosuch.*workq": {"queue": "nosuch"},
    "00:01:00": {"queue": "short", "walltime": "0:10:00"},
    "contradicts queue='workq'": {"queue": "workq", "directives": ["-q short"]},
    "contradicts walltime": {"walltime": 600, "directives": ["-l walltime=5"]},
    "N itself": {"directives": ["-N mine"]},
    "select": {"select": "1:ncpus=1 -N mine"},
}


def test_what_can_never_run_is_refused_before_any_submit(batch, monkeypatch):
    shim = batch.shim(batch.submit_command, monkeypatch)
    cases = EVERYWHERE | (IN_SLURM if isinstance(batch, OnSlurm) else IN_PBS)
    for names, settings in cases.items():
        with pytest.raises(UsageError, match=names):
            batch.pool(jobs=1, **settings)
    for name in ("a b", "a|b", "a\nb", "-x", ""):
        with pytest.raises(UsageError, match="name"):
            batch.pool(name, jobs=1)
    assert pool_statuses(batch.fabric) == []
    assert shim.calls() == 0
    assert batch.living() == []


@pytest.mark.long
def test_names_of_learners_and_runs_never_reach_the_scheduler(batch):
    names = ["two words", "a|b", "$(touch x)", "'", '"']
    pool = batch.pool(jobs=1)
    run = batch.fabric.submit(batch.learners(names, 0.1), name="a | run", names=names, goal=5, pool=pool)
    wait_for(lambda: batch.holders(run), "a job that works")
    assert [name.startswith("fab-i") for name in batch.job_names()] == [True]
    batch.done(run)


def test_the_schedulers_own_refusal_is_shown_in_its_words(batch):
    words = "invalid partition" if isinstance(batch, OnSlurm) else "Unknown queue"
    directive = "--partition=nosuch" if isinstance(batch, OnSlurm) else "-q nosuch"
    batch.start(learners=1, points=5, seconds=0.0, jobs=1, directives=[directive])
    wait_for(lambda: [job for job in batch.fabric.jobs() if words in (job.reason or "")], "its words")

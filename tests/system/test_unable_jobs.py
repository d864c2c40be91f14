"""Jobs that reach a node and cannot work there: each says why, in its log, and as far as it can in its record."""

from __future__ import annotations

import sys
from pathlib import Path

import adaptive
import pytest
from tests.system.conftest import quick
from tests.system.processes import wait_for

from adaptive_fabric import Fabric, Run
from adaptive_fabric.explaining import explain_job, explain_learner, explain_pool
from adaptive_fabric.looking import Logs
from fabric_broker.home import Home
from fabric_broker.records import JobRecord

NOBODY = "redis://127.0.0.1:1"


def submit(fabric: Fabric, **spec: object) -> Run:
    """One learner for one job that has this spec."""
    fabric.pool("local", quick(**spec), jobs=1)
    return fabric.submit([adaptive.Learner1D(lambda x: x, (-1, 1))], goal=3)


def first_ended(fabric: Fabric) -> JobRecord:
    return wait_for(lambda: [job for job in fabric.jobs() if job.state == "ended"], "a job that ended")[0]


def log_of(home: Home, job: JobRecord) -> str:
    return home.job_log(job.id).read_text()


def until_pool_says(fabric: Fabric, code: str) -> str:
    def text() -> str:
        return next((r.text for r in explain_pool(fabric, "local").because if r.code == code), "")

    return wait_for(text, f"a reason {code}")


def test_a_job_that_cannot_reach_redis_says_so_while_it_tries(fabric: Fabric, home: Home) -> None:
    run = submit(fabric, env={"FABRIC_URL": NOBODY})
    until_pool_says(fabric, "starting")
    (job,) = fabric.jobs()
    assert job.reason is not None
    assert job.reason.startswith("started; its agent has not spoken yet")
    wait_for(lambda: "Redis is away" in log_of(home, job), "a word in its log")
    told = explain_job(fabric, job.id)
    assert [reason.code for reason in told.because] == ["starting", "log"]
    assert "Redis is away" in told.because[1].text
    run.cancel()


@pytest.mark.long
@pytest.mark.timeout(240)
def test_a_job_that_never_reaches_redis_ends_with_that_in_its_record(fabric: Fabric, home: Home) -> None:
    run = submit(fabric, env={"FABRIC_URL": NOBODY})
    job = wait_for(
        lambda: [job for job in fabric.jobs() if job.state == "ended"], "a job that gave up", patience=180
    )[0]
    assert "gives up: no Redis for 60 s" in log_of(home, job)
    assert job.reason is not None
    assert "gives up: no Redis for 60 s" in job.reason
    run.cancel()


def test_a_job_that_cannot_read_its_key_tells_the_fabric(fabric: Fabric, home: Home) -> None:
    # On its node the key is open to others, as a folder is that was mounted or copied wrongly.
    run = submit(fabric, preamble=[f"chmod 644 {home.work_key}"])
    job = first_ended(fabric)
    home.work_key.chmod(0o600)
    assert job.reason is not None
    assert job.reason.startswith(f"its agent cannot work on {job.node}: ")
    assert "work.key" in job.reason
    assert "chmod 600" in job.reason
    assert "chmod 600" in log_of(home, job)
    run.cancel()


def test_a_python_without_the_package_is_named(fabric: Fabric, home: Home, tmp_path: Path) -> None:
    bare = tmp_path / "bare-python"
    bare.write_text(f'#!/bin/sh\nexec {sys.executable} -I -S "$@"\n')
    bare.chmod(0o755)
    run = submit(fabric, python=bare)
    job = first_ended(fabric)
    assert "No module named fabric_jobs" in log_of(home, job)
    assert job.reason is not None
    assert f"{bare} cannot import adaptive-fabric here: set python=" in job.reason
    assert "cannot import adaptive-fabric" in str(explain_job(fabric, job.id).because)
    assert "No module named fabric_jobs" in "".join(line.text for line in Logs(fabric, job.id, None).lines())
    assert wait_for(
        lambda: [r for r in explain_pool(fabric, "local").because if r.code in ("back-off", "probation")],
        "a back-off",
    )
    run.cancel()


@pytest.mark.long
def test_a_python_that_is_not_there_is_named(fabric: Fabric, home: Home, tmp_path: Path) -> None:
    run = submit(fabric, python=tmp_path / "gone")
    job = first_ended(fabric)
    assert f"{tmp_path / 'gone'} cannot be run here" in log_of(home, job)
    assert job.reason is not None
    assert "cannot be run here" in job.reason
    run.cancel()


@pytest.mark.long
def test_a_job_that_lacks_the_users_modules_says_which(
    fabric: Fabric, home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = tmp_path / "mine" / "only_on_the_login_node.py"
    module.parent.mkdir()
    module.write_text("def f(x):\n    return x\n")
    monkeypatch.syspath_prepend(module.parent)
    from only_on_the_login_node import f  # type: ignore[import-not-found]

    fabric.pool("local", quick(), jobs=0)
    run = fabric.submit([adaptive.Learner1D(f, (-1, 1))], goal=3, backoff=0.1, attempts=2)
    module.unlink()
    fabric.pool("local", jobs=1)

    text = until_pool_says(fabric, "trouble")
    assert "No module named 'only_on_the_login_node'" in text
    (job,) = fabric.jobs()
    assert job.reason is not None
    assert job.reason.startswith(f"cannot import on {job.node}: ")
    assert "only_on_the_login_node" in str(explain_job(fabric, job.id).because)
    assert run.wait(timeout=60).state == "failed"
    (reason,) = explain_learner(fabric, f"{run.id}.0").because
    assert reason.code == "failed"
    assert "PYTHONPATH" in reason.fix
    wait_for(lambda: "only_on_the_login_node" in log_of(home, job), "a word in its log")

"""`fabric doctor` sends each pool a small job that phones home, and says why one does not; it leaves nothing behind."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests import fake_pbs
from tests.slurm import Slurm as Cluster
from tests.system.processes import of_home, wait_for

from adaptive_fabric import PBS, Fabric, Local, Slurm, pools
from adaptive_fabric.running import down, up
from fabric_broker.config import Config
from fabric_broker.home import Home


@pytest.fixture
def reachable(home: Home) -> Iterator[Fabric]:
    """A fabric whose server other machines reach."""
    config = Config.load(home, os.environ)
    up(home, config, bind="auto")
    fabric = Fabric.connect(home=home.path)
    try:
        yield fabric
    finally:
        fabric.close()
        down(home, config)


def doctor(home: Home, wait: float = 60.0) -> dict[str, tuple[bool, str]]:
    """What it says of each pool's job; its exit code says whether all is well."""
    command = [sys.executable, "-m", "adaptive_fabric", "--home", str(home.path)]
    command += ["doctor", "--json", "--wait", str(wait)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=110, check=False)
    checks = json.loads(done.stdout)["checks"]
    assert done.returncode == (0 if all(check["ok"] for check in checks) else 1)
    of = "job of "
    jobs = [check for check in checks if check["name"].startswith(of)]
    assert all("\n" not in check["text"] for check in jobs)
    return {check["name"].removeprefix(of): (check["ok"], check["text"]) for check in jobs}


def no_trace_of_it(fabric: Fabric) -> None:
    assert list(fabric.home.jobs.iterdir()) == []
    assert [log for log in fabric.home.logs.iterdir() if log.name.startswith("i")] == []
    assert list(fabric.broker.redis.scan_iter(fabric.broker.keys.probe("*"))) == []
    assert fabric.jobs() == []


@pytest.mark.long
def test_a_local_job_tells_what_is_wrong_on_its_node(fabric: Fabric, home: Home, tmp_path: Path) -> None:
    (tmp_path / "adaptive.py").write_text("raise ImportError('libx.so is missing')\n")
    bare = tmp_path / "python"
    bare.write_text(f'#!/bin/sh\nexec {sys.executable} -S -E "$@"\n')
    bare.chmod(0o700)
    specs = {
        "well": Local(),
        "bare": Local(python=bare),
        "lame": Local(env={"PYTHONPATH": str(tmp_path)}),
        "lost": Local(env={"FABRIC_URL": "redis://127.0.0.1:1"}),
        "shut": Local(preamble=["echo no such module >&2", "false"]),
        "gone": Local(python=tmp_path / "nowhere"),
    }
    for name, spec in specs.items():
        fabric.pool(name, spec)
    found = doctor(home)
    assert {name for name, (ok, _) in found.items() if ok} == {"well"}
    told = {
        "well": "phoned home",
        "bare": "must be one that has adaptive-fabric",
        "lame": "cannot import adaptive: ImportError: libx.so is missing",
        "lost": "cannot use the server",
        "shut": "no such module",
        "gone": "nowhere",
    }
    for name, text in told.items():
        assert text in found[name][1], found[name]
    assert "redis://127.0.0.1:1" in found["lost"][1]
    assert not [each for each in of_home(home.path) if each.job], "no job is left"
    no_trace_of_it(fabric)


def test_without_waiting_no_job_is_sent(fabric: Fabric, home: Home) -> None:
    fabric.pool("local", Local())
    assert doctor(home, wait=0) == {}


@pytest.mark.needs("slurm")
def test_a_job_of_a_real_slurm_phones_home(slurm: Cluster, reachable: Fabric, home: Home) -> None:
    reachable.pool("well", Slurm(partition="main", slots=3, walltime=3600), jobs=8)
    ((ok, text),) = doctor(home).values()
    assert ok, text
    assert "from n" in text
    wait_for(lambda: not slurm.jobs(), "nothing left in the queue")
    no_trace_of_it(reachable)


@pytest.mark.long
@pytest.mark.needs("slurm")
def test_jobs_of_a_real_slurm_say_why_they_do_not_start_or_work(
    slurm: Cluster, reachable: Fabric, home: Home
) -> None:
    reachable.pool("late", Slurm(directives=["--begin=now+1hour"]))
    reachable.pool("shut", Slurm(preamble=["module load nosuch"]))
    reachable.pool("lost", Slurm(env={"FABRIC_URL": "redis://127.0.0.1:1"}))
    found = doctor(home, wait=40)
    assert not any(ok for ok, _ in found.values())
    assert "did not start within 40 s: pending, BeginTime" in found["late"][1]
    assert "module" in found["shut"][1]
    assert "node n" in found["lost"][1]
    wait_for(lambda: not slurm.jobs(), "nothing left in the queue")
    no_trace_of_it(reachable)


@pytest.mark.long
@pytest.mark.needs("slurm")
def test_a_scheduler_that_refuses_the_job_is_quoted(slurm: Cluster, reachable: Fabric, home: Home) -> None:
    reachable.pool("cpu", Slurm(directives=["--reservation=nosuch"]))
    ((ok, text),) = doctor(home, wait=20).values()
    assert not ok
    assert "no job can be sent" in text
    assert "eservation" in text


def test_pools_whose_jobs_could_never_work_are_sent_none(fabric: Fabric, home: Home) -> None:
    pools.define(fabric.broker, "cpu", Slurm(), 1, fabric.signer)
    pools.define(fabric.broker, "mine", Local(), 1, fabric.signer)
    home.templates.mkdir()
    (home.templates / "local.sh.j2").write_text("{{ nosuch }}")
    found = doctor(home)
    assert "fabric up --bind auto" in found["cpu"][1]
    assert "local.sh.j2:1: 'nosuch' is undefined" in found["mine"][1]
    assert not found["cpu"][0]
    assert not found["mine"][0]
    no_trace_of_it(fabric)


@pytest.mark.long
@pytest.mark.parametrize("slots", [4, 0])
def test_a_job_of_a_pbs_phones_home_or_is_still_queued(
    slots: int, home: Home, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = Path(tempfile.mkdtemp(prefix="fabric-pbs-"))
    fake_pbs.install(folder, slots=slots)
    monkeypatch.setenv("PATH", f"{folder / 'bin'}:{os.environ['PATH']}")
    try:
        fabric = request.getfixturevalue("reachable")
        fabric.pool("cpu", PBS(slots=2))
        ((ok, text),) = doctor(home, wait=60 if slots else 3).values()
        assert ok is bool(slots), text
        assert ("phoned home" if slots else "did not start within 3 s: pending") in text
        wait_for(lambda: not fake_pbs.living(folder), "nothing left in the queue")
        no_trace_of_it(fabric)
    finally:
        fake_pbs.stop(folder)
        shutil.rmtree(folder)

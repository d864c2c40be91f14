"""What a newcomer does first, with real processes: connect, submit, wait, load, go down and come up again."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import adaptive
import pytest
from tests.system.processes import of_home, wait_for

from adaptive_fabric import Fabric, Local
from fabric_broker.home import Home

QUICK = {"ttl": 3, "grace": 5, "idle_timeout": 30}


def lines(n: int) -> list[adaptive.Learner1D]:
    return [adaptive.Learner1D(lambda x, power=power: x**power, (-1, 1)) for power in range(n)]


def fabric_command(home: Home, *words: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "adaptive_fabric", "--home", str(home.path), *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, cwd=cwd, check=False)


@pytest.mark.parametrize(
    "executor", ["serial", *(pytest.param(each, marks=pytest.mark.long) for each in ("process-pool", "loky"))]
)
def test_learners_run_and_come_back(fabric: Fabric, executor: str) -> None:
    fabric.pool("local", Local(executor=executor, **QUICK))
    own = lines(3)

    run = fabric.submit(own, names=["a=1/b", "ü", " "], goal=30, runner_kwargs={"retries": 1})
    status = run.wait(60)

    assert status.state == "done"
    assert status.counts == {"done": 3}
    assert run.load() == own
    assert all(learner.npoints >= 30 for learner in own)
    assert own[2].data[0.5] == 0.25
    assert status.points == sum(learner.npoints for learner in own)


@pytest.mark.long
def test_all_works_where_an_event_loop_runs_as_in_a_notebook(fabric: Fabric) -> None:
    fabric.pool("local", Local(**QUICK))

    async def cell() -> int:
        run = fabric.submit(lines(1), goal=10)
        run.wait(60)
        return int(run.load()[0].npoints)

    assert asyncio.run(cell()) >= 10


@pytest.mark.long
def test_a_script_travels_with_the_modules_beside_it(home: Home, fabric: Fabric, tmp_path: Path) -> None:
    fabric.pool("local", Local(executor="process-pool", **QUICK))
    folder = tmp_path / "my project"
    (folder / "package").mkdir(parents=True)
    (folder / "package" / "__init__.py").write_text("FACTOR = 2\n")
    (folder / "beside_it.py").write_text(
        "from package import FACTOR\ndef double(x):\n    return FACTOR * x\n"
    )
    (folder / "sweep.py").write_text(
        "import dataclasses, adaptive, beside_it\n"
        "@dataclasses.dataclass\n"
        "class Settings:\n"
        "    offset: float = 1.0\n"
        "def f(x, settings=Settings()):\n"
        "    return beside_it.double(x) + settings.offset\n"
        "def setup():\n"
        "    open('initialised', 'a').close()\n"
        "learners = [adaptive.Learner1D(f, (-1, 1))]\n"
        "def goal(learner):\n"
        "    return learner.npoints >= 20\n"
    )

    done = fabric_command(home, "submit", "my project/sweep.py", "--wait", cwd=tmp_path)

    assert done.returncode == 0, done.stderr
    (learner,) = fabric.run(done.stdout.strip()).load()
    assert learner.npoints >= 20
    assert learner.data[0.5] == 2.0


@pytest.mark.long
def test_down_and_up_keep_the_run_and_it_goes_on(home: Home) -> None:
    def slow(x: float) -> float:
        import time

        time.sleep(0.1)
        return x

    with Fabric.connect(home=home.path) as fabric:
        fabric.pool("local", Local(slots=2, **QUICK))
        run = fabric.submit([adaptive.Learner1D(slow, (-1, 1)) for _ in range(2)], name="mine", goal=40)
        wait_for(lambda: run.status().points >= 10, "some points")

    assert fabric_command(home, "down").returncode == 0
    assert not of_home(home.path)
    assert fabric_command(home, "up").returncode == 0

    with Fabric.connect(home=home.path) as fabric:
        run = fabric.run("mine")
        assert run.status().points >= 10
        assert run.wait(60).state == "done"
        assert {record.attempts for record in run.learners()} == {0}
    assert fabric_command(home, "down").returncode == 0


@pytest.mark.long
def test_up_twice_changes_nothing_and_down_twice_is_fine(home: Home) -> None:
    assert fabric_command(home, "up").returncode == 0
    before = sorted(process.pid for process in of_home(home.path) if process.role == "other")
    assert fabric_command(home, "up").returncode == 0
    assert sorted(process.pid for process in of_home(home.path) if process.role == "other") == before
    status: dict[str, Any] = json.loads(fabric_command(home, "status", "--json").stdout)
    assert status["submitter"]["alive"]
    assert [pool["name"] for pool in status["pools"]] == ["local"]
    checks = json.loads(fabric_command(home, "doctor", "--json").stdout)["checks"]
    assert all(check["ok"] for check in checks), checks

    for _ in range(2):
        assert fabric_command(home, "down").returncode == 0
        assert not of_home(home.path)


@pytest.mark.long
def test_pools_of_the_config_are_made_and_only_up_sets_them_back(home: Home) -> None:
    home.create()
    home.config_file.write_text("[pools.wide]\njobs = 3\nslots = 2\nttl = 5\n")

    with Fabric.connect(home=home.path) as fabric:
        assert fabric.pool("wide").spec == Local(slots=2, ttl=5)
        assert fabric.pool("wide").jobs == 3
        pools = json.loads(fabric_command(home, "pools", "--json").stdout)["pools"]
        assert [pool["name"] for pool in pools] == ["wide"]
        fabric.pool("wide", jobs=0)
    with Fabric.connect(home=home.path) as fabric:
        assert fabric.pool("wide").jobs == 0
        assert fabric_command(home, "up").returncode == 0
        assert fabric.pool("wide").jobs == 3
    fabric_command(home, "down")


@pytest.mark.long
def test_jobs_that_are_kept_go_on_when_the_server_is_back(home: Home, fabric: Fabric) -> None:
    fabric.pool("local", Local(**QUICK))
    run = fabric.submit([adaptive.Learner1D(lambda x: __import__("time").sleep(0.05) or x, (-1, 1))], goal=80)
    wait_for(lambda: run.status().points >= 5, "some points")
    agents = {each.pid for each in of_home(home.path) if each.role == "agent"}

    assert fabric_command(home, "down", "--keep-jobs").returncode == 0
    assert {each.pid for each in of_home(home.path) if each.role == "agent"} == agents
    assert fabric_command(home, "up").returncode == 0

    assert run.wait(60).state == "done"
    assert len(set(run.load()[0].data)) == run.status().points
    assert {record.id for record in fabric.jobs()} == {record.job for record in run.learners()}


@pytest.mark.long
def test_a_home_that_another_host_serves_is_not_taken_down_here(home: Home, fabric: Fabric) -> None:
    fabric.pool("local", Local(**QUICK))
    run = fabric.submit(lines(1), goal=10)
    ours = home.server_lock.read_text()
    home.server_lock.write_text(json.dumps(json.loads(ours) | {"host": "elsewhere"}))

    done = fabric_command(home, "down")
    up = fabric_command(home, "up")
    with Fabric.connect(home=home.path) as other:  # it answers, wherever it is
        assert other.run(run.id).wait(60).state == "done"
    home.server_lock.write_text(ours)

    for refused in (done, up):
        assert refused.returncode == 1
        assert "elsewhere" in refused.stderr


def test_up_in_the_foreground_goes_down_with_sigterm(home: Home) -> None:
    command = [sys.executable, "-m", "adaptive_fabric", "--home", str(home.path), "up", "--foreground"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stderr is not None
        while "Ctrl-C" not in process.stderr.readline():
            assert process.poll() is None
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
    finally:
        process.kill()
        process.wait(20)
        process.communicate()
    assert not of_home(home.path)

"""The files of deploy/ that run a fabric: the systemd unit on a login node, the job script on a compute node."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import adaptive
import pytest
from tests.slurm import Slurm as Cluster
from tests.system.processes import EvaluationLog, of_home, wait_for

from adaptive_fabric import Fabric
from fabric_broker.home import Home
from fabric_broker.lock import UpLock

DEPLOY = Path(__file__).parents[2] / "deploy"
UNIT = DEPLOY / "systemd" / "fabric.service"
PROGRAM = Path(sys.executable).with_name("fabric")


@pytest.fixture
def user(tmp_path: Path) -> Path:
    """The home directory of a user who has the command where the unit looks for it."""
    program = tmp_path / "user" / ".local" / "bin" / "fabric"
    program.parent.mkdir(parents=True)
    program.symlink_to(PROGRAM)
    return tmp_path / "user"


def setting(name: str) -> str:
    (value,) = [
        line.partition("=")[2] for line in UNIT.read_text().splitlines() if line.startswith(f"{name}=")
    ]
    return value


def test_the_unit_is_one_that_systemd_takes(user: Path, tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("there is no systemd-analyze")
    unit = tmp_path / "fabric.service"
    unit.write_text(UNIT.read_text().replace("%h", str(user)))
    (tmp_path / "run").mkdir(mode=0o700)
    told = subprocess.run(
        ["systemd-analyze", "--user", "--man=no", "verify", unit],
        env=os.environ | {"HOME": str(user), "XDG_RUNTIME_DIR": str(tmp_path / "run")},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (told.returncode, [line for line in told.stderr.splitlines() if "fabric.service" in line]) == (
        0,
        [],
    )


def test_what_the_unit_starts_is_stopped_by_sigterm_with_all_that_it_started(home: Home, user: Path) -> None:
    command = shlex.split(setting("ExecStart").replace("%h", str(user)))
    process = subprocess.Popen(
        command,
        env=os.environ | {"FABRIC_HOME": str(home.path), "HOME": str(user)},
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_for(lambda: home.submitter_file.exists() or process.poll() is not None, "the submitter")
        assert process.poll() is None
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
        assert not of_home(home.path)
    finally:
        process.kill()
        process.wait(20)
    assert setting("KillMode") == "process", "a stop must reach fabric alone, which drains the jobs first"


def foreground(home: Home) -> subprocess.Popen[bytes]:
    """`fabric up --foreground`, once all runs."""
    said = home.path.with_name("said")
    with said.open("wb") as file:
        process = subprocess.Popen([PROGRAM, "--home", home.path, "up", "--foreground"], stderr=file)
    wait_for(lambda: "Ctrl-C" in said.read_text() or process.poll() is not None, "the fabric")
    return process


@pytest.mark.long
def test_the_foreground_starts_again_what_died_and_leaves_jobs_running_at_usr1(
    home: Home, log: EvaluationLog
) -> None:
    process = foreground(home)

    def pids() -> set[int]:
        lock = UpLock.read(home.server_lock)
        found = {each.pid for each in of_home(home.path) if "fabric_submitter run" in each.command}
        return found | ({lock.pid} if lock is not None and lock.alive() else set())

    try:
        first = pids()
        assert len(first) == 2
        for pid in first:
            os.kill(pid, signal.SIGKILL)
        wait_for(lambda: len(pids() - first) == 2, "others in their place")
        with Fabric.connect(home=home.path) as fabric:
            run = fabric.submit([adaptive.Learner1D(log.function("x", 0.02), (-1, 1))], goal=10**6)
            wait_for(lambda: run.status().points, "points")
        process.send_signal(signal.SIGUSR1)
        assert process.wait(60) == 0
        assert [each.role for each in of_home(home.path) if each.role == "agent"], "the job goes on"
        assert not pids()
    finally:
        process.kill()
        process.wait(20)


def test_the_foreground_ends_when_somebody_takes_the_fabric_down(home: Home) -> None:
    process = foreground(home)
    try:
        subprocess.run([PROGRAM, "--home", home.path, "down"], check=True, timeout=60, capture_output=True)
        assert process.wait(60) == 0
        assert not of_home(home.path)
    finally:
        process.kill()
        process.wait(20)


@pytest.mark.long
@pytest.mark.needs("slurm")
@pytest.mark.timeout(400)
def test_server_and_submitter_run_as_a_job_that_comes_back(
    home: Home, slurm: Cluster, log: EvaluationLog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home.create()
    pool = 'kind = "slurm"\njobs = 2\nttl = 5\ngrace = 5\nidle_timeout = 5'
    home.config_file.write_text(f"poll_interval = 1\n[pools.batch]\n{pool}\n")
    monkeypatch.setenv("FABRIC_HOME", str(home.path))
    slurm.env["PATH"] = f"{PROGRAM.parent}:{slurm.env['PATH']}"
    script = str(DEPLOY / "slurm" / "fabric-server.sh")
    server = slurm.run("sbatch", "--parsable", "-D", str(tmp_path), script).strip()
    says = tmp_path / "fabric-server.log"
    wait_for(lambda: says.exists() and "is up at" in says.read_text(), "the server as a job", 60)

    def started() -> int:
        return says.read_text().count("is up at")

    with Fabric.connect(home=home.path) as fabric:
        assert "127.0.0.1" not in fabric.server.url
        names = [f"x{i}" for i in range(4)]
        learners = [adaptive.Learner1D(log.function(name, 0.1), (-1, 1)) for name in names]
        run = fabric.submit(learners, names=names, goal=300)
        wait_for(lambda: run.status().points > 20, "points")
        slurm.run("scancel", "--batch", "--signal=USR1", server)
        wait_for(lambda: started() == 2, "the server's next job", 200)
    with Fabric.connect(home=home.path) as fabric:
        assert fabric.run(run.id).wait(timeout=200).state == "done"
    assert log.evaluated_again() == []
    slurm.run("scancel", "--batch", "--signal=TERM", server)
    wait_for(lambda: not slurm.jobs(), "the end of all jobs", 100)
    assert UpLock.read(home.server_lock) is None

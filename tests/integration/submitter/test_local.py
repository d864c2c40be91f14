"""Local jobs as real processes: they are found again, they outlive who started them, they leave nothing behind."""

from __future__ import annotations

import multiprocessing
import os
import re
import signal
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.integration.submitter.conftest import wait_for

from fabric_broker.home import Home
from fabric_broker.lock import ProcessId
from fabric_submitter.adapters.local import LocalScheduler, environment
from fabric_submitter.adapters.scheduler import RefusedError, Request
from fabric_submitter.processes import job_processes
from fabric_submitter.specs import Local

JOB = "iabc.0"
Start = Callable[..., ProcessId]


def submit(home: Home, spec: Local) -> ProcessId:
    ids = LocalScheduler(home).submit(Request("iabc", "pool", spec, (JOB,)))
    pid, _, start = ids[JOB].partition("@")
    return ProcessId(int(pid), int(start))


def log(home: Home) -> str:
    path = home.job_log(JOB)
    return path.read_text() if path.exists() else ""


@pytest.fixture
def start(jobs_home: Home, fake_agent: str) -> Start:
    """Start a job with an agent that does `does`, and wait until it is at it."""

    def start(does: str, says: str = "ready", **fields: object) -> ProcessId:
        env = {"FAKE_AGENT": does}
        keeper = submit(jobs_home, Local(python=fake_agent, env=env, **fields))
        wait_for(lambda: says in log(jobs_home), f"{says} in the log")
        return keeper

    return start


def processes(home: Home) -> list[ProcessId]:
    return [each.process for each in job_processes(home)]


def nothing_is_left(home: Home) -> None:
    wait_for(lambda: not processes(home), "no process of the job")


def test_a_job_is_found_by_its_processes_under_the_id_that_submit_answered(jobs_home, start):
    keeper = start("brood")
    seen = LocalScheduler(jobs_home).list()
    assert (seen.good, seen.proof) == (True, True)
    assert {job: (each.scheduler_id, each.state) for job, each in seen.jobs.items()} == {
        JOB: (f"{keeper.pid}@{keeper.start}", "running")
    }
    assert os.getsid(keeper.pid) == keeper.pid != os.getsid(0)


def test_a_home_spelled_in_another_way_has_the_same_jobs(jobs_home, start, tmp_path):
    start("brood")
    link = tmp_path / "link"
    link.symlink_to(jobs_home.path)
    assert JOB in LocalScheduler(Home(link)).list().jobs
    assert not LocalScheduler(Home(tmp_path)).list().jobs


def test_a_job_asked_to_go_drains_and_ends(jobs_home, start):
    start("brood")
    LocalScheduler(jobs_home).cancel([(JOB, "", "drain")])
    nothing_is_left(jobs_home)
    assert "drains" in log(jobs_home)
    assert "keeper" not in log(jobs_home), "an orderly end needs no comment"


def test_when_the_agent_is_killed_the_keeper_clears_all_that_carries_the_tag(jobs_home, start):
    keeper = start("brood")
    before = processes(jobs_home)
    assert len(before) == 4, "keeper, agent, a child and one in a session of its own"
    agent = next(each for each in before if each != keeper and _parent(each.pid) == keeper.pid)
    agent.send(signal.SIGKILL)
    nothing_is_left(jobs_home)
    assert not any(each.alive() for each in before)
    assert "the agent failed (status 137)" in log(jobs_home)


def _parent(pid: int) -> int:
    found = re.search(r"^PPid:\s+(\d+)$", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    assert found
    return int(found[1])


def test_a_keeper_passes_usr1_on_and_goes_on_waiting(jobs_home, start):
    keeper = start("brood")
    keeper.send(signal.SIGUSR1)
    wait_for(lambda: "told USR1" in log(jobs_home))
    assert keeper.alive()


def test_an_agent_that_will_not_end_is_killed(jobs_home, start, monkeypatch):
    monkeypatch.setattr("fabric_submitter.scripts.KILL_AFTER_S", 0)
    start("deaf", grace=0)
    LocalScheduler(jobs_home).cancel([(JOB, "", "drain")])
    nothing_is_left(jobs_home)
    assert "status 137" in log(jobs_home)


def test_a_job_outlives_the_process_that_started_it(jobs_home, fake_agent):
    spec = Local(python=fake_agent, env={"FAKE_AGENT": "brood"})
    child = multiprocessing.get_context("fork").Process(target=_submit_and_be_killed, args=(jobs_home, spec))
    child.start()
    child.join(20)
    assert child.exitcode == -signal.SIGKILL
    wait_for(lambda: "ready" in log(jobs_home))
    assert JOB in LocalScheduler(jobs_home).list().jobs


def _submit_and_be_killed(home: Home, spec: Local) -> None:
    os.setpgrp()  # like a work-horse of RQ
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    submit(home, spec)
    os.killpg(0, signal.SIGKILL)


def test_signals_that_the_starter_ignored_still_reach_the_job(jobs_home, start):
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        keeper = start("brood")
    finally:
        signal.signal(signal.SIGTERM, before)
    keeper.send(signal.SIGTERM)
    nothing_is_left(jobs_home)
    assert "drains" in log(jobs_home)


def test_what_a_killed_keeper_left_behind_is_ending_and_is_killed_when_cancelled(jobs_home, start):
    keeper = start("brood")
    keeper.send(signal.SIGKILL)
    wait_for(lambda: not keeper.alive())
    scheduler = LocalScheduler(jobs_home)
    assert scheduler.list().jobs[JOB].state == "ending"
    scheduler.cancel([(JOB, "", "drain")])
    assert scheduler.list().jobs, "it may still drain"
    scheduler.cancel([(JOB, "", "cancel")])
    nothing_is_left(jobs_home)


def test_of_two_copies_the_one_with_the_id_is_asked_to_go(jobs_home, start, fake_agent):
    first = start("brood")
    second = submit(jobs_home, Local(python=fake_agent, env={"FAKE_AGENT": "brood"}))
    wait_for(lambda: log(jobs_home).count("ready") == 2)
    LocalScheduler(jobs_home).cancel([(JOB, f"{second.pid}@{second.start}", "cancel")])
    wait_for(lambda: not second.alive())
    assert first.alive()


def test_a_preamble_that_fails_ends_the_job_before_the_agent(jobs_home, fake_agent):
    submit(jobs_home, Local(python=fake_agent, preamble=["echo in the preamble", "false", "echo not here"]))
    wait_for(lambda: "keeper:" in log(jobs_home), "the keeper's word in the log")
    nothing_is_left(jobs_home)
    assert log(jobs_home).splitlines() == ["in the preamble", "keeper: the preamble failed (status 1)"]


def test_env_threads_and_preamble_reach_the_agent_as_they_were_written(jobs_home, tmp_path):
    value = "a 'quoted' \"value\" with $HOME, `date`, \\ and ä"
    tell = tmp_path / "tell"
    tell.write_text('#!/bin/sh\necho "$ODD|$OMP_NUM_THREADS|$FROM_PREAMBLE|$*"\n')
    tell.chmod(0o700)
    submit(
        jobs_home, Local(python=tell, env={"ODD": value}, num_threads=3, preamble=["export FROM_PREAMBLE=p"])
    )
    wait_for(lambda: log(jobs_home).endswith("\n"), "the agent's line in the log")
    nothing_is_left(jobs_home)
    assert log(jobs_home) == f"{value}|3|p|-m fabric_jobs agent --job {JOB} --home {jobs_home.path}\n"


def test_each_start_has_a_tag_of_its_own_and_no_secret_in_its_environment(home):
    url = "redis://user:s3cret@host:1/0"
    env = {"FABRIC_URL": url, "RQ_JOB_ID": "x", "PATH": "/bin", "FABRIC_JOB_TAG": "outer"}
    first, second = (environment(env, home, JOB) for _ in range(2))
    assert first["FABRIC_JOB_TAG"] != second["FABRIC_JOB_TAG"] != "outer"
    assert first["FABRIC_URL"] == "redis://user@host:1/0"
    assert (first["PATH"], first["FABRIC_JOB"], first["FABRIC_HOME"]) == ("/bin", JOB, str(home.path))
    assert "RQ_JOB_ID" not in first


def test_scripts_and_logs_are_the_owners_alone(jobs_home, start):
    start("brood")
    for path in (jobs_home.job_script("iabc"), jobs_home.job_log(JOB)):
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0


def test_a_home_that_cannot_be_written_is_a_refusal(jobs_home):
    jobs_home.jobs.rmdir()
    jobs_home.jobs.write_text("in the way")
    with pytest.raises(RefusedError, match="Not a directory"):
        submit(jobs_home, Local())

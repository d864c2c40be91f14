"""The SLURM adapter against a real SLURM: submit, list, cancel, what is refused, what is asked to wait."""

from __future__ import annotations

import signal

import pytest
from tests.integration.submitter.conftest import wait_for

from fabric_broker.errors import UsageError
from fabric_broker.home import Home
from fabric_submitter.adapters.scheduler import AnswerLostError, RefusedError, Request
from fabric_submitter.adapters.slurm import SlurmScheduler
from fabric_submitter.loop import new_intent
from fabric_submitter.specs import Slurm

pytestmark = pytest.mark.needs("slurm")


def request(spec: Slurm, jobs: int = 1) -> Request:
    intent = new_intent()
    return Request(intent, "pool", spec, tuple(f"{intent}.{place}" for place in range(jobs)))


def log(home: Home, job: str) -> str:
    path = home.job_log(job)
    return path.read_text() if path.exists() else ""


@pytest.fixture
def spec(fake_agent: str) -> Slurm:
    return Slurm(python=fake_agent, env={"FAKE_AGENT": "brood"}, grace=5)


def test_an_array_is_listed_job_by_job_under_the_ids_that_submit_answered(home, slurm, spec):
    scheduler = SlurmScheduler(home)
    assert not scheduler.list().informs
    assert scheduler.has_none(), "SLURM says so in words"
    wanted = request(spec, 3)
    ids = scheduler.submit(wanted)
    assert not scheduler.has_none()
    assert sorted(ids) == list(wanted.jobs)
    assert {job: each.scheduler_id for job, each in scheduler.list().jobs.items()} == ids
    wait_for(lambda: all("ready" in log(home, job) for job in wanted.jobs))
    seen = scheduler.list()
    assert seen.good
    assert not seen.proof
    assert {each.state for each in seen.jobs.values()} == {"running"}
    assert "agent of " + wanted.jobs[2] in log(home, wanted.jobs[2])


def test_jobs_of_others_are_an_answer_too(home, slurm):
    scheduler = SlurmScheduler(home)
    slurm.run("sbatch", "--begin=now+1hour", "-J", "other|job", "--wrap", "true")
    listing = scheduler.list()
    assert (listing.jobs, listing.informs) == ({}, True)
    assert scheduler.has_none()


def test_one_job_is_no_array(home, slurm, spec):
    scheduler = SlurmScheduler(home)
    wanted = request(spec)
    ((job, its_id),) = scheduler.submit(wanted).items()
    assert its_id.isdigit()
    wait_for(lambda: "ready" in log(home, job))
    assert scheduler.list().jobs[job].scheduler_id == its_id


def test_drain_reaches_the_agent_and_cancel_ends_what_waits(home, slurm, spec):
    scheduler = SlurmScheduler(home)
    runs = request(spec)
    waits = request(Slurm(cores=4, slots=1, exclusive=True, directives=["--begin=now+1hour"]))
    ids = {**scheduler.submit(runs), **scheduler.submit(waits)}
    wait_for(lambda: "ready" in log(home, runs.jobs[0]))
    scheduler.cancel([(runs.jobs[0], ids[runs.jobs[0]], "drain"), (waits.jobs[0], "", "cancel")])
    wait_for(lambda: "told USR1" in log(home, runs.jobs[0]))
    assert scheduler.list().jobs[waits.jobs[0]].state == "ended"
    scheduler.cancel([(runs.jobs[0], ids[runs.jobs[0]], "cancel")] * 2)
    wait_for(lambda: scheduler.list().jobs[runs.jobs[0]].state == "ended")
    scheduler.cancel([("i.0", "9999", "cancel")])
    wait_for(lambda: not slurm.jobs(), "nothing is left")


def test_when_the_agent_dies_nothing_of_the_job_is_left(home, slurm, fake_agent):
    scheduler = SlurmScheduler(home)
    wanted = request(Slurm(python=fake_agent, env={"FAKE_AGENT": "die"}, preamble=["sleep 600 & true"]))
    scheduler.submit(wanted)
    wait_for(lambda: scheduler.list().jobs[wanted.jobs[0]].state == "ended")
    assert "the agent failed (status 3)" in log(home, wanted.jobs[0])
    assert scheduler.list().jobs[wanted.jobs[0]].reason.startswith("it failed")


def test_the_environment_of_a_job_holds_no_secret(home, slurm, tmp_path, monkeypatch):
    monkeypatch.setenv("FABRIC_URL", "redis://user:s3cret@host:1/0")
    monkeypatch.setenv("SBATCH_PARTITION", "nosuch")
    tell = tmp_path / "tell"
    tell.write_text("#!/bin/sh\nenv\n")
    tell.chmod(0o700)
    scheduler = SlurmScheduler(home)
    wanted = request(Slurm(python=tell, walltime=600, num_threads=3))
    scheduler.submit(wanted)
    wait_for(lambda: not slurm.jobs())
    text = log(home, wanted.jobs[0])
    assert "s3cret" not in text
    for line in ("FABRIC_URL=redis://user@host:1/0", "OMP_NUM_THREADS=3", f"FABRIC_JOB={wanted.jobs[0]}"):
        assert line in text.splitlines()


def test_what_could_never_start_is_refused_with_the_limit(home, slurm):
    refused = {
        "nosuch.*main": Slurm(partition="nosuch"),
        "0:01:00": Slurm(partition="short", walltime="0:10:00", grace=5),
        "more than 4": Slurm(partition="main", cores=3, slots=2),
        "partition 'main' has more than 4": Slurm(cores=5),
        "2000MB": Slurm(partition="main", memory="4GB"),
        "has 4": Slurm(partition="main", nodes=9, cores=9),
    }
    for names, spec in refused.items():
        with pytest.raises(UsageError, match=names):
            SlurmScheduler(home).check(spec)


def test_what_can_start_is_not_refused(home, slurm):
    for spec in (
        Slurm(),
        Slurm(walltime=600),
        Slurm(partition="main,high", cores=2, slots=2, walltime=3600, memory="1GB"),
    ):
        SlurmScheduler(home).check(spec)


def test_slurms_own_refusal_is_told_in_its_words(home, slurm, spec):
    with pytest.raises(RefusedError, match="Invalid partition name specified"):
        SlurmScheduler(home).submit(request(Slurm(directives=["-p nosuch"])))


@pytest.mark.long
def test_a_controller_that_is_away_says_nothing_about_any_job(home, slurm, spec):
    scheduler = SlurmScheduler(home)
    wanted = request(spec)
    scheduler.submit(wanted)
    slurm.kill("slurmctld", signal.SIGKILL)
    assert not scheduler.list().good
    assert not scheduler.has_none()
    with pytest.raises(AnswerLostError):
        scheduler.submit(request(spec))


def test_no_sbatch_is_a_refusal_and_no_answer(home, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    scheduler = SlurmScheduler(home)
    with pytest.raises(UsageError, match="sbatch"):
        scheduler.check(Slurm())
    with pytest.raises(RefusedError, match="sbatch"):
        scheduler.submit(request(Slurm()))
    assert not scheduler.list().good

"""The submitter as a real process, with its worker, a real Redis and real jobs; and what survives its death."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.integration.submitter.conftest import wait_for
from tests.redis_process import RedisProcess

from fabric_broker import calls, intents, reads
from fabric_broker.broker import Broker
from fabric_broker.home import Home
from fabric_broker.intents import Leadership
from fabric_broker.lock import ProcessId
from fabric_broker.records import JobRecord, RunSettings
from fabric_submitter import daemon, tasks
from fabric_submitter.context import Context
from fabric_submitter.judging import Rules
from fabric_submitter.loop import Submitter
from fabric_submitter.processes import job_processes
from fabric_submitter.specs import Local
from fabric_submitter.worker import WorkerChild

QUICK = Rules(tick=0.1, start_within=3.0, backoff=0.05, deaths=3, linger=2.0, repeat_cancel=2.0, settle=0.5)


class Fabric:
    """A home on a Redis of its own, and what a user could see of it."""

    def __init__(self, home: Home, redis: RedisProcess, agent: str) -> None:
        self.home, self.redis, self.agent = home, redis, agent
        self.client = redis.client()
        self.broker = Broker(self.client, "default")
        self.runs = itertools.count()

    def pool(self, limit: int, does: str = "claim", **fields: Any) -> None:
        spec = Local(python=self.agent, env={"FAKE_AGENT": does}, grace=5, **fields)
        values: dict[str, Any] = {"kind": "local", "slots": spec.slots, "ttl": spec.ttl_s}
        self.broker.do(calls.define_pool("local", spec=spec.to_dict(), limit=limit, **values))

    def work(self, learners: int) -> None:
        run = f"r{next(self.runs)}"
        self.broker.do(calls.define_run(RunSettings(run, run, "local", "/s", "g"), b"x"))
        self.broker.do(calls.add(run, 0, [(str(each), b"x") for each in range(learners)], last=True))

    def jobs(self, *states: str) -> list[JobRecord]:
        return [job for job in reads.job_records(self.broker) if job.state in (states or ("running",))]

    def agents(self) -> set[str]:
        """Jobs that have a keeper."""
        return {each.job for each in job_processes(self.home) if each.keeps}

    def log(self) -> str:
        path = self.home.submitter_log
        return path.read_text() if path.exists() else ""

    def job_log(self, job: str) -> str:
        path = self.home.job_log(job)
        return path.read_text() if path.exists() else ""

    def runs_jobs(self, count: int) -> None:
        """Wait until so many jobs run, in Redis and in truth."""
        wait_for(lambda: len(self.jobs()) == len(self.agents()) == count, f"{count} jobs")

    def holder(self) -> JobRecord:
        """Wait until one job holds learners and is recorded with its id, and return it."""
        wait_for(lambda: [job for job in self.jobs() if job.learners and job.scheduler_id], "a holder")
        (holder,) = self.jobs()
        return holder

    def kill(self, job: str) -> None:
        """SIGKILL whatever belongs to a job, keeper first."""
        found = [each for each in job_processes(self.home) if each.job == job]
        for each in sorted(found, key=lambda each: not each.keeps):
            each.process.send(signal.SIGKILL)


@pytest.fixture
def fabric(
    jobs_home: Home, private_redis: RedisProcess, fake_agent: str, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Fabric]:
    monkeypatch.setenv("FABRIC_URL", private_redis.url)
    fabric = Fabric(jobs_home, private_redis, fake_agent)
    yield fabric
    daemon.stop_submitter(jobs_home)
    fabric.client.close()


@pytest.fixture
def here(fabric: Fabric) -> Iterator[Callable[..., Submitter]]:
    """Run a submitter within the test, by quick rules, with a real worker."""
    stop = threading.Event()
    worker = WorkerChild(fabric.home)
    threads = []

    def start(rules: Rules = QUICK, *, context: Context | None = None) -> Submitter:
        submitter = Submitter(context or Context.load(fabric.home), nonce="here", rules=rules)
        threads.append(threading.Thread(target=submitter.run, args=(stop, worker)))
        threads[-1].start()
        return submitter

    yield start
    stop.set()
    for thread in threads:
        thread.join(20)
        assert not thread.is_alive()
    worker.stop(10)


def children(pid: int) -> list[ProcessId]:
    """Living children of a process, of whichever of its threads."""
    texts = [path.read_text() for path in Path(f"/proc/{pid}/task").glob("*/children")]
    return [found for text in texts for each in text.split() if (found := ProcessId.of(int(each)))]


def workers(pid: int) -> list[ProcessId]:
    """RQ workers below a process."""
    return [
        each
        for each in children(pid)
        if b"fabric_submitter\0worker" in Path(f"/proc/{each.pid}/cmdline").read_bytes()
    ]


def horses(pid: int) -> list[ProcessId]:
    """RQ's work-horses below the workers of a process."""
    return [horse for worker in workers(pid) for horse in children(worker.pid)]


def state(process: ProcessId) -> str:
    """A process's state as ps shows it; see proc(5)."""
    return Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[0]


# -- jobs ---------------------------------------------------------------------------------------------------


def test_work_gets_as_many_jobs_as_it_needs_and_no_more_than_the_limit(fabric):
    fabric.pool(limit=2)
    daemon.start_submitter(fabric.home)
    fabric.work(1)
    fabric.runs_jobs(1)
    record = fabric.holder()
    assert (record.pool, len(record.learners)) == ("local", 1)
    assert record.scheduler_id in {
        f"{each.process.pid}@{each.process.start}" for each in job_processes(fabric.home) if each.keeps
    }
    fabric.work(5)
    fabric.runs_jobs(2)
    assert intents.pool_wanted(fabric.broker, ["local"]) == [2]
    assert intents.leader(fabric.broker).alive


def test_a_dead_jobs_learner_is_taken_up_by_its_replacement_without_waiting_for_the_ttl(fabric):
    fabric.pool(limit=1, ttl=300)
    daemon.start_submitter(fabric.home)
    fabric.work(1)
    first = fabric.holder()
    fabric.kill(first.id)
    wait_for(lambda: [job.learners for job in fabric.jobs() if job.id != first.id] == [["r0.0"]])
    (dead,) = (job for job in fabric.jobs("ended") if job.id == first.id)
    assert dead.reason is not None
    assert "its processes are gone" in dead.reason


@pytest.mark.long
def test_a_lowered_limit_drains_jobs(fabric):
    fabric.pool(limit=2)
    fabric.work(2)
    daemon.start_submitter(fabric.home)
    fabric.runs_jobs(2)
    fabric.broker.do(calls.scale_pool("local", 1))
    fabric.runs_jobs(1)
    (ended,) = fabric.jobs("ended")
    assert "drains" in fabric.job_log(ended.id)


@pytest.mark.long
def test_a_held_fabric_drains_its_jobs_and_goes_on_when_let_go(fabric):
    fabric.pool(limit=2)
    fabric.work(2)
    daemon.start_submitter(fabric.home)
    fabric.runs_jobs(2)
    fabric.broker.do(intents.hold(held=True))
    fabric.runs_jobs(0)
    fabric.broker.do(intents.hold(held=False))
    fabric.runs_jobs(2)


@pytest.mark.long
def test_a_job_that_a_user_asked_to_go_is_drained(fabric):
    fabric.pool(limit=1)
    fabric.work(1)
    daemon.start_submitter(fabric.home)
    fabric.runs_jobs(1)
    (job,) = fabric.jobs()
    fabric.broker.do(intents.ask_job(job.id, "a user said so"))
    wait_for(lambda: "drains" in fabric.job_log(job.id))
    wait_for(lambda: [each.id for each in fabric.jobs("ended")] == [job.id])
    fabric.runs_jobs(1)


def test_jobs_that_die_young_open_the_circuit_with_their_last_words(fabric, here):
    fabric.pool(limit=2, does="die")
    fabric.work(9)
    here()
    wait_for(lambda: reads.pool_records(fabric.broker)[0].circuit)
    circuit = reads.pool_records(fabric.broker)[0].circuit
    assert circuit is not None
    assert "keeper: the agent failed (status 3)" in circuit
    started = len(fabric.jobs("ended"))
    assert started <= QUICK.deaths + 1, "two at first, then one at a time"
    assert fabric.broker.do(intents.resume_pool("local"))
    wait_for(lambda: len(fabric.jobs("ended")) > started)


# -- the submitter's own death ------------------------------------------------------------------------------


def test_a_killed_submitter_leaves_its_jobs_alone_and_the_next_one_knows_them(fabric):
    fabric.pool(limit=2)
    fabric.work(5)
    first = daemon.start_submitter(fabric.home)
    fabric.runs_jobs(2)
    before = fabric.agents()
    wait_for(lambda: workers(first.pid))
    theirs = workers(first.pid)
    first.send(signal.SIGKILL)
    wait_for(lambda: not any(each.alive() for each in [first, *theirs]), "no submitter, no worker")
    assert fabric.agents() == before
    second = daemon.start_submitter(fabric.home)
    assert second != first
    # It knows that the first one is dead, so it leads at once; then it has to look at everything at least once.
    wait_for(lambda: fabric.log().count("leads") == 2)
    looks = fabric.client.hget(fabric.broker.keys.leader, "seen")
    wait_for(lambda: int(fabric.client.hget(fabric.broker.keys.leader, "seen")) > int(looks) + 3000)
    assert fabric.agents() == before
    assert {job.id for job in fabric.jobs()} == before


def test_sigterm_ends_the_submitter_and_its_worker_and_lets_another_lead_at_once(fabric):
    fabric.pool(limit=1)
    fabric.work(1)
    first = daemon.start_submitter(fabric.home)
    fabric.runs_jobs(1)
    theirs = workers(first.pid)
    assert daemon.stop_submitter(fabric.home, 20)
    assert not any(each.alive() for each in theirs)
    assert not fabric.home.submitter_file.exists()
    assert not intents.leader(fabric.broker).alive
    assert len(fabric.agents()) == 1, "its jobs go on"
    assert not daemon.stop_submitter(fabric.home), "there is none"


def test_started_twice_there_is_one(fabric):
    first = daemon.start_submitter(fabric.home)
    assert daemon.start_submitter(fabric.home) == first
    again = [sys.executable, "-m", "fabric_submitter", "run", "--home", str(fabric.home.path)]
    assert subprocess.run(again, timeout=30, check=False).returncode == 0
    assert first.alive()


def test_two_at_once_start_one(fabric):
    found: list[ProcessId] = []
    threads = [
        threading.Thread(target=lambda: found.append(daemon.start_submitter(fabric.home))) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(found) == 4
    assert len(set(found)) == 1


def test_of_two_submitters_one_leads_and_the_other_follows_when_it_goes(fabric, here):
    fabric.pool(limit=2)
    fabric.work(4)
    here()
    wait_for(lambda: "leads" in fabric.log() or intents.leader(fabric.broker).alive)
    daemon.start_submitter(fabric.home)
    fabric.runs_jobs(2)
    wait_for(lambda: "submitter of" in fabric.log())
    assert len(fabric.jobs("running", "pending", "submitting", "ended")) == 2


@pytest.mark.long
def test_a_worker_that_dies_is_replaced(fabric):
    fabric.pool(limit=1)
    submitter = daemon.start_submitter(fabric.home)
    wait_for(lambda: workers(submitter.pid))
    (worker,) = workers(submitter.pid)
    worker.send(signal.SIGKILL)
    wait_for(lambda: [each for each in workers(submitter.pid) if each != worker])
    fabric.work(1)
    fabric.runs_jobs(1)


@pytest.mark.long
def test_redis_away_is_waited_for_and_jobs_are_not_forgotten(fabric):
    fabric.pool(limit=2)
    fabric.work(1)
    submitter = daemon.start_submitter(fabric.home)
    fabric.runs_jobs(1)
    before = fabric.agents()
    # As the server writes it each second.
    wait_for(lambda: fabric.client.info("persistence")["aof_pending_bio_fsync"] == 0)
    time.sleep(1.1)
    fabric.redis.kill()
    wait_for(lambda: "cannot reach Redis" in fabric.log())
    assert submitter.alive()
    fabric.redis.start()
    wait_for(lambda: "all is well again" in fabric.log())
    fabric.work(3)
    fabric.runs_jobs(2)
    assert before < fabric.agents()
    assert "Traceback" not in fabric.log()


def test_no_secret_is_seen_in_command_lines_and_environments(fabric, private_redis):
    fabric.pool(limit=1)
    fabric.work(1)
    keys = [fabric.home.work_key, fabric.home.control_key, fabric.home.password_file]
    secrets = [path.read_bytes().strip() for path in keys]
    submitter = daemon.start_submitter(fabric.home)
    fabric.runs_jobs(1)
    pids = [submitter.pid, *[each.pid for each in children(submitter.pid)]]
    pids += [each.process.pid for each in job_processes(fabric.home)]
    for pid, name in itertools.product(pids, ("cmdline", "environ")):
        shown = Path(f"/proc/{pid}/{name}").read_bytes()
        assert not any(secret in shown for secret in secrets)


# -- tasks that die, stop, and run twice --------------------------------------------------------------------


@pytest.fixture
def wanted(fabric: Fabric) -> str:
    """An intent that some earlier leader wrote, and work for its job."""
    fabric.pool(limit=1)
    fabric.work(1)
    epoch = fabric.broker.do(intents.lead("earlier", host="h", ttl=10.0))
    assert epoch is not None
    fabric.broker.do(intents.intend(Leadership("earlier", epoch), "local", [("iwanted", 1)]))
    fabric.broker.do(intents.lead("earlier", host="h", ttl=0.0))
    return "iwanted"


def test_a_task_that_runs_twice_starts_one_job(fabric, wanted):
    tasks.bind(Context.load(fabric.home))
    for _ in range(2):
        tasks.submit(wanted)
    wait_for(lambda: "claim: OK" in fabric.job_log("iwanted.0"))
    keepers = [each for each in job_processes(fabric.home) if each.keeps]
    assert len(keepers) == 1
    assert fabric.job_log("iwanted.0").count("agent of") == 1


class Pause:
    """Makes the task stop after it took its intent and before it starts the job: the job's log is a pipe."""

    def __init__(self, path: Path) -> None:
        self._path = path
        os.mkfifo(path, 0o600)

    def is_reached(self, script: Path) -> bool:
        """The script is written just before the log is opened. A task that sleeps after that stands at the pipe."""
        return script.exists() and any(state(horse) == "S" for horse in horses(os.getpid()))

    def end(self) -> None:
        """What stands at the pipe goes on; whoever comes later finds a file."""
        aside = self._path.with_suffix(".pipe")
        self._path.rename(aside)
        os.close(os.open(aside, os.O_RDONLY | os.O_NONBLOCK))
        aside.unlink()


def test_a_task_killed_before_it_submitted_is_done_again_once(fabric, wanted, here, monkeypatch):
    monkeypatch.setattr("fabric_submitter.adapters.local.LocalScheduler.answer_within", 1.0)
    script = fabric.home.job_script(wanted)
    pause = Pause(fabric.home.job_log(f"{wanted}.0"))
    here()
    wait_for(lambda: pause.is_reached(script), "a task at work")
    for each in horses(os.getpid()):
        each.send(signal.SIGKILL)
    fabric.home.job_log(f"{wanted}.0").unlink()
    fabric.runs_jobs(1)
    assert fabric.job_log(f"{wanted}.0").count("agent of") == 1
    assert fabric.agents() == {f"{wanted}.0"}


@pytest.mark.long
def test_a_worker_killed_with_its_task_is_replaced_and_others_are_not_held_up(
    fabric, wanted, here, monkeypatch
):
    monkeypatch.setattr("fabric_submitter.adapters.local.LocalScheduler.answer_within", 1.0)
    script = fabric.home.job_script(wanted)
    pause = Pause(fabric.home.job_log(f"{wanted}.0"))
    here()
    wait_for(lambda: pause.is_reached(script), "a task at work")
    for each in [*workers(os.getpid()), *horses(os.getpid())]:
        each.send(signal.SIGKILL)
    fabric.home.job_log(f"{wanted}.0").unlink()
    fabric.broker.do(calls.scale_pool("local", 2))
    fabric.work(1)
    fabric.runs_jobs(2)
    assert fabric.job_log(f"{wanted}.0").count("agent of") == 1


def test_a_task_that_stood_still_while_another_submitted_brings_no_second_job(
    fabric, wanted, here, monkeypatch
):
    monkeypatch.setattr("fabric_submitter.adapters.local.LocalScheduler.answer_within", 1.0)
    script, log = fabric.home.job_script(wanted), fabric.home.job_log(f"{wanted}.0")
    pause = Pause(log)
    here()
    wait_for(lambda: pause.is_reached(script), "a task at work")
    # The next task finds no pipe. The worker still waits for the first one, so another worker must run it.
    pipe = log.with_suffix(".pipe")
    log.rename(pipe)
    other = WorkerChild(fabric.home)
    other.look_after(os.getpid())
    try:
        fabric.runs_jobs(1)
        (keeper,) = (each for each in job_processes(fabric.home) if each.keeps)
        os.close(os.open(pipe, os.O_RDONLY | os.O_NONBLOCK))  # the late task goes on
        wait_for(lambda: "submitted as" in fabric.log() and "(FENCED)" in fabric.log())
        wait_for(lambda: [each for each in job_processes(fabric.home) if each.keeps] == [keeper])
    finally:
        other.stop(10)
    assert [job.id for job in fabric.jobs()] == [f"{wanted}.0"]
    assert log.read_text().count("claim: OK") == 1

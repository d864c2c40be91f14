"""Real agents with real slots on a real Redis: killed, frozen, fenced, asked to end, and what becomes of it."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.agents import World, counted, until
from tests.redis_process import RedisProcess

from fabric_broker import calls, reads
from fabric_broker.events import read_log
from fabric_broker.home import Home
from fabric_broker.keys import learner_id


@pytest.fixture
def world(home: Home, private_redis: RedisProcess) -> Iterator[Callable[..., World]]:
    """Make the test's world: `world(slots=2)`."""
    made: list[World] = []

    def make(**spec: Any) -> World:
        made.append(World(home, private_redis, **spec))
        return made[-1]

    yield make
    for each in made:
        each.close()


def begun(w: World, name: str = "0", points: int = 10) -> Callable[[], bool]:
    """Whether a learner has that many points."""
    return lambda: len(w.evaluated(name)) >= points


def repeated(points: list[float]) -> int:
    """How many evaluations were done again."""
    return len(points) - len(set(points))


# -- the plain way ---------------------------------------------------------------------------------------------------


@pytest.mark.long
def test_learners_are_done_exactly_once_and_no_point_is_evaluated_twice(world):
    w = world(slots=2)
    run = w.submit([counted(w.file(str(i))) for i in range(6)])
    w.start()
    w.wait_done(run)
    assert w.count(run, "complete") == w.count(run, "acquire") == 6
    for i in range(6):
        assert len(w.evaluated(str(i))) == 20
        assert repeated(w.evaluated(str(i))) == 0
    assert [record.npoints for record in w.learners(run)] == [20] * 6


@pytest.mark.long
def test_learners_of_several_runs_get_processes_of_their_own(world):
    w = world()

    def who(file: Path) -> Callable[[float], float]:
        def function(x: float) -> float:
            import os

            file.write_text(str(os.getpid()))
            return x

        return function

    runs = [w.submit([who(w.file(f"{i}-{k}")) for k in range(2)], npoints=5) for i in range(2)]
    job = w.start()
    for run in runs:
        w.wait_done(run)
    pids = [[w.file(f"{i}-{k}").read_text() for k in range(2)] for i in range(2)]
    assert pids[0][0] == pids[0][1], "a run's learners share one"
    assert pids[1][0] == pids[1][1]
    assert pids[0][0] != pids[1][0]
    until(lambda: len(w.processes(job, "slots")) == 1, "the end of the first run's process")


def test_an_agent_is_light_and_has_one_connection(world):
    w = world(slots=2)
    run = w.submit([counted(w.file(str(i)), 0.01) for i in range(2)], npoints=300)
    job = w.start()
    until(begun(w))
    ours = w.redis.client_id()
    assert len([each for each in w.redis.client_list() if int(each["id"]) != ours]) == 1
    proc = Path("/proc") / str(w.agents[job].pid)
    assert "numpy" not in (proc / "maps").read_text()
    (resident,) = [line for line in (proc / "status").read_text().splitlines() if line.startswith("VmRSS")]
    assert int(resident.split()[1]) < 45 * 1024
    w.wait_done(run)


@pytest.mark.long
def test_an_idle_agent_leaves_and_nothing_of_it_is_left(world):
    w = world(idle_timeout=0.5)
    run = w.submit([counted(w.file("0"))])
    job = w.start()
    assert w.wait_end(job) == 0
    w.wait_done(run)
    assert w.processes(job) == []
    (record,) = reads.job_records(w.broker)
    assert (record.state, record.reason) == ("ended", "idle")


def test_what_slots_print_is_in_the_log_file_and_in_the_stream_with_its_learner(world):
    w = world()

    def talkative(x: float) -> float:
        print("hello from", round(x))
        return x

    run = w.submit([talkative], npoints=2)
    job = w.start()
    w.wait_done(run)
    learner = learner_id(run, 0)
    lines = until(lambda: read_log(w.broker, [job], learner=learner), "the stream's lines")
    assert {line.text for line in lines} >= {"hello from -1", "hello from 1"}
    assert f"slot 0: {learner}: hello from -1" in w.log(job)


@pytest.mark.long
def test_only_one_copy_of_a_job_works_and_the_other_leaves_quietly(world):
    w = world()
    run = w.submit([counted(w.file("0"), 0.02)], npoints=100)
    job = w.start()
    until(begun(w))
    first = w.agents[job]
    w.start(job)
    assert w.wait_end(job) == 0
    assert "does not work as job" in w.log(job)
    w.agents[job] = first
    w.wait_done(run)
    assert repeated(w.evaluated("0")) == 0


def test_an_agent_of_an_unknown_job_leaves(world):
    w = world()
    job = w.start("inobodyknows.0")
    assert w.wait_end(job) == 0
    assert "no such job" in w.log(job)


@pytest.mark.long
def test_superfluous_checkpoints_are_removed(world):
    w = world()
    run = w.submit([counted(w.file("0"), 0.01)], npoints=500, save_interval=0.3)
    job = w.start()
    w.wait_done(run)
    w.send(job, signal.SIGTERM)
    assert w.wait_end(job) == 0
    learner = w.learner(run)
    files = sorted((w.home.store / run / learner.id).iterdir())
    assert files[-1].name == learner.checkpoint
    assert len(files) == 2, "the newest and the one before"


@pytest.mark.long
def test_where_slots_cannot_be_started_the_job_ends_and_its_learners_go_elsewhere(world, tmp_path):
    w = world()
    (tmp_path / "adaptive.py").write_text("raise ImportError('no adaptive on this node')")
    run = w.submit([counted(w.file("0"))])
    job = w.start(PYTHONPATH=str(tmp_path))
    assert w.wait_end(job) == 1
    assert "no adaptive on this node" in w.log(job)
    assert w.states(run) == ["queued"]
    w.start()
    w.wait_done(run)


# -- errors of learners ----------------------------------------------------------------------------------------------


@pytest.mark.long
def test_a_learner_that_raises_fails_after_its_attempts_and_others_are_untouched(world):
    w = world()

    def bad(x: float) -> float:
        raise ArithmeticError(f"no value at {x}")

    run = w.submit([bad, counted(w.file("1"))], attempts=2)
    w.start()
    until(lambda: w.states(run) == ["failed", "done"])
    record = w.learner(run)
    assert record.attempts == 2
    problem = reads.learner_problem(w.broker, record.id)
    assert problem is not None
    assert problem["type"] == "ArithmeticError"
    assert "no value at" in problem["traceback"]
    assert problem["point"]
    assert problem["node"]
    assert w.learner(run, 1).attempts == 0


def test_a_learner_that_kills_its_process_each_time_is_quarantined_with_the_signal(world):
    w = world()

    def deadly(x: float) -> float:
        import os
        import signal

        print("my last words")
        os.kill(os.getpid(), signal.SIGSEGV)
        return x

    run = w.submit([deadly, counted(w.file("1"))])
    w.start()
    until(lambda: w.states(run) == ["quarantined", "done"])
    problem = reads.learner_problem(w.broker, learner_id(run, 0))
    assert problem is not None
    assert problem["signal"] == "SIGSEGV"
    assert "my last words" in problem["log"]
    assert w.learner(run).attempts == 0


# -- deaths ----------------------------------------------------------------------------------------------------------


def test_a_killed_slot_loses_no_point_and_its_learner_goes_on_at_once(world):
    w = world()
    run = w.submit([counted(w.file("0"), 0.01)], npoints=300)
    job = w.start()
    until(begun(w, points=50))
    (slot,) = w.processes(job, "slots")
    slot.send(signal.SIGKILL)
    w.wait_done(run)
    assert w.count(run, "died") == 1
    assert w.count(run, "expire") == 0
    assert w.count(run, "complete") == 1
    assert repeated(w.evaluated("0")) <= 1, "at most the one that was being written"
    assert w.learner(run).attempts == 0


@pytest.mark.long
def test_a_killed_fork_server_takes_its_slots_along_and_is_replaced(world):
    w = world(slots=2)
    run = w.submit([counted(w.file(str(i)), 0.01) for i in range(2)], npoints=300)
    job = w.start()
    until(begun(w, "0", 50))
    until(begun(w, "1", 50))
    (forks,) = w.processes(job, "forkserver")
    slots = w.processes(job, "slots")
    forks.send(signal.SIGKILL)
    for slot in slots:
        assert slot.wait(20)
    w.wait_done(run)
    assert w.count(run, "died") == 2
    assert w.count(run, "complete") == 2
    assert w.processes(job, "forkserver") not in ([], [forks])
    for i in range(2):
        assert repeated(w.evaluated(str(i))) <= 10, "what the slots finished between two looks at them"


@pytest.mark.long
def test_a_killed_agent_leaves_no_process_and_its_learner_goes_on_when_the_lease_is_over(world):
    w = world()
    run = w.submit([counted(w.file("0"), 0.02)], npoints=200)
    job = w.start()
    until(begun(w, points=100))
    others = w.processes(job)
    second = w.start()
    w.send(job, signal.SIGKILL)
    for process in others:
        assert process.wait(20)
    w.wait_done(run)
    assert w.processes(job) == []
    assert w.count(run, "expire") == 1
    assert w.count(run, "complete") == 1
    assert w.log(second)
    assert repeated(w.evaluated("0")) <= 50, "nothing that finished more than a second before"


# -- draining --------------------------------------------------------------------------------------------------------


@pytest.mark.long
@pytest.mark.parametrize("number", [signal.SIGTERM, pytest.param(signal.SIGUSR1, marks=pytest.mark.long)])
def test_a_drained_job_saves_and_gives_back_and_another_goes_on_at_once(world, number):
    w = world(slots=2, ttl=60.0)
    run = w.submit([counted(w.file(str(i)), 0.01) for i in range(2)], npoints=300)
    job = w.start()
    until(begun(w, "0", 30))
    until(begun(w, "1", 30))
    w.send(job, number)
    assert w.wait_end(job) == 0
    assert w.states(run) == ["queued", "queued"]
    assert all(record.checkpoint for record in w.learners(run))
    assert w.processes(job) == []
    w.start()
    w.wait_done(run)
    assert [repeated(w.evaluated(str(i))) for i in range(2)] == [0, 0]
    assert [record.attempts for record in w.learners(run)] == [0, 0]
    ended = {record.id: record for record in reads.job_records(w.broker)}[job]
    assert (ended.state, ended.reason) == ("ended", "drained")


def test_a_drain_kills_what_does_not_stop_within_grace_and_keeps_its_points(world):
    w = world(ttl=60.0, grace=2.0)

    def stuck(file: Path) -> Callable[[float], float]:
        count = counted(file)

        def function(x: float) -> float:
            import time

            if file.exists() and len(file.read_text().split()) == 30:
                time.sleep(600)
            return count(x)

        return function

    run = w.submit([stuck(w.file("0"))], npoints=100)
    job = w.start()
    until(begun(w, points=30))
    w.send(job, signal.SIGTERM)
    assert w.wait_end(job) == 0
    assert w.states(run) == ["queued"]
    assert w.learner(run).npoints == 30
    assert w.count(run, "release") == 1
    assert w.processes(job) == []


def test_an_agent_that_is_told_to_end_while_it_has_nothing_ends(world):
    w = world()
    job = w.start()
    until(lambda: "works as job" in w.log(job))
    w.send(job, signal.SIGTERM)
    assert w.wait_end(job) == 0


# -- fencing ---------------------------------------------------------------------------------------------------------


def freeze(w: World, job: str) -> None:
    """Stop a whole job, agent and slots, as a hypervisor may."""
    for process in w.processes(job):
        process.send(signal.SIGSTOP)


def thaw(w: World, job: str) -> None:
    for process in w.processes(job):
        process.send(signal.SIGCONT)


@pytest.mark.long
@pytest.mark.parametrize("slots_too", [True, False])
def test_a_zombie_writes_nothing_stops_and_goes_on_leasing(world, slots_too):
    w = world()
    run = w.submit([counted(w.file("0"), 0.02)], npoints=150, save_interval=0.5)
    zombie = w.start()
    until(begun(w, points=50))
    if slots_too:
        freeze(w, zombie)
    else:
        w.send(zombie, signal.SIGSTOP)
    w.start()
    w.wait_done(run)
    after = w.learner(run)
    journal = w.redis.lrange(w.broker.keys.journal(after.id), 0, -1)
    thaw(w, zombie)
    second = w.submit([counted(w.file("a"), 0.01), counted(w.file("b"), 0.01)], npoints=300)
    until(lambda: zombie in {event.job for event in w.events(second) if event.event == "acquire"})
    w.wait_done(second)
    assert w.learner(run) == after
    assert w.redis.lrange(w.broker.keys.journal(after.id), 0, -1) == journal
    assert w.count(run, "complete") == 1


@pytest.mark.long
def test_a_job_that_was_declared_dead_ends_when_it_wakes_up(world):
    w = world()
    run = w.submit([counted(w.file("0"), 0.02)], npoints=100)
    zombie = w.start()
    until(begun(w))
    freeze(w, zombie)
    w.broker.do(calls.end_job(zombie, None, "declared dead"))
    w.start()
    w.wait_done(run)
    after = w.learner(run)
    thaw(w, zombie)
    assert w.wait_end(zombie) == 0
    assert w.processes(zombie) == []
    assert w.learner(run) == after


# -- commands --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("verb", "state"), [pytest.param("pause", "paused", marks=pytest.mark.long), ("cancel", "cancelled")]
)
def test_a_command_reaches_the_slot_which_saves_and_takes_the_next_learner(world, verb, state):
    w = world()
    run = w.submit([counted(w.file("0"), 0.01), counted(w.file("1"))], npoints=10_000, save_interval=600)
    w.start()
    until(begun(w))
    w.broker.do(calls.act(verb, [learner_id(run, 0)]))
    until(lambda: w.states(run) == [state, "leased"])
    assert w.learner(run).checkpoint
    before = len(w.evaluated("0"))
    until(begun(w, "1"))
    assert len(w.evaluated("0")) == before


@pytest.mark.long
def test_a_paused_learner_goes_on_where_it_was(world):
    w = world()
    run = w.submit([counted(w.file("0"), 0.01)], npoints=100)
    w.start()
    until(begun(w))
    w.broker.do(calls.act("pause", [learner_id(run, 0)]))
    until(lambda: w.states(run) == ["paused"])
    w.broker.do(calls.act("resume", [learner_id(run, 0)]))
    w.wait_done(run)
    assert repeated(w.evaluated("0")) == 0


# -- Redis -----------------------------------------------------------------------------------------------------------


@pytest.mark.long
def test_a_redis_that_is_killed_and_comes_back_gets_what_it_lost_and_nobody_runs_twice(world):
    w = world(slots=2)
    run = w.submit([counted(w.file(str(i)), 0.01) for i in range(2)], npoints=400, save_interval=0.7)
    job = w.start()
    for wanted in (80, 200):
        until(begun(w, "0", wanted))
        w.server.kill()
        seen = len(w.evaluated("0"))
        until(begun(w, "0", seen + 20))
        w.server.start()
    w.wait_done(run)
    assert w.count(run, "complete") == 2
    assert w.count(run, "expire") == 0
    assert [repeated(w.evaluated(str(i))) for i in range(2)] == [0, 0]
    assert "Redis is back" in w.log(job)


@pytest.mark.long
def test_a_redis_that_hangs_is_waited_for(world):
    w = world(ttl=3.0)
    run = w.submit([counted(w.file("0"), 0.02)], npoints=600)
    w.start()
    until(begun(w))
    w.server.freeze()
    seen = len(w.evaluated("0"))
    until(begun(w, "0", seen + 350))
    w.server.thaw()
    w.wait_done(run)
    assert repeated(w.evaluated("0")) == 0
    assert w.count(run, "complete") == 1


@pytest.mark.long
def test_a_full_redis_refuses_points_and_gets_them_when_there_is_room(world):
    w = world()
    run = w.submit([counted(w.file("0"), 0.005)], npoints=600)
    w.start()
    until(begun(w))
    w.redis.config_set("maxmemory", "1mb")
    seen = len(w.evaluated("0"))
    until(begun(w, "0", seen + 300))
    assert w.states(run) == ["leased"]
    assert w.learner(run).npoints < seen + 300
    w.redis.config_set("maxmemory", "0")
    w.wait_done(run)
    assert repeated(w.evaluated("0")) == 0


@pytest.mark.long
def test_a_learner_can_be_completed_while_redis_is_full(world):
    w = world()
    run = w.submit([counted(w.file("0"), 0.005)], npoints=300)
    w.start()
    until(begun(w))
    w.redis.config_set("maxmemory", "1mb")
    w.wait_done(run)
    assert w.learner(run).npoints == 300


@pytest.mark.long
def test_evaluation_pauses_when_much_is_buffered_and_goes_on_when_redis_is_back(world):
    w = world()
    file = w.file("0")

    def large(x: float) -> Any:
        import numpy as np

        with file.open("a") as counts:
            counts.write(f"{float(x)!r}\n")
        return np.full(100_000, x)

    run = w.submit([large], npoints=60)
    w.start()
    until(begun(w, points=2))
    w.server.kill()

    def paused() -> bool:
        seen = len(w.evaluated("0"))
        time.sleep(1)
        return len(w.evaluated("0")) == seen

    until(paused)
    assert len(w.evaluated("0")) < 40
    w.server.start()
    w.wait_done(run)
    assert len(w.evaluated("0")) == 60
    assert repeated(w.evaluated("0")) == 0


@pytest.mark.long
def test_the_address_is_read_anew_when_redis_comes_back_elsewhere(world, home):
    w = world()
    password = home.password_file.read_text().strip()

    def announce() -> None:
        w.redis.config_set("requirepass", password)
        home.server_file.write_text(json.dumps({"url": w.server.tcp_url}))

    announce()
    run = w.submit([counted(w.file("0"), 0.01)], npoints=300)
    job = w.start(FABRIC_URL="")
    until(begun(w))
    w.server.kill()
    home.server_file.unlink()
    until(lambda: "Redis is away" in w.log(job))
    w.server.port = 0
    w.server.start()
    announce()
    w.wait_done(run)
    assert repeated(w.evaluated("0")) == 0


@pytest.mark.long
def test_a_new_agent_waits_for_its_redis(world):
    w = world()
    run = w.submit([counted(w.file("0"))])
    job = w.intend()
    w.server.kill()
    w.start(job)
    until(lambda: "Redis is away" in w.log(job))
    w.server.start()
    w.wait_done(run)


@pytest.mark.long
def test_a_draining_job_without_redis_ends_and_says_that_it_could_not_give_back(world):
    w = world(grace=2.0)
    w.submit([counted(w.file("0"), 0.01)], npoints=10_000)
    job = w.start()
    until(begun(w))
    w.server.kill()
    until(lambda: "Redis is away" in w.log(job))
    w.send(job, signal.SIGTERM)
    assert w.wait_end(job) == 4
    assert w.processes(job) == []
    assert "ends: unreachable" in w.log(job)

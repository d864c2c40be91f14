"""Single promises of the scripts, one test each."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import redis as redis_py

from fabric_broker import calls, reads
from fabric_broker.broker import Broker
from fabric_broker.journal import Batch, unpack
from fabric_broker.records import Holder, Lease, Outcome, Pointer, RunSettings
from fabric_broker.scripts import Call, script
from fabric_broker.states import BARREN_LEASES

JOB, NONCE, TTL = "i1.0", "nonce", 30.0


@pytest.fixture
def broker(redis: redis_py.Redis) -> Broker:
    broker = Broker(redis, "test")
    broker.do(calls.define_pool("local", spec={"slots": 2}, kind="local", limit=1, slots=2, ttl=TTL))
    settings = RunSettings("r1", "sweep", "local", "/nowhere", "never", attempts=2, backoff=0.001)
    assert broker.do(calls.define_run(settings, b"signed")) == "ok"
    broker.do(calls.add("r1", 0, [("a", b""), ("b", b""), ("c", b"")], last=True))
    redis.hset(broker.keys.job(JOB), mapping={"pool": "local", "state": "submitting"})
    broker.do(calls.claim(JOB, nonce=NONCE, restart=0, node="n1", pid=7))
    return broker


def lease(broker: Broker, request: str = "q", slot: int = 0) -> Lease:
    (granted,) = broker.do(calls.acquire(JOB, NONCE, request=request, slots=[slot], ttl=TTL)).leases
    return granted


def state(broker: Broker, learner: str) -> str:
    return reads.learner_records(broker, [learner])[0].state


@pytest.mark.parametrize(
    "wrong",
    [{"job": "i2.0"}, {"nonce": "other"}, {"slot": 1}, {"token": 1}],
    ids=["job", "nonce", "slot", "token"],
)
def test_each_part_of_a_lease_must_be_equal(broker: Broker, wrong: dict[str, Any]) -> None:
    mine = lease(broker)
    token = mine.token + wrong.pop("token", 0)
    holder = replace(Holder(JOB, NONCE, 0), **wrong)
    batch = Batch(token, 1, 1, b"x")
    assert broker.do(calls.journal(holder, mine.learner, batch, points=1)).outcome is Outcome.FENCED
    pointer = Pointer(token, 1, 0, 1, "00")
    committed = broker.do(calls.commit(holder, mine.learner, pointer, npoints=0, loss=None))
    assert committed.outcome is Outcome.FENCED
    assert broker.do(calls.complete(holder, mine.learner, token, npoints=0, loss=None)) is Outcome.FENCED
    assert broker.do(calls.fail(holder, mine.learner, token, {})).outcome is Outcome.FENCED
    assert broker.do(calls.release(holder, mine.learner, token, event="release")).outcome is Outcome.FENCED
    assert state(broker, mine.learner) == "leased"


def test_an_unproven_acquire_is_no_work_until_there_is_proof(broker: Broker) -> None:
    acquire = calls.acquire(JOB, NONCE, request="q", slots=[0], ttl=TTL, proven=False)
    (mine,) = broker.do(acquire).leases
    hold = calls.Hold(mine.learner, mine.token, 0, 0)
    broker.do(calls.renew(JOB, NONCE, ttl=TTL, holds=[hold]))
    assert broker.redis.hget(broker.keys.job(JOB), "acquired") is None
    broker.do(calls.renew(JOB, NONCE, ttl=TTL, holds=[hold], proof=True))
    assert broker.redis.hget(broker.keys.job(JOB), "acquired") == b"1"


def test_the_same_slot_with_an_older_token_is_fenced(broker: Broker) -> None:
    broker.do(calls.act("cancel", ["r1.1", "r1.2"]))
    holder, old = Holder(JOB, NONCE, 0), lease(broker, "q1")
    broker.do(calls.release(holder, old.learner, old.token, event="release"))
    new = lease(broker, "q2")
    assert new.learner == old.learner
    assert new.token > old.token
    late = broker.do(calls.journal(holder, old.learner, Batch(old.token, 1, 1, b"x"), points=1))
    assert late.outcome is Outcome.FENCED


def test_a_repeated_complete_is_already_and_a_strangers_is_fenced(broker: Broker) -> None:
    mine, holder = lease(broker), Holder(JOB, NONCE, 0)
    done = calls.complete(holder, mine.learner, mine.token, npoints=0, loss=None)
    broker.do(calls.commit(holder, mine.learner, Pointer(mine.token, 1, 0, 1, "0"), npoints=0, loss=None))
    assert [broker.do(done), broker.do(done)] == [Outcome.OK, Outcome.ALREADY]
    stranger = calls.complete(Holder("i2.0", "other", 0), mine.learner, mine.token, npoints=0, loss=None)
    assert broker.do(stranger) is Outcome.FENCED


def test_complete_waits_for_a_checkpoint_that_covers_the_journal(broker: Broker) -> None:
    mine, holder = lease(broker), Holder(JOB, NONCE, 0)
    broker.do(calls.journal(holder, mine.learner, Batch(mine.token, 1, 4, b"x"), points=4))
    done = calls.complete(holder, mine.learner, mine.token, npoints=4, loss=None)
    assert broker.do(done) is Outcome.GAP
    broker.do(calls.commit(holder, mine.learner, Pointer(mine.token, 1, 4, 1, "0"), npoints=4, loss=None))
    assert broker.do(done) is Outcome.OK


def test_commit_trims_only_what_the_checkpoint_before_covers(broker: Broker) -> None:
    mine, holder = lease(broker), Holder(JOB, NONCE, 0)

    def journal(first: int, last: int) -> None:
        batch = Batch(mine.token, first, last, b"x")
        assert broker.do(calls.journal(holder, mine.learner, batch, points=1)).outcome is Outcome.OK

    def commit(n: int, upto: int) -> tuple[int, int] | None:
        pointer = Pointer(mine.token, n, upto, 1, "00")
        return broker.do(calls.commit(holder, mine.learner, pointer, npoints=upto, loss=None)).removable

    def kept() -> list[bytes]:
        entries = broker.redis.lrange(broker.keys.journal(mine.learner), 0, -1)
        return [b" ".join(entry.split(b" ")[1:3]) for entry in entries]

    journal(1, 2)
    assert commit(1, 2) is None
    assert kept() == [b"1 2"]
    journal(3, 5)
    assert commit(2, 5) is None
    assert kept() == [b"3 5"]
    journal(6, 6)
    assert commit(3, 6) == (mine.token, 1)
    assert kept() == [b"6 6"]


def test_a_damaged_checkpoint_does_not_become_the_one_to_fall_back_to(broker: Broker) -> None:
    mine, holder = lease(broker), Holder(JOB, NONCE, 0)

    def save(n: int, damaged: bool = False) -> tuple[int, int] | None:
        batch = Batch(mine.token, n, n, b"x")
        assert broker.do(calls.journal(holder, mine.learner, batch, points=1)).outcome is Outcome.OK
        pointer = Pointer(mine.token, n, n, 1, "00")
        call = calls.commit(holder, mine.learner, pointer, npoints=n, loss=None, damaged=damaged)
        return broker.do(call).removable

    def kept() -> tuple[Any, ...]:
        record = broker.redis.hgetall(broker.keys.learner(mine.learner))
        entries = broker.redis.lrange(broker.keys.journal(mine.learner), 0, -1)
        return (
            record[b"checkpoint_upto"],
            record[b"previous_upto"],
            [unpack(entry).first for entry in entries],
        )

    save(1)
    save(2)
    assert save(3, damaged=True) is None
    assert kept() == (b"3", b"1", [2, 3])
    assert save(4) == (mine.token, 1)
    assert kept() == (b"4", b"3", [4])


def test_an_error_costs_an_attempt_and_the_last_one_fails(broker: Broker) -> None:
    holder = Holder(JOB, NONCE, 0)
    broker.do(calls.act("cancel", ["r1.1", "r1.2"]))
    mine = lease(broker, "q1")
    first = broker.do(calls.fail(holder, mine.learner, mine.token, {"type": "ValueError", "text": "no"}))
    assert first.state == "delayed"
    assert reads.learner_records(broker, [mine.learner])[0].error == "ValueError: no"
    while not broker.do(calls.look()).promoted:
        pass
    mine = lease(broker, "q2")
    assert mine.attempts == 1
    last = broker.do(calls.fail(holder, mine.learner, mine.token, {"type": "ValueError", "text": "no"}))
    assert last.state == "failed"


@pytest.mark.parametrize("event", ["release", "died"])
def test_leases_without_a_new_point_end_in_quarantine(broker: Broker, event: Any) -> None:
    holder = Holder(JOB, NONCE, 0)
    broker.do(calls.act("cancel", ["r1.1", "r1.2"]))
    states = []
    for i in range(BARREN_LEASES):
        mine = lease(broker, f"q{i}")
        problem = {"signal": "SIGSEGV", "log": ["boom"]}
        release = calls.release(holder, mine.learner, mine.token, event=event, problem=problem)
        states.append(broker.do(release).state)
    assert states == ["queued"] * (BARREN_LEASES - 1) + ["quarantined"]
    assert reads.learner_problem(broker, "r1.0") == {"signal": "SIGSEGV", "log": ["boom"]}


def test_leases_that_no_slot_began_with_do_not_end_in_quarantine(broker: Broker) -> None:
    holder = Holder(JOB, NONCE, 0)
    broker.do(calls.act("cancel", ["r1.1", "r1.2"]))
    for i in range(2 * BARREN_LEASES):
        mine = lease(broker, f"q{i}")
        release = calls.release(holder, mine.learner, mine.token, event="release", began=False)
        assert broker.do(release).state == "queued"


def test_one_new_point_keeps_a_learner_out_of_quarantine(broker: Broker) -> None:
    holder = Holder(JOB, NONCE, 0)
    broker.do(calls.act("cancel", ["r1.1", "r1.2"]))
    for i in range(2 * BARREN_LEASES):
        mine = lease(broker, f"q{i}")
        if i % 3 == 0:
            batch = Batch(mine.token, mine.seq + 1, mine.seq + 1, b"x")
            broker.do(calls.journal(holder, mine.learner, batch, points=1))
        assert broker.do(calls.release(holder, mine.learner, mine.token, event="died")).state == "queued"


def test_higher_priority_first_then_first_come(broker: Broker) -> None:
    broker.do(calls.act("prioritize", ["r1.2"], priority=3))
    order = [lease(broker, f"q{i}", slot=i).learner for i in range(3)]
    assert order == ["r1.2", "r1.0", "r1.1"]


def test_a_released_learner_does_not_lose_its_place(broker: Broker) -> None:
    mine = lease(broker, "q1")
    broker.do(calls.release(Holder(JOB, NONCE, 0), mine.learner, mine.token, event="release"))
    assert lease(broker, "q2").learner == mine.learner


@pytest.mark.parametrize(("verb", "expected"), [("pause", "paused"), ("cancel", "cancelled")])
def test_a_command_is_repeated_until_echoed_and_decides_where_the_lease_ends(
    broker: Broker, verb: Any, expected: str
) -> None:
    mine = lease(broker)
    assert broker.do(calls.act(verb, [mine.learner])) == 1

    def renewed(echoed: int) -> calls.Renewed:
        hold = calls.Hold(mine.learner, mine.token, 0, echoed)
        return broker.do(calls.renew(JOB, NONCE, ttl=TTL, holds=[hold]))

    command = (renewed(0).commands or {})[mine.learner]
    assert command.verb == verb
    assert (renewed(0).commands or {})[mine.learner] == command
    assert renewed(command.number).commands == {}
    ended = broker.do(calls.release(Holder(JOB, NONCE, 0), mine.learner, mine.token, event="release"))
    assert ended.state == expected


def test_a_command_outlives_the_holder_that_never_saw_it(broker: Broker) -> None:
    mine = lease(broker)
    broker.do(calls.act("cancel", [mine.learner]))
    assert broker.do(calls.end_job(JOB, NONCE, "node died")) == 1
    assert state(broker, mine.learner) == "cancelled"


def test_an_action_on_a_run_pages_and_anybody_can_go_on_with_it(broker: Broker) -> None:
    settings = RunSettings("r2", "big", "local", "/nowhere", "never")
    broker.do(calls.define_run(settings, b""))
    for first in range(0, 1200, 400):
        broker.do(calls.add("r2", first, [(str(first + i), None) for i in range(400)], last=first == 800))
    begun = broker.do(calls.act_on_run("r2", "pause"))
    assert begun == calls.Acted("more", 500)
    # The caller is gone; whoever finds the run in `bulk` goes on.
    assert broker.redis.smembers(broker.keys.bulk) == {b"r2"}
    assert broker.do(calls.act_on_run("r2")) == calls.Acted("more", 1000)
    assert broker.do(calls.act_on_run("r2")) == calls.Acted("done", 1200)
    assert broker.redis.smembers(broker.keys.bulk) == set()
    assert reads.run_status(broker, "r2").counts == {"paused": 1200}
    assert broker.do(calls.act_on_run("r2")).state == "idle"


def test_learners_added_to_a_paused_run_are_paused(broker: Broker) -> None:
    broker.do(calls.define_run(RunSettings("r2", "late", "local", "/nowhere", "never"), b""))
    broker.do(calls.act_on_run("r2", "pause"))
    broker.do(calls.add("r2", 0, [("a", None)], last=True))
    assert state(broker, "r2.0") == "paused"
    broker.do(calls.act_on_run("r2", "resume"))
    assert state(broker, "r2.0") == "queued"


def test_adding_again_after_a_lost_reply_changes_nothing(broker: Broker) -> None:
    broker.do(calls.define_run(RunSettings("r2", "late", "local", "/nowhere", "never"), b""))
    page = calls.add("r2", 0, [("a", None), ("b", None)], last=False)
    assert [broker.do(page), broker.do(page)] == [2, 2]
    assert broker.redis.zcard(broker.keys.queue("local")) == 5


def test_a_run_ends_when_it_is_whole_and_nothing_is_open(broker: Broker) -> None:
    assert reads.run_status(broker, "r1").ended is None
    broker.do(calls.act_on_run("r1", "cancel"))
    cancelled = reads.run_status(broker, "r1")
    assert cancelled.ended is not None
    assert cancelled.state == "cancelled"
    broker.do(calls.act("retry", ["r1.0"]))
    retried = reads.run_status(broker, "r1")
    assert (retried.state, retried.ended) == ("active", None)


def test_two_runs_cannot_have_one_name(broker: Broker) -> None:
    again = RunSettings("r9", "sweep", "local", "/nowhere", "never")
    assert broker.do(calls.define_run(again, b"")) == "exists"
    assert not broker.redis.exists(broker.keys.run("r9"))


def test_the_loser_of_a_claim_is_fenced_and_a_requeued_copy_supersedes(broker: Broker) -> None:
    def claim(nonce: str, restart: int) -> Outcome:
        return broker.do(calls.claim(JOB, nonce=nonce, restart=restart, node="n", pid=1)).outcome

    mine = lease(broker)
    assert claim("second copy", 0) is Outcome.FENCED
    assert claim(NONCE, 0) is Outcome.OK
    assert state(broker, mine.learner) == "leased"
    assert claim("requeued", 1) is Outcome.OK
    assert state(broker, mine.learner) == "queued"
    assert broker.do(calls.acquire(JOB, NONCE, request="z", slots=[0], ttl=TTL)).outcome is Outcome.FENCED
    assert broker.do(calls.claim("unknown.0", nonce="n", restart=0, node="n", pid=1)).outcome is Outcome.GONE


def test_the_last_idle_agent_stays_while_leases_live_and_the_submitter_is_silent(broker: Broker) -> None:
    broker.redis.hset(broker.keys.job("i2.0"), mapping={"pool": "local", "state": "submitting"})
    broker.do(calls.claim("i2.0", nonce="idle", restart=0, node="n", pid=1))
    lease(broker)
    assert broker.do(calls.leave(JOB, NONCE, ttl=TTL)) == "stay"
    assert broker.do(calls.leave("i2.0", "idle", ttl=TTL)) == "stay"
    broker.redis.hset(broker.keys.leader, "seen", round(reads.now(broker) * 1000))
    assert broker.do(calls.leave("i2.0", "idle", ttl=TTL)) == "leave"
    assert {job.id: job.state for job in reads.job_records(broker)} == {JOB: "running", "i2.0": "ended"}


def test_a_full_redis_refuses_what_grows_and_lets_go_what_frees(broker: Broker) -> None:
    mine, holder = lease(broker), Holder(JOB, NONCE, 0)
    broker.do(calls.journal(holder, mine.learner, Batch(mine.token, 1, 2, b"x"), points=2))
    broker.redis.config_set("maxmemory", 1)
    try:
        grows: list[Call[Any]] = [
            calls.journal(holder, mine.learner, Batch(mine.token, 3, 4, b"x"), points=2),
            calls.define_run(RunSettings("r8", "x", "local", "/nowhere", "never"), b""),
        ]
        for call in grows:
            with pytest.raises(redis_py.exceptions.ResponseError, match="maxmemory"):
                broker.do(call)
        hold = calls.Hold(mine.learner, mine.token, 0)
        assert broker.do(calls.renew(JOB, NONCE, ttl=TTL, holds=[hold])).outcome is Outcome.OK
        other = lease(broker, "q2", slot=1)
        broker.do(calls.release(Holder(JOB, NONCE, 1), other.learner, other.token, event="release"))
        broker.do(calls.commit(holder, mine.learner, Pointer(mine.token, 1, 4, 1, "0"), npoints=4, loss=None))
        done = calls.complete(holder, mine.learner, mine.token, npoints=4, loss=None)
        assert broker.do(done) is Outcome.OK
        assert broker.do(calls.act_on_run("r1", "cancel")).changed == 2
    finally:
        broker.redis.config_set("maxmemory", 0)


def test_scripts_survive_a_flushed_script_cache_in_the_middle_of_a_pipeline(broker: Broker) -> None:
    mine, holder = lease(broker), Holder(JOB, NONCE, 0)
    broker.redis.script_flush()
    pointer = Pointer(mine.token, 1, 0, 1, "0")
    committed, done = broker.do_all(
        [
            calls.commit(holder, mine.learner, pointer, npoints=0, loss=None),
            calls.complete(holder, mine.learner, mine.token, npoints=0, loss=None),
        ]
    )
    assert committed.outcome is Outcome.OK
    assert done is Outcome.OK


def test_every_script_says_what_it_does_and_which_write_is_first() -> None:
    from importlib import resources

    names = [
        path.name.removesuffix(".lua")
        for path in resources.files("fabric_broker").joinpath("lua").iterdir()
        if path.name.endswith(".lua") and not path.name.startswith("_")
    ]
    assert len(names) > 15
    for name in names:
        header = script(name).text.split("-- uses:")[-1]
        assert "args:" in header, name
        assert "answers:" in header, name
        assert "irst write" in header or "rites nothing" in header, name

"""Invariants 1 to 4 of the design, under agents that lose replies, repeat, come late, stall and are replaced."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from typing import Any

import pytest
import redis as redis_py
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from fabric_broker import calls, journal
from fabric_broker.broker import Broker
from fabric_broker.journal import Batch
from fabric_broker.records import Holder, Lease, Outcome, Pointer, RunSettings
from fabric_broker.scripts import Call
from fabric_broker.states import STATES, TERMINAL, TRANSITIONS, Transition

TEST_CLOCK = "local function read_clock() return tonumber(redis.call('GET', 'test:clock')) end"
TTL = 0.060
LEARNERS = 4
RUN = "rtest"
WHICH = st.sampled_from([0, 0, 0, 1, 1, 2, 3, 5])
"""Counted from the newest: mostly those that still hold, and now and then a zombie."""


@dataclass
class Agent:
    """One copy of a job: it may be a zombie and does not know."""

    job: str
    nonce: str
    restart: int
    held: list[Held] = field(default_factory=list)


@dataclass
class Held:
    """What an agent believes about one of its leases."""

    agent: Agent
    lease: Lease
    made: int
    """the sequence of the newest point: what a checkpoint covers. It never goes back"""
    sent: int
    """as far as Redis is believed to be"""
    n: int
    ended: bool = False

    def holder(self) -> Holder:
        return Holder(self.agent.job, self.agent.nonce, self.lease.slot)


class LeaseMachine(RuleBasedStateMachine):
    """Agents, a submitter and a user against the scripts; the model knows only what it was answered."""

    redis: redis_py.Redis

    def __init__(self) -> None:
        super().__init__()
        self.redis.flushall()
        self.clock = 1_000_000
        self.redis.set("test:clock", self.clock)
        self.broker = Broker(self.redis, "test", clock=TEST_CLOCK)
        self.ids = itertools.count(1)
        self.agents: list[Agent] = []
        self.handles: list[Held] = []
        self.late: list[tuple[Held, Call[Any]]] = []
        self.journaled: dict[str, set[int]] = {}
        self.committed: dict[str, int] = {}
        self.tokens: dict[str, int] = {}
        self.broker.do(
            calls.define_pool("local", spec={}, kind="local", limit=2, slots=2, ttl=TTL),
        )
        settings_ = RunSettings(RUN, "machine", "local", "/nowhere", "never", attempts=3, backoff=0.01)
        assert self.broker.do(calls.define_run(settings_, b"")) == "ok"
        names: list[tuple[str, bytes | None]] = [(str(i), None) for i in range(LEARNERS)]
        assert self.broker.do(calls.add(RUN, 0, names, last=True)) == LEARNERS
        for _ in range(2):
            self.start_job()

    # -- what happens ------------------------------------------------------------------------------------

    def start_job(self) -> None:
        job = f"i{next(self.ids)}.0"
        self.redis.hset(self.broker.keys.job(job), mapping={"pool": "local", "state": "submitting"})
        self.claim(Agent(job, f"n{next(self.ids)}", 0))

    def claim(self, agent: Agent) -> None:
        claimed = self.broker.do(
            calls.claim(agent.job, nonce=agent.nonce, restart=agent.restart, node="n", pid=1)
        )
        assert claimed.outcome is Outcome.OK
        self.agents.append(agent)

    @rule(ms=st.integers(1, 40))
    def time_passes(self, ms: int) -> None:
        self.clock += ms
        self.redis.set("test:clock", self.clock)

    @rule(ms=st.integers(1, 200), back=st.integers(0, 3))
    def clock_jumps(self, ms: int, back: int) -> None:
        self.clock += ms if back else -ms
        self.redis.set("test:clock", self.clock)

    @rule()
    def submitter_looks(self) -> None:
        self.broker.do(calls.look())

    @rule(which=st.integers(0, 3), lose=st.booleans())
    def acquire(self, which: int, lose: bool) -> None:
        """A lost reply is asked for again with the same request id, and is the same answer."""
        agent = self.agents[-1 - which % len(self.agents)]
        free = [slot for slot in (0, 1) if not any(h.lease.slot == slot for h in agent.held if not h.ended)]
        if not free:
            return
        call = calls.acquire(agent.job, agent.nonce, request=f"q{next(self.ids)}", slots=free, ttl=TTL)
        answer = self.broker.do(call)
        if lose:
            assert self.broker.do(call) == answer
        if agent is not self.newest(agent.job):
            assert answer.outcome is Outcome.FENCED
        for lease in answer.leases:
            assert lease.token > self.tokens.get(lease.learner, 0), "a token was issued twice"
            self.tokens[lease.learner] = lease.token
            known = {self.committed.get(lease.learner, 0), *self.journaled.get(lease.learner, ())}
            assert lease.seq >= max(known), "the next holder misses points"
            held = Held(agent, lease, lease.seq, lease.seq, lease.checkpoint_n)
            agent.held.append(held)
            self.handles.append(held)

    def newest(self, job: str) -> Agent:
        return max((agent for agent in self.agents if agent.job == job), key=lambda agent: agent.restart)

    def is_mine(self, held: Held, record: dict[bytes, bytes]) -> bool:
        holder = f"{held.agent.job}:{held.agent.nonce}:{held.lease.slot}".encode()
        return record.get(b"token") == str(held.lease.token).encode() and record.get(b"holder") == holder

    def deliver(self, held: Held, call: Call[Any]) -> Any:
        learner = held.lease.learner
        before = self.redis.hgetall(self.broker.keys.learner(learner))
        answer = self.broker.do(call)
        outcome = answer if isinstance(answer, Outcome) else answer.outcome
        if outcome is Outcome.FENCED:
            assert not (before[b"state"] == b"leased" and self.is_mine(held, before)), "the holder was fenced"
            after = self.redis.hgetall(self.broker.keys.learner(learner))
            assert after == before, f"a fenced {call.script} changed something"
        else:
            assert self.is_mine(held, before), f"{call.script} of a stranger worked"
            done_before = call.script == "complete" and outcome is Outcome.ALREADY
            assert before[b"state"] == (b"done" if done_before else b"leased")
        if call.script == "journal":
            self.note_journal(held, call, answer)
        if call.script == "commit" and outcome is Outcome.OK:
            self.committed[learner] = max(self.committed.get(learner, 0), int(call.args["upto"]))
        return answer

    def note_journal(self, held: Held, call: Call[Any], answer: calls.Journaled) -> None:
        if answer.outcome is Outcome.OK:
            acknowledged = range(int(call.args["first"]), int(call.args["last"]) + 1)
            self.journaled.setdefault(held.lease.learner, set()).update(acknowledged)
        if answer.outcome is not Outcome.FENCED:
            held.sent = answer.seq

    def pick(self, which: int) -> Held:
        """The newest leases first, but zombies' and ended ones too."""
        return self.handles[-1 - which % len(self.handles)]

    @precondition(lambda self: self.handles)
    @rule(which=WHICH, points=st.integers(1, 5), way=st.sampled_from(["now", "now", "late", "lost"]))
    def journal(self, which: int, points: int, way: str) -> None:
        held = self.pick(which)
        held.made += points
        first, last = held.sent + 1, held.made
        batch = Batch(held.lease.token, first, last, b"x" * (last - held.sent))
        call = calls.journal(held.holder(), held.lease.learner, batch, points=last - held.sent)
        if way == "now":
            self.deliver(held, call)
        else:
            # The agent believes it sent; the request is on its way for long, or never arrives.
            held.sent = last
            if way == "late":
                self.late.append((held, call))

    @precondition(lambda self: self.handles)
    @rule(which=WHICH, late=st.booleans())
    def commit(self, which: int, late: bool) -> None:
        held = self.pick(which)
        held.n += 1
        pointer = Pointer(held.lease.token, held.n, held.made, 1, "00")
        call = calls.commit(held.holder(), held.lease.learner, pointer, npoints=held.made, loss=None)
        if late:
            self.late.append((held, call))
        else:
            self.deliver(held, call)

    @precondition(lambda self: self.handles)
    @rule(which=WHICH, rounds=st.integers(1, 3))
    def works_and_saves(self, which: int, rounds: int) -> None:
        for _ in range(rounds):
            self.journal(which, 2, "now")
            self.commit(which, late=False)
            self.journal(which, 1, "now")

    @precondition(lambda self: self.handles)
    @rule(which=WHICH, how=st.sampled_from(["complete", "complete", "fail", "release", "died"]))
    def end(self, which: int, how: str) -> None:
        held = self.pick(which)
        holder, learner, token = held.holder(), held.lease.learner, held.lease.token
        call: Call[Any]
        if how == "complete":
            call = calls.complete(holder, learner, token, npoints=held.made, loss=0.5)
        elif how == "fail":
            call = calls.fail(holder, learner, token, {"type": "ValueError", "text": "no"})
        else:
            call = calls.release(holder, learner, token, event="release" if how == "release" else "died")
        first = self.deliver(held, call)
        outcome = first if isinstance(first, Outcome) else first.outcome
        if outcome is Outcome.GAP:
            return
        held.ended = True
        # The reply was lost: the same again must change nothing.
        second = self.deliver(held, call)
        repeated = second if isinstance(second, Outcome) else second.outcome
        if how == "complete" and outcome in (Outcome.OK, Outcome.ALREADY):
            assert repeated is Outcome.ALREADY
        else:
            assert repeated is Outcome.FENCED

    @precondition(lambda self: self.late)
    @rule(which=st.integers(0, 20))
    def a_late_write_arrives(self, which: int) -> None:
        self.deliver(*self.late.pop(which % len(self.late)))

    @rule(which=st.integers(0, 3))
    def renew(self, which: int) -> None:
        agent = self.agents[-1 - which % len(self.agents)]
        held = [h for h in agent.held if not h.ended]
        before = {
            h.lease.learner: self.redis.hgetall(self.broker.keys.learner(h.lease.learner)) for h in held
        }
        ended = self.redis.hget(self.broker.keys.job(agent.job), "state") == b"ended"
        holds = [calls.Hold(h.lease.learner, h.lease.token, h.lease.slot) for h in held]
        answer = self.broker.do(calls.renew(agent.job, agent.nonce, ttl=TTL, holds=holds))
        if ended or agent is not self.newest(agent.job):
            assert answer.outcome is Outcome.FENCED
            return
        assert answer.outcome is Outcome.OK
        assert not answer.restored, "nothing was lost, so nothing is to be restored"
        for h in held:
            record = before[h.lease.learner]
            assert (h.lease.learner in answer.fenced) == (
                not (self.is_mine(h, record) and record[b"state"] == b"leased")
            )
            h.ended = h.lease.learner in answer.fenced

    @rule(which=st.integers(0, 3), indeed=st.sampled_from([False, False, True]))
    def scheduler_requeues_a_job(self, which: int, indeed: bool) -> None:
        """Two live copies of one job: the newer restart count wins, the older copy goes on as a zombie."""
        if not indeed:
            return
        newest = self.newest(self.agents[-1 - which % len(self.agents)].job)
        self.claim(Agent(newest.job, f"n{next(self.ids)}", newest.restart + 1))
        assert not self.redis.smembers(self.broker.keys.holds(newest.job)), "the new copy inherited a lease"

    @rule(which=st.integers(0, 3))
    def a_job_is_found_dead(self, which: int) -> None:
        agent = self.agents[-1 - which % len(self.agents)]
        freed = self.broker.do(calls.end_job(agent.job, agent.nonce, "node died"))
        if agent is self.newest(agent.job):
            assert freed >= 0
            assert not self.redis.smembers(self.broker.keys.holds(agent.job))
        else:
            assert freed == -1, "the death of an old copy ended the new one"
        self.start_job()

    @rule(
        verb=st.sampled_from(["pause", "resume", "cancel", "retry", "retry", "prioritize"]),
        index=st.none() | st.integers(0, 3),
    )
    def user_acts(self, verb: Any, index: int | None) -> None:
        priority = 5 if verb == "prioritize" else None
        if index is None:
            self.broker.do(calls.act_on_run(RUN, verb, priority=priority))
        else:
            self.broker.do(calls.act(verb, [f"{RUN}.{index}"], priority=priority))

    # -- what must hold ----------------------------------------------------------------------------------

    @invariant()
    def each_learner_is_in_exactly_one_set_and_counts_agree(self) -> None:
        keys, places, counted = self.broker.keys, dict[str, list[str]](), dict[str, int]()
        for state in STATES:
            name = (
                keys.queue("local")
                if state == "queued"
                else keys.leases
                if state == "leased"
                else keys.state(state)
            )
            for member in self.redis.zrange(name, 0, -1):
                places.setdefault(member.decode(), []).append(state)
                counted[state] = counted.get(state, 0) + 1
        records = {i: self.redis.hgetall(keys.learner(f"{RUN}.{i}")) for i in range(LEARNERS)}
        assert places == {f"{RUN}.{i}": [record[b"state"].decode()] for i, record in records.items()}
        counts = {k.decode(): v for k, v in self.redis.hgetall(keys.counts(RUN)).items()}
        assert {s: int(counts.get(s, 0)) for s in STATES} == {s: counted.get(s, 0) for s in STATES}
        assert int(counts["open"]) == sum(n for s, n in counted.items() if s not in TERMINAL)
        for learner, score in self.redis.zrange(keys.queue("local"), 0, -1, withscores=True):
            assert score == float(records[int(learner.decode().split(".")[1])][b"rank"]), "it lost its place"
        pool = self.redis.hgetall(keys.pool("local"))
        assert int(pool.get(b"leased", 0)) == counted.get("leased", 0)
        assert int(pool.get(b"delayed", 0)) == counted.get("delayed", 0)
        assert int(self.redis.hget(keys.open, "local")) == int(counts["open"])
        for i, record in records.items():
            assert self.redis.hget(keys.view, f"{RUN}.{i}").split()[0] == record[b"state"]
            assert all(len(value) <= 64 for value in record.values()), (
                "a value would leave the compact encoding"
            )

    @invariant()
    def holders_and_their_jobs_agree(self) -> None:
        held: dict[str, set[str]] = {}
        for i in range(LEARNERS):
            record = self.redis.hgetall(self.broker.keys.learner(f"{RUN}.{i}"))
            if record[b"state"] == b"leased":
                held.setdefault(record[b"holder"].decode().split(":")[0], set()).add(f"{RUN}.{i}")
        for job in {agent.job for agent in self.agents}:
            members = {m.decode() for m in self.redis.smembers(self.broker.keys.holds(job))}
            assert members == held.get(job, set())

    @invariant()
    def acknowledged_points_are_in_checkpoint_or_journal(self) -> None:
        for learner, sequences in self.journaled.items():
            record = self.redis.hgetall(self.broker.keys.learner(learner))
            if record[b"state"] == b"done":
                assert int(record[b"checkpoint_upto"]) >= max(sequences)
                continue
            assert int(record.get(b"seq", 0)) >= max(sequences)
            entries = self.redis.lrange(self.broker.keys.journal(learner), 0, -1)
            there = {
                seq for batch in map(journal.unpack, entries) for seq in range(batch.first, batch.last + 1)
            }
            # From the newest checkpoint, and should its file be corrupt, from the one before.
            for which in (b"checkpoint_upto", b"previous_upto"):
                missing = {seq for seq in sequences - there if seq > int(record.get(which, 0))}
                assert not missing, f"points are neither in the journal nor before {which.decode()}"

    @invariant()
    def committed_points_are_in_the_newest_checkpoint(self) -> None:
        """Also those that the journal never took, since memory was full; they are in that one place only."""
        for learner, upto in self.committed.items():
            record = self.redis.hgetall(self.broker.keys.learner(learner))
            assert int(record[b"checkpoint_upto"]) >= upto
            assert int(record[b"seq"]) >= upto

    @invariant()
    def done_is_told_once(self) -> None:
        events = [fields for _, fields in self.redis.xrange(self.broker.keys.events)]
        done = [fields[b"learner"] for fields in events if fields[b"to"] == b"done"]
        assert len(done) == len(set(done))
        for fields in events:
            step = Transition(*(fields[name].decode() for name in (b"from", b"event", b"to")))
            assert step in TRANSITIONS


def run_machine(redis: redis_py.Redis, *, examples: int, steps: int) -> None:
    machine = type("Machine", (LeaseMachine,), {"redis": redis})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )


def test_agents_that_lose_replies_and_come_late_keep_the_invariants(redis: redis_py.Redis) -> None:
    run_machine(redis, examples=25, steps=50)


@pytest.mark.long
@pytest.mark.timeout(900)
def test_agents_that_lose_replies_and_come_late_keep_the_invariants_for_long(redis: redis_py.Redis) -> None:
    run_machine(redis, examples=70, steps=60)

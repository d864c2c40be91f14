"""Deciding and crew against a model of Redis and of slots, with lost answers, deaths, expiries, commands and drains."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from random import Random
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st

from fabric_broker.calls import Acquired, Committed, Ended, Journaled, Known, Renewed
from fabric_broker.keys import Keys
from fabric_broker.records import Command, Lease, Outcome
from fabric_broker.scripts import Call
from fabric_broker.signing import Signer
from fabric_jobs import channel
from fabric_jobs.channel import Down, Frame, Up
from fabric_jobs.crew import Crew
from fabric_jobs.deciding import Deciding
from fabric_jobs.fetching import Ask
from fabric_jobs.orders import Death, Fork, Kill, Tell
from fabric_jobs.points import Points
from fabric_jobs.telling import Identity

SPEC = {"ttl": 30.0, "grace": 9.0, "idle_timeout": 60.0, "executor": "serial", "cores": 1}
KILLED = Death("was killed by SIGKILL", "SIGKILL")
NOT_HELD = -1


@dataclass
class Learner:
    """A learner's record, and the scripts that touch it."""

    id: str
    state: str = "queued"
    token: int = 0
    slot: int = NOT_HELD
    seq: int = 0
    n: int = 0
    upto: int = 0
    command: Command | None = None

    def holds(self, args: Any) -> bool:
        return self.state == "leased" and (self.token, self.slot) == (args["token"], args["slot"])

    def grant(self, slot: int) -> Lease:
        self.state, self.slot, self.token = "leased", slot, self.token + 1
        return Lease(
            self.id, self.id[:9], "a", self.token, slot, self.seq, self.seq, 0.0, 0, None, None, self.n, 0
        )

    def give_back(self, state: str = "queued") -> None:
        if self.command is not None:
            state = {"pause": "paused", "cancel": "cancelled"}[self.command.verb]
        self.state, self.slot, self.command = state, NOT_HELD, None

    def journal(self, args: Any) -> Journaled:
        if not self.holds(args):
            return Journaled(Outcome.FENCED, 0, 0, None)
        if args["last"] <= self.seq:
            return Journaled(Outcome.ALREADY, self.seq, self.n, self.command)
        if args["first"] != self.seq + 1:
            return Journaled(Outcome.GAP, self.seq, self.n, self.command)
        self.seq = args["last"]
        return Journaled(Outcome.OK, self.seq, self.n, self.command)

    def commit(self, args: Any) -> Committed:
        if not self.holds(args):
            return Committed(Outcome.FENCED, None, None)
        if args["n"] <= self.n:
            return Committed(Outcome.ALREADY, None, self.command)
        self.n, self.upto = args["n"], args["upto"]
        self.seq = max(self.seq, self.upto)
        return Committed(Outcome.OK, None, self.command)

    def complete(self, args: Any) -> Outcome:
        if self.state == "done" and self.token == args["token"]:
            return Outcome.ALREADY
        if not self.holds(args):
            return Outcome.FENCED
        if self.upto < self.seq:
            return Outcome.GAP
        self.state, self.slot = "done", NOT_HELD
        return Outcome.OK

    def release(self, args: Any) -> Ended:
        if not self.holds(args):
            return Ended(Outcome.FENCED, self.state)
        self.give_back()
        return Ended(Outcome.OK, self.state)

    fail = release


@dataclass
class Redis:
    """All learners, and the scripts that touch many."""

    learners: dict[str, Learner]
    granted: tuple[str, tuple[Lease, ...]] = ("", ())

    def do(self, ask: Ask) -> Any:
        if not isinstance(ask, Call):
            plain = {"HMGET": [b"/store", b"60", b"30"], "GET": b"signed", "LRANGE": [], "XADD": b"1-1"}
            return plain[ask.args[0]]
        if ask.script in ("journal", "commit", "complete", "release", "fail"):
            return getattr(self.learners[ask.args["learner"]], ask.script)(ask.args)
        return getattr(self, ask.script)(ask.args)

    def acquire(self, args: Any) -> Acquired:
        if self.granted[0] != args["request"]:
            queued = [each for each in self.learners.values() if each.state == "queued"]
            leases = tuple(each.grant(slot) for each, slot in zip(queued, args["slots"], strict=False))
            self.granted = (args["request"], leases)
        still = [lease for lease in self.granted[1] if self.learners[lease.learner].token == lease.token]
        held = tuple(lease for lease in still if self.learners[lease.learner].state == "leased")
        return Acquired(Outcome.OK, held)

    def renew(self, args: Any) -> Renewed:
        fenced, known, commands = [], {}, {}
        for id, token, slot, echoed in args["holds"]:
            learner = self.learners[id]
            if not learner.holds({"token": token, "slot": slot}):
                fenced.append(id)
                continue
            known[id] = Known(learner.seq, learner.n)
            if learner.command is not None and learner.command.number > echoed:
                commands[id] = learner.command
        return Renewed(Outcome.OK, fenced=tuple(fenced), known=known, commands=commands)

    def drain_job(self, args: Any) -> Outcome:
        return Outcome.OK

    def end_job(self, args: Any) -> int:
        held = [each for each in self.learners.values() if each.state == "leased"]
        for each in held:
            each.give_back()
        return len(held)

    def leave(self, args: Any) -> str:
        return "stay"


@dataclass
class SlotProcess:
    """What a slot does with what it is told."""

    serial: int
    lease: dict[str, Any] | None = None
    seq: int = 0
    n: int = 0
    stop: dict[str, Any] | None = None
    alive: bool = True


@dataclass
class Story:
    """An agent, its slots and its Redis."""

    redis: Redis
    now: float = 1000.0
    processes: dict[int, SlotProcess] = field(default_factory=dict)
    finished: dict[str, int] = field(default_factory=dict)
    """learner -> sequence with which a slot said DONE under the token that Redis then took"""

    def __post_init__(self) -> None:
        self.crew = Crew(2, "n")
        me = Identity("i.0", "nonce", 0, "n", 1)
        self.deciding = Deciding(me, SPEC, self.crew, Keys("f"), Signer(bytes(32), "f"), Random(1))

    # -- what may happen ---------------------------------------------------------------------------------------------

    def exchange(self, executed: int, answered: int) -> None:
        sendings = self.deciding.compose(self.now)
        answers = [(sending, self.redis.do(sending.ask)) for sending in sendings[:executed]]
        for sending, answer in answers[:answered]:
            sending.take(answer)
        if answered < len(sendings):
            self.deciding.troubled(self.now)
        else:
            self.deciding.settle(self.now)
        self.obey()

    def work(self, index: int, count: int) -> None:
        process = self.busy(index)
        if process is not None:
            frames = b"".join(channel.encode(Up.POINT, b"x") for _ in range(count))
            process.seq += count
            self.hear(process, Points(count, frames))

    def save(self, index: int) -> None:
        process = self.busy(index)
        if process is not None:
            self.say_saved(process)

    def end(self, index: int, kind: Up) -> None:
        process = self.busy(index)
        if process is None or process.lease is None:
            return
        if kind is Up.DONE:
            self.say_saved(process)
            self.finished[process.lease["learner"]] = process.seq
        self.say_end(process, kind, type="E", text="t", traceback="", point=None, node="n")

    def die(self, index: int) -> None:
        alive = [process for process in self.processes.values() if process.alive]
        if alive:
            process = alive[index % len(alive)]
            process.alive = False
            self.crew.died(process.serial, KILLED, self.now)
            self.obey()

    def pass_time(self, seconds: float) -> None:
        self.now += seconds
        self.crew.tick(self.now)
        self.obey()

    def expire(self, index: int) -> None:
        leased = [each for each in self.redis.learners.values() if each.state == "leased"]
        if leased:
            leased[index % len(leased)].give_back()

    def order(self, index: int, verb: Any) -> None:
        leased = [each for each in self.redis.learners.values() if each.state == "leased"]
        if leased:
            leased[index % len(leased)].command = Command(int(self.now), verb)

    # -- slots -------------------------------------------------------------------------------------------------------

    def busy(self, index: int) -> SlotProcess | None:
        busy = [each for each in self.processes.values() if each.alive and each.lease is not None]
        return busy[index % len(busy)] if busy else None

    def hear(self, process: SlotProcess, item: Points | Frame) -> None:
        self.crew.heard(process.serial, item, self.now)
        self.obey()

    def say(self, process: SlotProcess, kind: Up, **record: Any) -> None:
        body = json.dumps(record | {"npoints": process.seq, "loss": None}).encode()
        self.hear(process, Frame(kind, body))

    def say_saved(self, process: SlotProcess) -> None:
        assert process.lease is not None
        process.n += 1
        token = process.lease["token"]
        self.say(
            process, Up.SAVED, n=process.n, token=token, upto=process.seq, size=1, mac="m", damaged=False
        )

    def say_end(self, process: SlotProcess, kind: Up, **record: Any) -> None:
        process.lease, process.stop = None, None
        self.say(process, kind, **record)

    def obey(self) -> None:
        """Slots do what they are told, as soon as they are between evaluations."""
        while self.crew.orders:
            order = self.crew.orders.pop(0)
            if isinstance(order, Fork):
                self.processes[order.serial] = SlotProcess(order.serial)
            elif isinstance(order, Tell):
                self.tell(self.processes[order.serial], order.frame)
            elif isinstance(order, Kill) and self.processes[order.serial].alive:
                self.processes[order.serial].alive = False
                self.crew.died(order.serial, KILLED, self.now)

    def tell(self, process: SlotProcess, frame: bytes) -> None:
        kind, body = frame[4], frame[channel.HEADER.size :]
        if not process.alive:
            return
        if kind == Down.LEASE:
            assert process.lease is None, "a slot works on one lease at a time"
            process.lease, _ = channel.decode_lease(body)
            process.seq, process.n = process.lease["seq"], process.lease["next_n"] - 1
        elif kind == Down.STOP and process.lease is not None:
            process.stop = json.loads(body)
        elif kind == Down.SAVE and process.lease is not None:
            self.say_saved(process)
        elif kind == Down.EXIT:
            assert process.lease is None, "EXIT comes between leases"
            process.alive = False
            self.crew.died(process.serial, KILLED, self.now)

    def stop_slots(self) -> None:
        """Slots that were told to stop do."""
        for process in list(self.processes.values()):
            if process.alive and process.lease is not None and process.stop is not None:
                if process.stop["save"]:
                    self.say_saved(process)
                self.say_end(process, Up.STOPPED, cause=process.stop["cause"])

    # -- what must hold ----------------------------------------------------------------------------------------------

    def check(self) -> None:
        holders = [
            (process.lease["learner"], process.lease["token"])
            for process in self.processes.values()
            if process.alive and process.lease is not None
        ]
        assert len(holders) == len(set(holders)), "no lease is worked on twice"
        for learner in self.redis.learners.values():
            assert learner.upto <= learner.seq
            if learner.state == "done":
                assert learner.seq == learner.upto == self.finished[learner.id]


INDEX = st.integers(0, 9)
EVENTS = st.one_of(
    st.tuples(st.just("exchange"), st.just(99), st.just(99)),
    st.tuples(st.just("exchange"), st.just(99), st.just(99)),
    st.tuples(st.just("exchange"), st.integers(0, 8), st.integers(0, 8)),
    st.tuples(st.just("work"), INDEX, st.integers(1, 3)),
    st.tuples(st.just("save"), INDEX),
    st.tuples(st.just("end"), INDEX, st.sampled_from([Up.DONE, Up.DONE, Up.RAISED])),
    st.tuples(st.just("die"), INDEX),
    st.tuples(st.just("pass_time"), st.sampled_from([0.01, 0.6, 11.0, 26.0])),
    st.tuples(st.just("expire"), INDEX),
    st.tuples(st.just("order"), INDEX, st.sampled_from(["pause", "cancel"])),
    st.tuples(st.just("stop_slots")),
)


@settings(max_examples=300, deadline=None)
@given(events=st.lists(EVENTS, max_size=60), obedient=st.booleans())
def test_whatever_happens_an_agent_ends_in_order_and_holds_nothing(events, obedient):
    story = Story(Redis({f"rabcdefg{i % 2}.{i}": Learner(f"rabcdefg{i % 2}.{i}") for i in range(5)}))
    for event in events:
        getattr(story, event[0])(*event[1:])
        story.check()
    story.deciding.drain(story.now)
    story.obey()
    for _ in range(40):
        if story.deciding.ended is not None:
            break
        story.exchange(99, 99)
        if obedient:
            story.stop_slots()
        story.check()
        story.pass_time(0.3)
    assert story.deciding.ended == "drained"
    assert all(learner.state != "leased" for learner in story.redis.learners.values())


EXPIRED_AND_LEASED_AGAIN: Any = [
    *[("exchange", 99, 99), ("pass_time", 11.0), ("expire", 0), ("exchange", 99, 99), ("exchange", 99, 99)],
    *[("work", 0, 1), ("die", 0), ("expire", 0), ("exchange", 99, 99), ("exchange", 0, 0)],
]
"""A learner's lease expires unseen by its agent, which then leases the learner for another of its slots."""


@settings(max_examples=100, deadline=None)
@example(events=EXPIRED_AND_LEASED_AGAIN)
@given(events=st.lists(EVENTS, max_size=40))
def test_whatever_happened_all_learners_end_done_when_nothing_goes_wrong_any_more(events):
    story = Story(Redis({f"rabcdefg{i % 2}.{i}": Learner(f"rabcdefg{i % 2}.{i}") for i in range(4)}))
    for event in events:
        getattr(story, event[0])(*event[1:])
    for learner in story.redis.learners.values():
        if learner.state in ("paused", "cancelled"):
            learner.state = "queued"
    for _ in range(200):
        story.exchange(99, 99)
        story.stop_slots()
        for index in range(2):
            story.work(index, 1)
            story.end(index, Up.DONE)
        story.check()
        story.pass_time(0.4)
        for learner in story.redis.learners.values():
            if learner.state in ("paused", "cancelled"):
                learner.state = "queued"
    assert {learner.state for learner in story.redis.learners.values()} == {"done"}

"""Reconcile against a world that does what it likes: the promises that must hold at every tick."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field, replace

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from fabric_broker.intents import Again, Ask, Change, Close, Found, Mark, Over, Remember
from fabric_broker.survey import IntentView, JobView, PoolView, Survey
from fabric_submitter.adapters.scheduler import Listing, Seen
from fabric_submitter.judging import Rules
from fabric_submitter.reconcile import Memory, Plan, Scene, reconcile

# A machine's days are short: nothing is given up after a long silence.
RULES = Rules(batch=3, deaths=1000, backoff=0.0, abandon=1e9)
ROOM = ("wanted", "enqueued", "submitting", "submitted")


@dataclass
class World:
    """Redis, a scheduler and agents, as far as the submitter can tell."""

    now: float = 1000.0
    queued: int = 0
    limit: int = 3
    slots: int = 2
    walltime: float | None = None
    overlap: float = 0.0
    intents: dict[str, IntentView] = field(default_factory=dict)
    processes: set[str] = field(default_factory=set)
    """jobs that the scheduler has"""
    wanted: int = 0
    numbers: itertools.count[int] = field(default_factory=itertools.count)

    def job(self, intent: str) -> JobView:
        return self.intents[intent].jobs[0]

    def set(self, name: str, **fields: object) -> None:
        of_intent = {key: fields.pop(key) for key in ("state", "since") if key in fields}
        if "jobstate" in fields:
            fields["state"] = fields.pop("jobstate")
        intent = self.intents[name]
        job = replace(intent.jobs[0], **fields)
        self.intents[name] = replace(intent, jobs=(job,), **of_intent)

    def survey(self) -> Survey:
        pool = PoolView("p", "x", self.limit, self.slots, 30.0, self.queued, 0, wanted=self.wanted)
        pool = replace(pool, overlap=self.overlap)
        return Survey(self.now, False, {"p": pool}, tuple(self.intents.values()))

    def agents_speak(self) -> None:
        """All agents renew or ask for work, as they do every TTL/3 at least."""
        for name in self.intents:
            if self.job(name).nonce and f"{name}.0" in self.processes:
                self.set(name, seen=self.now)

    def is_idle(self, name: str, seconds: float) -> bool:
        """Whether its job runs for so long, while there is nothing that it could do."""
        job = self.job(name)
        return (
            f"{name}.0" in self.processes
            and job.state == "running"
            and not (job.holds or self.queued)
            and job.started is not None
            and self.now - job.started >= seconds
        )

    def alive(self) -> list[str]:
        """Intents whose job is pending, running, unknown or ending, or may be on its way."""
        return [
            name
            for name, intent in self.intents.items()
            if intent.state in ROOM and (self.job(name).state != "ended" or f"{name}.0" in self.processes)
        ]

    def counted(self) -> list[str]:
        """Those of them that count into the limit: all but so many that near the ends of their walltimes."""
        ends = {name: self.job(name).walltime_end or float("inf") for name in self.alive()}
        near = sorted((end, name) for name, end in ends.items() if end - self.overlap <= self.now)
        leaving = {name for _, name in near[: self.limit]}
        return [name for name in ends if name not in leaving]

    def claim(self, name: str) -> None:
        end = None if self.walltime is None else self.now + self.walltime
        self.set(name, jobstate="running", nonce="n", started=self.now, seen=self.now, walltime_end=end)

    def carry_out(self, plan: Plan) -> None:
        for change in plan.changes:
            self.change(change)
        for _ in range(plan.want.get("p", 0)):
            name = f"i{next(self.numbers)}"
            job = JobView(
                f"{name}.0", "submitting", "", self.slots, 0, False, self.now, None, None, "", "", None
            )
            self.intents[name] = IntentView(
                name, "p", "x", "wanted", self.now, 0, "h", "", 0.0, 0.0, 0, (job,)
            )
        for intent in plan.submit:
            self.set(intent.id, state="enqueued", since=self.now)

    def change(self, change: Change) -> None:
        if isinstance(change, Remember):
            self.wanted = int(change.set.get("wanted", self.wanted))
        elif isinstance(change, Ask):
            name = change.job[:-2]
            if self.intents[name].state in ("wanted", "enqueued"):
                self.set(name, state="cancelled", jobstate="ended", ended=self.now, reason=change.reason)
            else:
                self.set(name, wish=change.wish)
        elif isinstance(change, Found):
            self.set(change.intent, state="submitted", since=self.now)
            if not self.job(change.intent).nonce:
                self.set(change.intent, jobstate="pending")
        elif isinstance(change, Again):
            self.set(change.intent, state="wanted", since=self.now)
        elif isinstance(change, Mark):
            self.set(change.job[:-2], jobstate=change.state)
        elif isinstance(change, Over):
            name = change.job[:-2]
            self.queued += self.job(name).holds
            self.set(name, jobstate="ended", ended=self.now, holds=0, reason=change.reason)
        elif isinstance(change, Close):
            del self.intents[change.intent]


class Machine(RuleBasedStateMachine):
    """Work comes, jobs start, acquire, finish and die, answers are lost, and the submitter ticks and restarts."""

    def __init__(self) -> None:
        super().__init__()
        self.world = World()
        self.memory = Memory()
        self.mono = 0.0
        self.listing: Listing | None = None
        self.number = 0
        self.before: dict[str, IntentView] = {}
        self.asked: list[Ask] = []
        self.limit = 0

    def pick(self, choice: int, *states: str) -> str | None:
        names = [name for name, intent in self.world.intents.items() if intent.state in states]
        return names[choice % len(names)] if names else None

    @rule(count=st.integers(0, 6))
    def work_comes(self, count):
        self.world.queued += count

    @rule(choice=st.integers(0, 9), answered=st.booleans(), refused=st.booleans())
    def a_task_submits(self, choice, answered, refused):
        name = self.pick(choice, "wanted", "enqueued")
        if name is None:
            return
        if refused:
            self.world.set(name, state="refused", jobstate="ended", reason="no", ended=self.world.now)
            return
        self.world.processes.add(f"{name}.0")
        if answered:
            self.world.set(name, state="submitted", jobstate="pending", since=self.world.now)
        else:
            self.world.set(name, state="submitting", since=self.world.now)

    @rule(choice=st.integers(0, 9))
    def a_task_dies_before_it_submits(self, choice):
        name = self.pick(choice, "wanted", "enqueued")
        if name is not None:
            self.world.set(name, state="submitting", since=self.world.now)

    @rule(choice=st.integers(0, 9))
    def an_agent_claims(self, choice):
        name = self.pick(choice, "submitted", "submitting")
        if name is not None and f"{name}.0" in self.world.processes and not self.world.job(name).nonce:
            self.world.claim(name)

    @rule(choice=st.integers(0, 9))
    def an_agent_acquires(self, choice):
        name = self.pick(choice, "submitted", "submitting")
        if name is None:
            return
        job = self.world.job(name)
        if job.state in ("running", "unknown") and job.nonce and f"{name}.0" in self.world.processes:
            take = min(job.slots - job.holds, self.world.queued)
            self.world.queued -= take
            held = job.holds + take
            self.world.set(name, holds=held, acquired=job.acquired or held > 0, seen=self.world.now)

    @rule(choice=st.integers(0, 9))
    def a_learner_is_done(self, choice):
        name = self.pick(choice, "submitted")
        if name is not None and self.world.job(name).holds:
            self.world.set(name, holds=self.world.job(name).holds - 1)

    @rule(choice=st.integers(0, 9))
    def an_idle_agent_leaves(self, choice):
        name = self.pick(choice, "submitted")
        if name is not None and self.world.job(name).nonce and not self.world.job(name).holds:
            self.world.set(name, jobstate="ended", ended=self.world.now, reason="idle")

    @rule(choice=st.integers(0, 9))
    def a_job_dies(self, choice):
        names = sorted(self.world.processes)
        if names:
            self.world.processes.discard(names[choice % len(names)])

    @rule(limit=st.integers(0, 5))
    def a_user_scales(self, limit):
        self.world.limit = limit

    @rule(good=st.booleans())
    def the_scheduler_answers(self, good):
        self.number += 1
        self.mono += 1.0
        jobs = {job: Seen(job, "running") for job in self.world.processes} if good else {}
        self.listing = Listing(self.mono, good, jobs, proof=True, number=self.number)

    @rule()
    def the_submitter_restarts(self):
        self.memory = Memory()

    @rule(seconds=st.floats(0.1, 40.0))
    def ticks(self, seconds):
        self.world.now += seconds
        self.mono += seconds
        self.before, self.limit = dict(self.world.intents), self.world.limit
        alive, counted = len(self.world.alive()), len(self.world.counted())
        plan = self.plan()
        self.asked = [change for change in plan.changes if isinstance(change, Ask)]
        if plan.want:
            assert counted + plan.want["p"] <= self.limit, "pending, running, unknown and ending ones count"
        self.memory = plan.memory
        self.world.carry_out(plan)
        assert len(self.world.counted()) <= max(counted, self.limit)
        most = self.limit if self.world.walltime is None else 2 * self.limit
        assert len(self.world.alive()) <= max(alive, most)

    @rule()
    def agents_speak(self):
        self.world.agents_speak()

    @rule()
    def agents_are_silent_for_long(self):
        for _ in range(35):
            self.ticks(1.0)

    def plan(self) -> Plan:
        scenes = {"x": Scene(self.listing, 10.0)}
        return reconcile(self.world.survey(), scenes, self.memory, self.mono, RULES)

    @invariant()
    def a_holder_of_leases_is_never_cancelled(self):
        for ask in self.asked:
            job = self.before[ask.job[:-2]].jobs[0]
            assert not (job.holds and ask.wish == "cancel")
            assert not job.holds or len(self.before) > self.limit

    @precondition(lambda self: not self.world.processes)
    @rule()
    def does_not_oscillate(self):
        """With the same work and no failures it comes to rest: all jobs start, and nobody is ever asked to go."""
        intended = asked = 0
        for _ in range(60):
            self.world.now += 1.0
            self.world.agents_speak()
            self.the_scheduler_answers(good=True)
            plan = self.plan()
            self.memory = plan.memory
            intended += plan.want.get("p", 0)
            if intended:
                # One that was asked before is asked again when its task turns out to be lost.
                asks = [change for change in plan.changes if isinstance(change, Ask)]
                asked += sum(not self.world.job(ask.job[:-2]).wish for ask in asks)
            self.world.carry_out(plan)
            for name, intent in list(self.world.intents.items()):
                if intent.state == "enqueued":
                    self.world.processes.add(f"{name}.0")
                    self.world.set(name, state="submitted", jobstate="pending", since=self.world.now)
                elif self.world.job(name).state == "pending" and f"{name}.0" in self.world.processes:
                    self.world.set(name, jobstate="running", nonce="n", started=self.world.now)
                elif self.world.is_idle(name, 10.0):
                    self.world.processes.discard(f"{name}.0")
                    self.world.set(name, jobstate="ended", ended=self.world.now, reason="idle")
        assert asked == 0
        needed = -(-self.world.queued // self.world.slots)
        assert len(self.world.alive()) <= max(self.world.limit, 0)
        assert len(self.world.alive()) == min(self.world.limit, needed)
        assert self.plan().want == {}


TestMachine = Machine.TestCase
TestMachine.settings = settings(max_examples=50, stateful_step_count=40, deadline=None)


class OverlapMachine(Machine):
    """The same where jobs have a walltime, and replacements are queued before it ends."""

    def __init__(self) -> None:
        super().__init__()
        self.world.walltime, self.world.overlap = 60.0, 25.0

    @rule(count=st.integers(1, 4))
    def all_start_and_acquire(self, count):
        """As a quiet scheduler does it: so that states deep in a walltime are reached."""
        self.world.queued += count
        self.ticks(1.0)
        for choice in range(len(self.world.intents)):
            self.a_task_submits(0, answered=True, refused=False)
            self.an_agent_claims(choice)
            self.an_agent_acquires(choice)

    @rule()
    def walltimes_end(self):
        for name in sorted(self.world.intents):
            end = self.world.job(name).walltime_end
            if end is not None and self.world.now > end:
                self.world.processes.discard(f"{name}.0")


TestOverlapMachine = OverlapMachine.TestCase
TestOverlapMachine.settings = TestMachine.settings


@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.parametrize("machine", [Machine, OverlapMachine])
def test_the_machines_for_long(machine):
    run_state_machine_as_test(
        machine, settings=settings(max_examples=200, stateful_step_count=60, deadline=None)
    )

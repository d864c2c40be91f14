"""The submitter's side of Redis: who leads, which jobs are wanted, what became of them.

Calls in the manner of calls.py. Whoever changes an intent as the leader gives the leader's nonce and epoch; the
script refuses them when somebody else leads by then. Times and durations are in seconds.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar, Literal, cast

from .broker import Broker
from .records import JobState, Outcome
from .scripts import Call, ms, text, word
from .survey import Wish, job_id


@dataclass(frozen=True, slots=True)
class Leadership:
    """What proves to a script that the caller leads."""

    nonce: str
    epoch: int


@dataclass(frozen=True, slots=True)
class Change:
    """One of the leader's verdicts; see the function of the same name in lua/intent_apply.lua."""

    verb: ClassVar[str]

    def as_args(self) -> dict[str, Any]:
        """What the script is told."""
        return {"verb": self.verb} | asdict(self)


@dataclass(frozen=True, slots=True)
class Enqueued(Change):
    """A task that submits it is in the queue."""

    verb: ClassVar[str] = "enqueued"
    intent: str
    tries: int


@dataclass(frozen=True, slots=True)
class Again(Change):
    """Its task never answered and the scheduler does not know its name."""

    verb: ClassVar[str] = "again"
    intent: str
    since: float

    def as_args(self) -> dict[str, Any]:
        """What the script is told."""
        return {"verb": self.verb, "intent": self.intent, "since": round(self.since * 1000)}


@dataclass(frozen=True, slots=True)
class Found(Change):
    """Its task never answered, but the scheduler has its jobs."""

    verb: ClassVar[str] = "found"
    intent: str
    host: str
    ids: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Ask(Change):
    """The job shall go."""

    verb: ClassVar[str] = "wish"
    job: str
    wish: Wish
    reason: str


@dataclass(frozen=True, slots=True)
class Cancelling(Change):
    """A cancel task goes out."""

    verb: ClassVar[str] = "cancelling"
    intent: str


@dataclass(frozen=True, slots=True)
class Mark(Change):
    """The scheduler sees the job in another state or gives another reason."""

    verb: ClassVar[str] = "mark"
    job: str
    was: JobState
    state: JobState
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Over(Change):
    """The copy ``nonce`` of the job ("": nobody claimed it) is dead."""

    verb: ClassVar[str] = "over"
    job: str
    nonce: str
    reason: str


@dataclass(frozen=True, slots=True)
class Close(Change):
    """All jobs of the intent are over."""

    verb: ClassVar[str] = "close"
    intent: str


@dataclass(frozen=True, slots=True)
class Remember(Change):
    """Fields of a pool that the submitter keeps there."""

    verb: ClassVar[str] = "remember"
    pool: str
    set: Mapping[str, str] = field(default_factory=dict)
    drop: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Forget(Change):
    """The job ended long ago."""

    verb: ClassVar[str] = "forget"
    job: str


# -- leading ------------------------------------------------------------------------------------------------


def lead(nonce: str, *, host: str, ttl: float, succeeds: str = "") -> Call[int | None]:
    """Take or renew the leader lease, or give it up (``ttl`` 0); answers the epoch, None if another leads.

    ``succeeds`` is the nonce of a submitter that is known to be dead: its lease is not waited for.
    """
    args = {"nonce": nonce, "host": host, "ttl": ms(ttl), "succeeds": succeeds}
    return Call("lead", args, lambda reply: int(reply) or None)


@dataclass(frozen=True, slots=True)
class Leader:
    """Whether a submitter leads now, and when one last did."""

    alive: bool
    last_seen: float | None
    host: str | None


def leader(broker: Broker) -> Leader:
    """Who leads; as in `fabric status`."""
    pipe = broker.redis.pipeline(transaction=False)
    pipe.time()
    pipe.hmget(broker.keys.leader, ["until", "seen", "host"])
    (seconds, micros), (until, seen, host) = pipe.execute()
    return Leader(
        alive=until is not None and int(until) > seconds * 1000 + micros // 1000,
        last_seen=None if seen is None else int(seen) / 1000,
        host=None if host is None else host.decode(),
    )


def intend(leadership: Leadership, pool: str, intents: Sequence[tuple[str, int]]) -> Call[Outcome]:
    """Write intents, each (id, number of jobs); FENCED: another leads. GONE: no such pool."""
    args = asdict(leadership) | {"pool": pool, "intents": [list(each) for each in intents]}
    outcomes = {-1: Outcome.FENCED, 0: Outcome.GONE}
    return Call("intend", args, lambda reply: outcomes.get(int(reply), Outcome.OK))


def apply(leadership: Leadership, changes: Sequence[Change]) -> Call[list[bool] | None]:
    """Carry out the leader's verdicts; answers which still were true. None: another leads."""
    args = asdict(leadership) | {"changes": [change.as_args() for change in changes]}

    def parse(reply: Any) -> list[bool] | None:
        return None if text(reply) == "-1" else [bool(each) for each in json.loads(reply)]

    return Call("intent_apply", args, parse)


# -- tasks --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Begun:
    """OK: submit these jobs. ALREADY: another task does, or none is needed. GONE: no such intent or pool."""

    outcome: Outcome
    pool: str = ""
    kind: str = ""
    spec: Mapping[str, Any] = field(default_factory=dict)
    jobs: tuple[str, ...] = ()


def begin(intent: str, task: str) -> Call[Begun]:
    """A task takes an intent; ``task`` is unique per execution."""

    def parse(reply: Any) -> Begun:
        answer = json.loads(reply)
        outcome = Outcome(answer["outcome"])
        if outcome is not Outcome.OK:
            return Begun(outcome)
        jobs = tuple(job_id(intent, index) for index in range(answer["jobs"]))
        return Begun(outcome, answer["pool"], answer["kind"], json.loads(answer["spec"]), jobs)

    return Call("intent_begin", {"intent": intent, "task": task}, parse)


def _report(intent: str, task: str, result: str, **rest: Any) -> Call[Outcome]:
    args = {"intent": intent, "task": task, "result": result, "host": "", "ids": {}, "reason": "", "wait": 0}
    return Call("intent_report", args | rest, lambda reply: Outcome(text(reply)))


def submitted(intent: str, task: str, *, host: str, ids: Mapping[str, str]) -> Call[Outcome]:
    """The scheduler took it: its id for each job. FENCED: one too many was submitted."""
    return _report(intent, task, "submitted", host=host, ids=dict(ids))


def refused(intent: str, task: str, *, reason: str) -> Call[Outcome]:
    """The scheduler will not have it."""
    return _report(intent, task, "refused", reason=reason)


def busy(intent: str, task: str, *, reason: str, wait: float) -> Call[Outcome]:
    """The scheduler would have it later, at the earliest in ``wait`` seconds."""
    return _report(intent, task, "busy", reason=reason, wait=ms(wait))


@dataclass(frozen=True, slots=True)
class Going:
    """A job that shall go now."""

    job: str
    scheduler_id: str
    wish: Wish


def cancelling(intent: str) -> Call[tuple[str, tuple[Going, ...]]]:
    """What a cancel task is to do now: the kind of scheduler, and which jobs shall go how."""

    def parse(reply: Any) -> tuple[str, tuple[Going, ...]]:
        answer = json.loads(reply)
        return answer["kind"], tuple(Going(*job) for job in answer["jobs"])

    return Call("intent_cancelling", {"intent": intent}, parse)


# -- users --------------------------------------------------------------------------------------------------


def ask_job(job: str, reason: str) -> Call[Literal["ok", "ended", "no job"]]:
    """A user wants a job to go: drained, or cancelled if it has not started."""
    return Call("ask_job", {"job": job, "reason": reason}, word)


def hold(*, held: bool) -> Call[None]:
    """Hold the fabric (its jobs are drained, none is submitted) or let it go on; pools keep their limits."""
    return Call("hold", {"held": held}, lambda _reply: None)


def resume_pool(pool: str) -> Call[bool]:
    """Close a pool's circuit; False if there is no such pool."""
    return Call("resume_pool", {"pool": pool}, lambda reply: text(reply) == "ok")


def pool_wanted(broker: Broker, names: Sequence[str]) -> list[int]:
    """How many jobs the submitter last wanted for each of these pools."""
    pipe = broker.redis.pipeline(transaction=False)
    for name in names:
        pipe.hget(broker.keys.pool(name), "wanted")
    return [int(wanted or 0) for wanted in cast("list[bytes | None]", pipe.execute() if names else [])]

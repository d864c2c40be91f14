"""The fabric's records: frozen, with units in their docs, and the one place where each becomes a hash or JSON."""

from __future__ import annotations

import enum
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal, cast

SCHEMA: Final = 1
"""Version of keys and records; another release's fabric is refused."""

RunState = Literal["active", "paused", "done", "failed", "cancelled"]
JobState = Literal["submitting", "pending", "running", "draining", "ended", "unknown"]


class Outcome(enum.Enum):
    """What a script did with a request."""

    OK = "OK"
    ALREADY = "ALREADY"
    """The same request was carried out before; nothing changed now."""
    GAP = "GAP"
    """Something that must come first is missing; the answer says how far Redis is."""
    FENCED = "FENCED"
    """Somebody else holds it; nothing changed."""
    GONE = "GONE"
    """Redis does not know it."""


@dataclass(frozen=True, slots=True)
class Holder:
    """Who holds leases: an agent process (job and nonce), and which of its slots."""

    job: str
    nonce: str
    slot: int


@dataclass(frozen=True, slots=True)
class Pointer:
    """Where a checkpoint lies and what its bytes must be; ``upto`` is the highest sequence it covers."""

    token: int
    n: int
    upto: int
    size: int
    """bytes"""
    mac: str


@dataclass(frozen=True, slots=True)
class Lease:
    """A learner granted to a slot, with all that is needed to go on with it."""

    learner: str
    run: str
    name: str
    token: int
    slot: int
    seq: int
    """highest journaled sequence"""
    npoints: int
    leased_s: float
    """seconds leased before this lease"""
    attempts: int
    checkpoint: Pointer | None
    previous: Pointer | None
    checkpoint_n: int
    """number of the last checkpoint, 0 if there was none"""
    priority: int


@dataclass(frozen=True, slots=True)
class Command:
    """A numbered word to a holder, repeated until its number is echoed."""

    number: int
    verb: Literal["pause", "cancel"]


@dataclass(frozen=True, slots=True)
class LearnerRecord:
    """A learner as users see it; times in Unix seconds."""

    id: str
    name: str
    run: str
    pool: str
    state: str
    priority: int
    token: int
    job: str | None
    slot: int | None
    until: float | None
    attempts: int
    npoints: int
    loss: float | None
    checkpoint: str | None
    error: str | None

    def as_json(self) -> dict[str, Any]:
        """As in `fabric learners --json`."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class JobRecord:
    """A scheduler job as users see it; times in Unix seconds."""

    id: str
    pool: str
    scheduler_id: str | None
    state: JobState
    reason: str | None
    node: str | None
    slots: int
    learners: list[str]
    last_seen: float | None
    walltime_end: float | None

    def as_json(self) -> dict[str, Any]:
        """As in `fabric jobs --json`."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class RunStatus:
    """How far a run is; times in Unix seconds, durations in seconds."""

    id: str
    name: str
    state: RunState
    counts: dict[str, int]
    total: int
    points: int
    points_per_s: float
    eta_s: float | None
    started: float | None
    ended: float | None

    def as_json(self) -> dict[str, Any]:
        """As in `fabric runs --json`."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class RunSettings:
    """What a run is submitted with; durations in seconds."""

    run: str
    name: str
    pool: str
    store: str
    """where checkpoints go: a folder"""
    goal: str
    """the goal in words, for whoever looks"""
    priority: int = 0
    save_interval: float = 60.0
    log_interval: float = 30.0
    attempts: int = 3
    backoff: float = 1.0
    pools: tuple[str, ...] = ()
    """where its learners are, if they have pools of their own"""

    def as_hash(self) -> dict[str, str]:
        """The fields that `define_run` writes beside name and pool."""
        own_pools = {"pools": " ".join(self.pools)} if self.pools else {}
        return own_pools | {
            "store": self.store,
            "goal": self.goal,
            "priority": str(self.priority),
            "save_interval": str(self.save_interval),
            "log_interval": str(self.log_interval),
            "attempts": str(self.attempts),
            "backoff": str(self.backoff),
        }


@dataclass(frozen=True, slots=True)
class PoolRecord:
    """A pool: its spec, how many jobs it may have, its counters, and why it does not submit (circuit)."""

    name: str
    kind: str
    spec: dict[str, Any]
    limit: int
    slots: int
    ttl: float
    """seconds"""
    queued: int
    leased: int
    delayed: int
    circuit: str | None
    """why nothing is submitted any more, or None"""


def pointer_from(fields: dict[str, str], which: Literal["checkpoint", "previous"]) -> Pointer | None:
    """The pointer ``which`` of a learner's hash."""
    name = fields.get(which)
    if not name:
        return None
    token, n = name.split("-")
    return Pointer(
        int(token), int(n), int(fields[f"{which}_upto"]), int(fields[f"{which}_size"]), fields[f"{which}_mac"]
    )


def lease_from(fields: dict[str, Any]) -> Lease:
    """The lease in one item of acquire's answer: the learner's hash, its id, name and slot."""
    return Lease(
        learner=fields["learner"],
        run=fields["run"],
        name=fields["name"],
        token=int(fields["token"]),
        slot=int(fields["slot"]),
        seq=int(fields.get("seq", 0)),
        npoints=int(fields.get("npoints", 0)),
        leased_s=int(fields.get("leased_ms", 0)) / 1000,
        attempts=int(fields.get("attempts", 0)),
        checkpoint=pointer_from(fields, "checkpoint"),
        previous=pointer_from(fields, "previous"),
        checkpoint_n=int(fields.get("checkpoint_n", 0)),
        priority=int(fields["priority"]),
    )


def command_from(text: str) -> Command | None:
    """The command in ``"<number>:<verb>"``; None for the empty text."""
    number, colon, verb = text.partition(":")
    if not colon:
        return None
    return Command(int(number), cast(Literal["pause", "cancel"], verb))

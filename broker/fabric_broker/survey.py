"""All that the submitter decides on, as one script sees it at one moment: pools with their work, intents, jobs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from .records import JobState
from .scripts import Call

Wish = Literal["cancel", "drain"]
IntentState = Literal["wanted", "enqueued", "submitting", "submitted", "refused", "cancelled", "over"]


def job_id(intent: str, index: int = 0) -> str:
    """The id of the ``index``-th job of an intent."""
    return f"{intent}.{index}"


@dataclass(frozen=True, slots=True)
class JobView:
    """A job of a living intent."""

    id: str
    state: JobState
    nonce: str
    """of the copy that claimed it; "" before"""
    slots: int
    holds: int
    """learners it holds"""
    acquired: bool
    """it held a learner at some time"""
    seen: float
    """when its agent last spoke (before its claim: when it was wanted)"""
    started: float | None
    """when it was claimed"""
    ended: float | None
    scheduler_id: str
    reason: str
    wish: Wish | None
    """it was asked to go"""
    walltime_end: float | None = None
    """when its scheduler ends it, as its agent said"""


@dataclass(frozen=True, slots=True)
class IntentView:
    """A living intent: until all of its jobs are over."""

    id: str
    pool: str
    kind: str
    state: IntentState
    since: float
    """when it came into this state"""
    tries: int
    """tasks that were enqueued for it"""
    host: str
    """where the scheduler was asked; of a local job, where it runs"""
    reason: str
    not_before: float
    """the scheduler was busy: leave it alone until then"""
    cancel_at: float
    """when the last cancel task was sent; 0: never"""
    cancels: int
    """cancel tasks that were sent"""
    jobs: tuple[JobView, ...]


@dataclass(frozen=True, slots=True)
class PoolView:
    """A pool with its work."""

    name: str
    kind: str
    limit: int
    slots: int
    ttl: float
    queued: int
    soon: int
    """delayed learners that are due soon"""
    deaths: int = 0
    """jobs that died young, one after another"""
    last_death: float = 0.0
    retry_at: float = 0.0
    """no new job before then"""
    circuit: str | None = None
    """why no job is submitted any more"""
    circuit_since: float | None = None
    wanted: int = 0
    """as last noted"""
    overlap: float = 0.0
    """a job whose walltime ends within it does not count into the limit"""
    last_call: float = 0.0
    """a job whose walltime ends within it leases nothing more"""


@dataclass(frozen=True, slots=True)
class Survey:
    """All that reconcile asks for, seen at one moment of Redis TIME."""

    now: float
    held: bool
    """no job is wanted, whatever the pools say"""
    pools: Mapping[str, PoolView]
    intents: tuple[IntentView, ...]
    old: tuple[str, ...] = ()
    """jobs to forget"""
    bulk: tuple[str, ...] = ()
    """runs with an action that is not finished"""


def survey(*, soon: float, old: float, keep: int) -> Call[Survey]:
    """See everything at one moment; ``soon``, ``old``: see `PoolView.soon` and `Survey.old`."""
    args = {"soon": round(soon * 1000), "old": round(old * 1000), "keep": keep}

    def parse(reply: Any) -> Survey:
        answer = json.loads(reply)
        return Survey(
            now=answer["now"] / 1000,
            held=answer["held"],
            pools={item["name"]: _pool_view(item) for item in answer["pools"]},
            intents=tuple(_intent_view(item) for item in answer["intents"]),
            old=tuple(answer["old"]),
            bulk=tuple(answer["bulk"]),
        )

    return Call("intent_survey", args, parse)


def _seconds(ms: str | None) -> float | None:
    return None if ms is None else int(ms) / 1000


def _pool_view(item: dict[str, Any]) -> PoolView:
    return PoolView(
        name=item["name"],
        kind=item["kind"],
        limit=int(item["limit"]),
        slots=int(item["slots"]),
        ttl=int(item["ttl"]) / 1000,
        queued=item["queued"],
        soon=item["soon"],
        deaths=int(item.get("deaths", 0)),
        last_death=_seconds(item.get("last_death")) or 0.0,
        retry_at=_seconds(item.get("retry_at")) or 0.0,
        circuit=item.get("circuit"),
        circuit_since=_seconds(item.get("circuit_since")),
        wanted=int(item.get("wanted", 0)),
        overlap=float(item.get("overlap", 0.0)),
        last_call=float(item.get("grace", 0.0)) + float(item.get("min_lease_time", 0.0)),
    )


def _intent_view(item: dict[str, Any]) -> IntentView:
    return IntentView(
        id=item["id"],
        pool=item["pool"],
        kind=item["kind"],
        state=item["state"],
        since=int(item["since"]) / 1000,
        tries=int(item["tries"]),
        host=item.get("host", ""),
        reason=item.get("reason", ""),
        not_before=_seconds(item.get("not_before")) or 0.0,
        cancel_at=_seconds(item.get("cancel_at")) or 0.0,
        cancels=int(item.get("cancels", 0)),
        jobs=tuple(_job_view(job) for job in item["jobs"]),
    )


def _job_view(item: dict[str, Any]) -> JobView:
    return JobView(
        id=item["id"],
        state=item["state"],
        nonce=item.get("nonce", ""),
        slots=int(item["slots"]),
        holds=item["holds"],
        acquired="acquired" in item,
        seen=float(item["seen"]) / 1000,
        started=_seconds(item.get("started")),
        ended=_seconds(item.get("ended")),
        scheduler_id=item.get("scheduler_id", ""),
        reason=item.get("reason", ""),
        wish=item.get("wish"),
        walltime_end=_seconds(item.get("walltime_end")),
    )

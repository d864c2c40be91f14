"""For whoever watches a fabric for days: what changed, in one round trip, and all of one learner in another.

Calls in the manner of calls.py; none of them writes. Times are Unix seconds of Redis TIME.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from .hashes import Fields, job_record, pool_record, run_status
from .records import JobRecord, Pointer, PoolRecord, RunStatus, pointer_from
from .scripts import Call
from .view import LearnerView, decode


class Happening(NamedTuple):
    """One entry of the events' stream: a state change, or (``event`` "asked") what somebody asked for.

    A tuple, because a thousand of them are made at once.
    """

    id: str
    at: float
    learner: str
    run: str
    event: str
    source: str
    target: str
    more: Fields
    """job, cause; of "asked": by, verb, target, count"""


@dataclass(frozen=True, slots=True)
class Board:
    """All but the learners, as the hashes lie in Redis."""

    meta: Fields = field(default_factory=dict)
    leader: Fields = field(default_factory=dict)
    runs: Mapping[str, tuple[Fields, Fields]] = field(default_factory=dict)
    """settings and counters of each, newest first"""
    pools: Mapping[str, tuple[Fields, int]] = field(default_factory=dict)
    """fields and queue's length of each"""
    jobs: Mapping[str, tuple[float, Fields, tuple[str, ...]]] = field(default_factory=dict)
    """last seen, fields and held learners of each, newest first"""
    intents: Mapping[str, Fields] = field(default_factory=dict)

    def run_statuses(self, now: float) -> list[RunStatus]:
        """How far each run is at ``now``, oldest first."""
        told = reversed(list(self.runs.items()))
        return [run_status(run, settings, counts, now) for run, (settings, counts) in told]

    def job_records(self) -> list[JobRecord]:
        """The jobs, oldest first."""
        return [
            job_record(job, fields, held, seen)
            for job, (seen, fields, held) in reversed(list(self.jobs.items()))
            if fields
        ]

    def pool_records(self) -> list[PoolRecord]:
        """The pools, oldest first."""
        return [pool_record(pool, fields, queued) for pool, (fields, queued) in self.pools.items() if fields]


@dataclass(frozen=True, slots=True)
class Watched:
    """Answer of `watch`."""

    now: float
    events: tuple[Happening, ...]
    """oldest first"""
    first: str
    """id of the oldest event that is kept, "" if there is none"""
    last: str
    views: Mapping[str, LearnerView | None]
    """None: there is no such learner any more"""
    older: tuple[Happening, ...]
    """newest first"""
    board: Board | None


def watch(
    after: str | None,
    *,
    count: int,
    seen: Sequence[str] = (),
    before: str | None = None,
    board: bool = True,
    jobs: int = 200,
) -> Call[Watched]:
    """What happened since the event ``after`` (None: the newest ``count`` events, without views); see lua/watch.lua."""
    args = {
        "after": after,
        "before": before,
        "count": count,
        "seen": list(seen),
        "board": board,
        "jobs": jobs,
    }

    def parse(reply: Any) -> Watched:
        now, events, first, last, views, older, told = reply
        return Watched(
            now=int(now) / 1000,
            events=tuple(_happening(*row) for row in events),
            first=first.decode(),
            last=last.decode(),
            views={
                id.decode(): decode(id.decode(), packed) if packed else None for id, packed in _pairs(views)
            },
            older=tuple(_happening(*row) for row in older),
            board=_board(told) if told else None,
        )

    return Call("watch", args, parse)


_SEPARATOR = b"\0"
"""Between texts that are decoded together, which is quicker than one by one."""


def _pairs(flat: Sequence[Any]) -> Iterator[tuple[Any, Any]]:
    return zip(flat[::2], flat[1::2], strict=True)


def _fields(flat: Sequence[bytes]) -> dict[str, str]:
    texts = _SEPARATOR.join(flat).decode(errors="replace").split("\0")
    if len(texts) != len(flat):  # a value holds what separates them
        texts = [text.decode(errors="replace") for text in flat]
    return dict(_pairs(texts))


def _happening(id: bytes, flat: Sequence[bytes]) -> Happening:
    more = _fields(flat)
    at, learner, run = more.pop("at"), more.pop("learner"), more.pop("run")
    event, source, target = more.pop("event"), more.pop("from"), more.pop("to")
    return Happening(id.decode(), int(at) / 1000, learner, run, event, source, target, more)


def _board(told: Sequence[Any]) -> Board:
    meta, leader, runs, pools, jobs, intents = told
    return Board(
        meta=_fields(meta),
        leader=_fields(leader),
        runs={runs[i].decode(): (_fields(runs[i + 1]), _fields(runs[i + 2])) for i in range(0, len(runs), 3)},
        pools={
            pools[i].decode(): (_fields(pools[i + 1]), int(pools[i + 2])) for i in range(0, len(pools), 3)
        },
        jobs={
            jobs[i].decode(): (
                float(jobs[i + 1]) / 1000,
                _fields(jobs[i + 2]),
                tuple(sorted(learner.decode() for learner in jobs[i + 3])),
            )
            for i in range(0, len(jobs), 4)
        },
        intents={intents[i].decode(): _fields(intents[i + 1]) for i in range(0, len(intents), 2)},
    )


@dataclass(frozen=True, slots=True)
class Inspected:
    """Answer of `inspect`: all of one learner."""

    now: float
    fields: Fields
    """as in its hash; empty: there is no such learner"""
    until: float | None
    """when its lease ends, unless renewed"""
    problem: str | None
    """JSON of its last error"""
    place: int | None
    """how many are before it in its queue"""
    queued: int
    """length of that queue"""
    batches: int
    """in its journal"""
    run: Fields
    job: Fields
    """of its holder"""

    @property
    def checkpoint(self) -> Pointer | None:
        """Its newest checkpoint."""
        return pointer_from(dict(self.fields), "checkpoint")


def inspect(learner: str) -> Call[Inspected]:
    """All that is known of one learner."""

    def parse(reply: Any) -> Inspected:
        now, fields, until, problem, place, queued, batches, run, job = reply
        return Inspected(
            now=int(now) / 1000,
            fields=_fields(fields),
            until=float(until) / 1000 if until else None,
            problem=problem.decode() if problem else None,
            place=None if place == b"" else int(place),
            queued=int(queued),
            batches=int(batches),
            run=_fields(run),
            job=_fields(job),
        )

    return Call("inspect", {"learner": learner}, parse)


# -- what users ask for ----------------------------------------------------------------------------------------------


def free_leases(leases: Sequence[tuple[str, int]]) -> Call[int]:
    """End these leases, each (learner, token), whoever holds them; at most `calls.PAGE`. Answers how many ended."""
    return Call("free_leases", {"learners": [list(lease) for lease in leases]}, int)


def kill_job(job: str, reason: str) -> Call[int]:
    """End a job at once; answers how many learners it gave back, -1: no such job, -2: it has ended."""
    return Call("kill_job", {"job": job, "reason": reason}, int)


def note_action(
    *, by: str, verb: str, target: str, count: int, run: str = "", learner: str = ""
) -> Call[None]:
    """Leave an event that says who asks for what."""
    args = {"by": by, "verb": verb, "target": target, "count": count, "run": run, "learner": learner}
    return Call("note_action", args, lambda _reply: None)

"""Records of runs, jobs and pools out of the hashes that lie in Redis, whoever read them. Nothing is asked here."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from typing import Final, cast

from .records import JobRecord, JobState, PoolRecord, RunState, RunStatus
from .states import STATES

Fields = Mapping[str, str]
"""A hash of Redis as text."""

RATE_MEMORY: Final = 30.0
"""Seconds over which the scripts let a rate of points decay (lua/_progress.lua)."""


def run_status(run: str, settings: Fields, counts: Fields, clock: float) -> RunStatus:
    """How far a run is at ``clock`` (Redis TIME, Unix seconds)."""
    by_state = {state: int(counts.get(state, 0)) for state in STATES if int(counts.get(state, 0))}
    total = int(settings["total"])
    whole = "adding" not in settings
    points = int(counts.get("points", 0))
    started = _seconds(settings.get("started"))
    still = max(0.0, clock - int(counts.get("rate_at", 0)) / 1000)
    rate = points_per_s(float(counts.get("rate", 0)), still=still, running=clock - (started or clock))
    state = run_state(by_state, whole=whole, paused="paused" in settings)
    return RunStatus(
        id=run,
        name=settings["name"],
        state=state,
        counts=by_state,
        total=total,
        points=points,
        points_per_s=round(rate, 2) if state in ("active", "paused") else 0.0,
        eta_s=_eta(by_state, total, clock, settings) if state == "active" else None,
        started=started,
        ended=_seconds(settings.get("ended")),
    )


def points_per_s(decayed: float, *, still: float, running: float) -> float:
    """The rate of points, from the decayed sum that the scripts keep.

    `still`: seconds since the sum was written. `running`: seconds since the run began; a young run's sum has not
    had the time to grow to its rate.
    """
    if running <= 0:
        return 0.0
    return decayed * math.exp(-still / RATE_MEMORY) / -math.expm1(-running / RATE_MEMORY)


def run_state(counts: Mapping[str, int], *, whole: bool, paused: bool) -> RunState:
    """The state of a run from the counts of its learners; ``whole``: all were added."""
    terminal = {state: counts.get(state, 0) for state in ("done", "failed", "quarantined", "cancelled")}
    if not whole or sum(counts.values()) > sum(terminal.values()):
        moving = sum(counts.get(state, 0) for state in ("queued", "leased", "delayed", "waiting"))
        return "paused" if paused or (counts.get("paused", 0) and not moving) else "active"
    if terminal["failed"] or terminal["quarantined"]:
        return "failed"
    return "cancelled" if terminal["cancelled"] else "done"


def _eta(counts: Mapping[str, int], total: int, clock: float, settings: Fields) -> float | None:
    """Learners that are left, at the pace since the run started; None before the first is done."""
    ended = sum(counts.get(state, 0) for state in ("done", "failed", "quarantined", "cancelled"))
    started = _seconds(settings.get("started"))
    if not counts.get("done") or started is None:
        return None
    return round((clock - started) / ended * (total - ended), 1)


def _seconds(ms: str | None) -> float | None:
    return None if ms is None else int(ms) / 1000


def job_record(job: str, fields: Fields, held: Iterable[str], seen: float) -> JobRecord:
    """A job that holds these learners; ``seen``: when it was last heard of, in Unix seconds."""
    return JobRecord(
        id=job,
        pool=fields["pool"],
        scheduler_id=fields.get("scheduler_id"),
        state=cast(JobState, fields["state"]),
        reason=fields.get("reason"),
        node=fields.get("node"),
        slots=int(fields.get("slots", 1)),
        learners=sorted(held),
        last_seen=seen if "nonce" in fields else None,
        walltime_end=_seconds(fields.get("walltime_end")),
    )


def pool_record(name: str, fields: Fields, queued: int) -> PoolRecord:
    """A pool, in whose queue so many learners wait."""
    return PoolRecord(
        name=name,
        kind=fields["kind"],
        spec=json.loads(fields["spec"]),
        limit=int(fields["limit"]),
        slots=int(fields["slots"]),
        ttl=int(fields["ttl"]) / 1000,
        queued=queued,
        leased=int(fields.get("leased", 0)),
        delayed=int(fields.get("delayed", 0)),
        circuit=fields.get("circuit"),
    )

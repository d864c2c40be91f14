"""What users look at: records read from Redis, never written. Many learners cost few round trips."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from typing import Any, Final, cast

from .broker import Broker
from .errors import NotFoundError
from .keys import learner_id
from .records import JobRecord, JobState, LearnerRecord, PoolRecord, RunState, RunStatus
from .states import STATES

_CHUNK: Final = 500
_LEARNER_FIELDS: Final = (
    "state",
    "run",
    "pool",
    "priority",
    "token",
    "holder",
    "attempts",
    "npoints",
    "loss",
    "checkpoint",
)
RATE_MEMORY: Final = 30.0
"""Seconds over which the scripts let a rate of points decay (lua/_progress.lua)."""


def _text(value: bytes | None) -> str | None:
    return None if value is None else value.decode()


def _hash(flat: dict[bytes, bytes]) -> dict[str, str]:
    return {field.decode(): value.decode() for field, value in flat.items()}


def now(broker: Broker) -> float:
    """Redis TIME, in Unix seconds: the clock that all deadlines and ages refer to."""
    seconds, micros = broker.redis.time()
    return seconds + micros / 1e6


# -- runs ---------------------------------------------------------------------------------------------------


def find_run(broker: Broker, name_or_id: str) -> str:
    """The id of the run with this name or id; NotFoundError."""
    by_name = cast("bytes | None", broker.redis.hget(broker.keys.run_names, name_or_id))
    if by_name is not None:
        return by_name.decode()
    if broker.redis.exists(broker.keys.run(name_or_id)):
        return name_or_id
    raise NotFoundError(f"no run {name_or_id!r} in fabric {broker.keys.name!r}; `fabric runs` lists them")


def run_ids(broker: Broker) -> list[str]:
    """All runs, oldest first."""
    return [run.decode() for run in cast(list[bytes], broker.redis.zrange(broker.keys.runs, 0, -1))]


def run_status(broker: Broker, run: str) -> RunStatus:
    """How far one run is; NotFoundError."""
    statuses = run_statuses(broker, [run])
    if not statuses:
        raise NotFoundError(f"no run {run!r} in fabric {broker.keys.name!r}; `fabric runs` lists them")
    return statuses[0]


def run_statuses(broker: Broker, runs: Sequence[str]) -> list[RunStatus]:
    """How far these runs are, in one round trip; unknown ids are left out."""
    pipe = broker.redis.pipeline(transaction=False)
    pipe.time()
    for run in runs:
        pipe.hgetall(broker.keys.run(run))
        pipe.hgetall(broker.keys.counts(run))
    answers: list[Any] = pipe.execute()
    clock = answers[0][0] + answers[0][1] / 1e6
    return [
        _run_status(run, _hash(answers[2 * i + 1]), _hash(answers[2 * i + 2]), clock)
        for i, run in enumerate(runs)
        if answers[2 * i + 1]
    ]


def _run_status(run: str, settings: dict[str, str], counts: dict[str, str], clock: float) -> RunStatus:
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


def run_state(counts: dict[str, int], *, whole: bool, paused: bool) -> RunState:
    """The state of a run from the counts of its learners; ``whole``: all were added."""
    terminal = {state: counts.get(state, 0) for state in ("done", "failed", "quarantined", "cancelled")}
    if not whole or sum(counts.values()) > sum(terminal.values()):
        moving = sum(counts.get(state, 0) for state in ("queued", "leased", "delayed", "waiting"))
        return "paused" if paused or (counts.get("paused", 0) and not moving) else "active"
    if terminal["failed"] or terminal["quarantined"]:
        return "failed"
    return "cancelled" if terminal["cancelled"] else "done"


def _eta(counts: dict[str, int], total: int, clock: float, settings: dict[str, str]) -> float | None:
    """Learners that are left, at the pace since the run started; None before the first is done."""
    ended = sum(counts.get(state, 0) for state in ("done", "failed", "quarantined", "cancelled"))
    started = _seconds(settings.get("started"))
    if not counts.get("done") or started is None:
        return None
    return round((clock - started) / ended * (total - ended), 1)


def _seconds(ms: str | None) -> float | None:
    return None if ms is None else int(ms) / 1000


# -- learners -----------------------------------------------------------------------------------------------


def learner_ids(broker: Broker, run: str) -> list[str]:
    """The ids of a run's learners, in order of submission; NotFoundError."""
    total = cast("bytes | None", broker.redis.hget(broker.keys.run(run), "total"))
    if total is None:
        raise NotFoundError(f"no run {run!r} in fabric {broker.keys.name!r}; `fabric runs` lists them")
    return [learner_id(run, index) for index in range(int(total))]


def learner_names(broker: Broker, ids: Sequence[str]) -> list[str]:
    """Their names, in the same order."""
    names: list[str] = []
    for start in range(0, len(ids), _CHUNK):
        page = [broker.keys.learner_name(learner) for learner in ids[start : start + _CHUNK]]
        names += [(name or b"").decode() for name in cast("list[bytes | None]", broker.redis.mget(page))]
    return names


def find_learner(broker: Broker, name_or_id: str, run: str | None = None) -> str:
    """The id of a learner given by id, or by name and run; NotFoundError."""
    if run is None:
        if broker.redis.exists(broker.keys.learner(name_or_id)):
            return name_or_id
        raise NotFoundError(f"no learner with the id {name_or_id!r}; for a name add --run RUN")
    ids = learner_ids(broker, run)
    names = learner_names(broker, ids)
    if name_or_id in names:
        return ids[names.index(name_or_id)]
    if name_or_id in ids:
        return name_or_id
    raise NotFoundError(f"no learner {name_or_id!r} in run {run}; `fabric learners {run}` lists them")


def learner_records(broker: Broker, ids: Sequence[str]) -> list[LearnerRecord]:
    """The records of these learners, `_CHUNK` a round trip; unknown ids are left out."""
    records: list[LearnerRecord] = []
    for start in range(0, len(ids), _CHUNK):
        page = ids[start : start + _CHUNK]
        pipe = broker.redis.pipeline(transaction=False)
        for learner in page:
            pipe.hmget(broker.keys.learner(learner), _LEARNER_FIELDS)
            pipe.zscore(broker.keys.leases, learner)
        pipe.mget([broker.keys.learner_name(learner) for learner in page])
        pipe.mget([broker.keys.error(learner) for learner in page])
        *fields, names, errors = pipe.execute()
        records += [
            _learner_record(learner, fields[2 * i], fields[2 * i + 1], names[i], errors[i])
            for i, learner in enumerate(page)
            if fields[2 * i][0] is not None
        ]
    return records


def _learner_record(
    learner: str, values: list[bytes | None], until: float | None, name: bytes | None, error: bytes | None
) -> LearnerRecord:
    field = {key: _text(value) for key, value in zip(_LEARNER_FIELDS, values, strict=True)}
    job, slot = None, None
    if field["holder"]:
        job, _, slot = field["holder"].split(":")
    return LearnerRecord(
        id=learner,
        name=_text(name) or "",
        run=field["run"] or "",
        pool=field["pool"] or "",
        state=field["state"] or "",
        priority=int(field["priority"] or 0),
        token=int(field["token"] or 0),
        job=job,
        slot=None if slot is None else int(slot),
        until=None if until is None else until / 1000,
        attempts=int(field["attempts"] or 0),
        npoints=int(field["npoints"] or 0),
        loss=None if field["loss"] is None else float(field["loss"]),
        checkpoint=field["checkpoint"],
        error=None if error is None else error_line(error),
    )


def learner_problem(broker: Broker, learner: str) -> dict[str, Any] | None:
    """All that is known of a learner's last error: type, text, traceback, point, node, signal, log."""
    error = cast("bytes | None", broker.redis.get(broker.keys.error(learner)))
    return None if error is None else cast(dict[str, Any], json.loads(error))


def error_line(error: bytes) -> str:
    """One line for a stored error."""
    problem: dict[str, Any] = json.loads(error)
    kind, text = problem.get("type", ""), str(problem.get("text", ""))
    return f"{kind}: {text}" if kind and text else kind or text


# -- jobs and pools -----------------------------------------------------------------------------------------


def job_records(broker: Broker, *, ended: bool = True) -> list[JobRecord]:
    """All jobs, oldest first; ``ended`` False leaves out those that are over."""
    scored = cast("list[tuple[bytes, float]]", broker.redis.zrange(broker.keys.jobs, 0, -1, withscores=True))
    pipe = broker.redis.pipeline(transaction=False)
    for job, _ in scored:
        pipe.hgetall(broker.keys.job(job.decode()))
        pipe.smembers(broker.keys.holds(job.decode()))
    answers: list[Any] = pipe.execute() if scored else []
    records = [
        _job_record(job.decode(), _hash(answers[2 * i]), answers[2 * i + 1], seen)
        for i, (job, seen) in enumerate(scored)
        if answers[2 * i]
    ]
    return [record for record in records if ended or record.state != "ended"]


def _job_record(job: str, fields: dict[str, str], held: Iterable[bytes], seen: float) -> JobRecord:
    return JobRecord(
        id=job,
        pool=fields["pool"],
        scheduler_id=fields.get("scheduler_id"),
        state=cast(JobState, fields["state"]),
        reason=fields.get("reason"),
        node=fields.get("node"),
        slots=int(fields.get("slots", 1)),
        learners=sorted(learner.decode() for learner in held),
        last_seen=seen / 1000 if "nonce" in fields else None,
        walltime_end=_seconds(fields.get("walltime_end")),
    )


def pool_names(broker: Broker) -> list[str]:
    """All pools, oldest first."""
    return [pool.decode() for pool in cast(list[bytes], broker.redis.zrange(broker.keys.pools, 0, -1))]


def pool_records(broker: Broker, names: Sequence[str] | None = None) -> list[PoolRecord]:
    """These pools (all by default), in one round trip; unknown names are left out."""
    wanted = pool_names(broker) if names is None else list(names)
    pipe = broker.redis.pipeline(transaction=False)
    for name in wanted:
        pipe.hgetall(broker.keys.pool(name))
        pipe.zcard(broker.keys.queue(name))
    answers: list[Any] = pipe.execute() if wanted else []
    return [
        _pool_record(name, _hash(answers[2 * i]), answers[2 * i + 1])
        for i, name in enumerate(wanted)
        if answers[2 * i]
    ]


def _pool_record(name: str, fields: dict[str, str], queued: int) -> PoolRecord:
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

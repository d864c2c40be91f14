"""What users look at: records read from Redis, never written. Many learners cost few round trips."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any, Final, cast

from .broker import Broker
from .errors import NotFoundError
from .hashes import job_record, pool_record
from .hashes import run_status as run_status_of
from .keys import learner_id
from .records import JobRecord, LearnerRecord, PoolRecord, RunStatus

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


def _text(value: bytes | None) -> str | None:
    return None if value is None else value.decode()


def _hash(flat: dict[bytes, bytes]) -> dict[str, str]:
    return {field.decode(): value.decode() for field, value in flat.items()}


def _texts(values: Iterable[bytes]) -> list[str]:
    return [value.decode() for value in values]


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
        run_status_of(run, _hash(answers[2 * i + 1]), _hash(answers[2 * i + 2]), clock)
        for i, run in enumerate(runs)
        if answers[2 * i + 1]
    ]


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
        job_record(job.decode(), _hash(answers[2 * i]), _texts(answers[2 * i + 1]), seen / 1000)
        for i, (job, seen) in enumerate(scored)
        if answers[2 * i]
    ]
    return [record for record in records if ended or record.state != "ended"]


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
        pool_record(name, _hash(answers[2 * i]), answers[2 * i + 1])
        for i, name in enumerate(wanted)
        if answers[2 * i]
    ]

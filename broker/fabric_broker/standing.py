"""Where one learner, run or job stands, beyond its record: what is asked when it does not run. Reads only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

from .broker import Broker
from .errors import NotFoundError
from .reads import job_records, learner_records, run_status
from .records import JobRecord, LearnerRecord, RunStatus


@dataclass(frozen=True, slots=True)
class LearnerStanding:
    """A learner with what decides when it runs; times in Unix seconds."""

    record: LearnerRecord
    run_name: str
    attempts_most: int
    """so many errors of its own fail it"""
    since: float
    """when it came into its state"""
    place: int | None = None
    """how many come before it in its pool's queue"""
    due: float | None = None
    """when a delayed one is queued again"""
    paused_by: str = ""
    """whoever paused it, or its run; "" if that is not known"""
    run_paused: bool = False
    command: str = ""
    """what its holder was asked for and has not done yet: "pause", "cancel" or "" """


@dataclass(frozen=True, slots=True)
class RunStanding:
    """A run with the pools that its learners are in."""

    status: RunStatus
    pools: tuple[str, ...]
    paused_by: str = ""
    adding: bool = False
    """its learners are still being added, or whoever added them died"""


@dataclass(frozen=True, slots=True)
class JobStanding:
    """A job with what was asked of it."""

    record: JobRecord
    wish: str = ""
    """it was asked to "drain" or to "cancel", or not: "" """
    wish_reason: str = ""
    acquired: bool = False
    """it held a learner at some time"""


def learner_standing(broker: Broker, learner: str) -> LearnerStanding:
    """Where a learner stands; NotFoundError."""
    records = learner_records(broker, [learner])
    if not records:
        raise NotFoundError(f"no learner {learner!r} in fabric {broker.keys.name!r}")
    (record,) = records
    pipe = broker.redis.pipeline(transaction=False)
    pipe.hmget(broker.keys.learner(learner), ["since", "paused_by", "command"])
    pipe.hmget(broker.keys.run(record.run), ["name", "attempts", "paused"])
    pipe.zrank(broker.keys.queue(record.pool), learner)
    pipe.zscore(broker.keys.delayed, learner)
    (since, paused_by, command), (name, attempts, paused), place, due = pipe.execute()
    return LearnerStanding(
        record=record,
        run_name=_text(name),
        attempts_most=int(attempts or 0),
        since=int(since or 0) / 1000,
        place=place,
        due=None if due is None else due / 1000,
        paused_by=_text(paused_by) or _who(paused),
        run_paused=paused is not None,
        command=_text(command).partition(":")[2],
    )


def run_standing(broker: Broker, run: str) -> RunStanding:
    """Where a run stands; NotFoundError."""
    status = run_status(broker, run)
    fields = cast(
        "list[bytes | None]",
        broker.redis.hmget(broker.keys.run(run), ["pool", "pools", "paused", "adding"]),
    )
    pool, pools, paused, adding = fields
    return RunStanding(status, tuple(_text(pools or pool).split()), _who(paused), adding=adding is not None)


def job_standing(broker: Broker, job: str) -> JobStanding:
    """Where a job stands; NotFoundError."""
    record = next((each for each in job_records(broker) if each.id == job), None)
    if record is None:
        raise NotFoundError(f"no job {job!r} in fabric {broker.keys.name!r}; `fabric jobs` lists them")
    fields = cast(
        "list[bytes | None]",
        broker.redis.hmget(broker.keys.job(job), ["wish", "wish_reason", "acquired"]),
    )
    wish, reason, acquired = fields
    return JobStanding(record, _text(wish), _text(reason), acquired is not None)


def _text(value: bytes | None) -> str:
    return "" if value is None else value.decode()


def _who(paused: bytes | None) -> str:
    """A run remembers who paused it, or only that it is."""
    return "" if paused in (None, b"1") else _text(paused)

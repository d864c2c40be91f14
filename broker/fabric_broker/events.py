"""The stream of events and the jobs' log lines, as records."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, cast

from .broker import Broker

LOG_LINES: Final = 2000
"""A job's log stream keeps about so many lines; the whole log is a file in the home's ``logs``."""


@dataclass(frozen=True, slots=True)
class Event:
    """One state change; ``at`` in Unix seconds of Redis TIME.

    An ``event`` "asked" is no change: it says what somebody asked for. Its ``source`` and ``target`` are empty, and
    so is ``learner`` (or ``run``) where it is about several.
    """

    id: str
    at: float
    learner: str
    run: str
    event: str
    source: str
    target: str
    job: str | None


@dataclass(frozen=True, slots=True)
class LogLine:
    """One line of a job's log; ``time`` in Unix seconds of Redis TIME."""

    id: str
    time: float
    job: str
    learner: str | None
    text: str


def read_events(broker: Broker, after: str = "-", count: int | None = None) -> list[Event]:
    """Events, oldest first; ``after``: the id of the last one seen ("-": from the beginning kept)."""
    start = after if after == "-" else f"({after}"
    rows = cast(Any, broker.redis.xrange(broker.keys.events, min=start, max="+", count=count))
    return [_event(id.decode(), {k.decode(): v.decode() for k, v in fields.items()}) for id, fields in rows]


def _event(id: str, fields: dict[str, str]) -> Event:
    return Event(
        id,
        int(fields["at"]) / 1000,
        fields["learner"],
        fields["run"],
        fields["event"],
        fields["from"],
        fields["to"],
        fields.get("job"),
    )


def log_fields(learner: str | None, text: str) -> dict[str, str]:
    """The stream fields of a log line."""
    return {"text": text} if learner is None else {"text": text, "learner": learner}


def read_log(broker: Broker, jobs: Sequence[str], *, learner: str | None = None) -> list[LogLine]:
    """The kept lines of these jobs by time; with ``learner`` only those that speak of it."""
    pipe = broker.redis.pipeline(transaction=False)
    for job in jobs:
        pipe.xrange(broker.keys.log(job))
    lines: list[LogLine] = []
    for job, rows in zip(jobs, pipe.execute() if jobs else [], strict=True):
        for id, fields in rows:
            owner = fields.get(b"learner")
            line = LogLine(
                id.decode(),
                int(id.split(b"-")[0]) / 1000,
                job,
                None if owner is None else owner.decode(),
                fields[b"text"].decode(errors="replace"),
            )
            if learner is None or line.learner == learner:
                lines.append(line)
    return sorted(lines, key=lambda line: (line.time, line.id))

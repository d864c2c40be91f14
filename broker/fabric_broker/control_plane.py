"""The control plane as RQ keeps it in Redis, read without rq (which reads its key prefix when it is imported).

Tasks' calls are pickled and are never looked at; what is shown is the text that RQ keeps beside them.
"""

from __future__ import annotations

import base64
import binascii
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal, cast

from .scripts import Call

TaskKind = Literal["running", "waiting", "failed"]


def rq_prefix(fabric: str) -> str:
    """What RQ's keys of this fabric begin with; agents have no rights there."""
    return f"fabric-rq:{{{fabric}}}"


@dataclass(frozen=True, slots=True)
class TaskQueue:
    """One RQ queue: how many tasks wait, run and failed."""

    name: str
    waiting: int
    running: int
    failed: int


@dataclass(frozen=True, slots=True)
class Task:
    """One RQ task; times in Unix seconds of the worker's clock."""

    id: str
    kind: TaskKind
    status: str
    description: str
    created: float | None
    started: float | None
    ended: float | None
    traceback: str


@dataclass(frozen=True, slots=True)
class ControlPlane:
    """All queues, and their tasks: running, waiting, failed."""

    queues: tuple[TaskQueue, ...]
    tasks: tuple[Task, ...]


def inspect_tasks(fabric: str, *, most: int = 50) -> Call[ControlPlane]:
    """The control plane of a fabric, at most ``most`` tasks of each kind and queue."""

    def parse(reply: Any) -> ControlPlane:
        queues, tasks = reply
        return ControlPlane(
            tuple(TaskQueue(name.decode(), *(int(n) for n in counts)) for name, *counts in queues),
            tuple(_task(*each) for each in tasks),
        )

    return Call("inspect_tasks", {"prefix": rq_prefix(fabric), "most": most}, parse)


def _task(kind: bytes, id: bytes, texts: Sequence[bytes], raw: bytes, told: bytes) -> Task:
    status, description, created, started, ended = (text.decode(errors="replace") for text in texts)
    return Task(
        id=id.decode(errors="replace"),
        kind=cast(TaskKind, kind.decode()),
        status=status,
        description=description,
        created=_time(created),
        started=_time(started),
        ended=_time(ended),
        traceback=_traceback(raw, told),
    )


def _traceback(raw: bytes, told: bytes) -> str:
    """RQ keeps it compressed: in the task's hash, or in base64 in the stream of its results."""
    try:
        packed = raw or base64.b64decode(told)
        return zlib.decompress(packed).decode(errors="replace") if packed else ""
    except (zlib.error, binascii.Error):
        return raw.decode(errors="replace")


def _time(text: str) -> float | None:
    """RQ writes 2026-01-31T12:00:00.000000Z."""
    try:
        return datetime.fromisoformat(text).astimezone(UTC).timestamp() if text else None
    except ValueError:
        return None

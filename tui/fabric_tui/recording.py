"""Recordings: every update with its time, a line of JSON each, for demos, bug reports and tests that repeat exactly.

A recording holds names, losses, tracebacks and log lines of the fabric, and neither passwords nor pickled bytes.
"""

from __future__ import annotations

import gzip
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final, Literal, TextIO, cast

from fabric_broker.control_plane import ControlPlane, Task, TaskQueue
from fabric_broker.errors import FabricError, UsageError
from fabric_broker.scripts import Call
from fabric_broker.view import LearnerView
from fabric_broker.watch import Board, Happening, Inspected, Watched

from .asking import Ask
from .updates import LogLines, LogText, Names, Resync, Seen, Snapshot, Trouble, Update

FORMAT: Final = 1


class RecordingError(FabricError):
    """A recording cannot be read or written."""


# -- to and from JSON ------------------------------------------------------------------------------------------------

_KINDS: Final[Mapping[str, type]] = {
    "snapshot": Snapshot,
    "tick": Watched,
    "resync": Resync,
    "names": Names,
    "seen": Seen,
    "log": LogLines,
    "control": ControlPlane,
    "trouble": Trouble,
}
_NAMES: Final = {kind: name for name, kind in _KINDS.items()}


def to_json(update: Update) -> dict[str, Any]:
    """An update as JSON; learners as short lists, for there are many."""
    body = {field: getattr(update, field) for field in update.__slots__}
    for field, value in body.items():
        if field == "views":
            body[field] = {id: None if view is None else list(view[1:]) for id, view in value.items()}
        elif field == "inspected" or (field == "board" and value is not None):
            body[field] = asdict(value)
        elif field in ("events", "older"):
            body[field] = [each._asdict() for each in value]
        elif field in ("lines", "queues", "tasks"):
            body[field] = [asdict(each) for each in value]
    return {
        "kind": _NAMES[type(update)],
        **{k: v for k, v in body.items() if k != "kind"},
        **_kind_of(update),
    }


def _kind_of(update: Update) -> dict[str, Any]:
    # A trouble has a field named kind, too.
    return {"trouble": update.kind} if isinstance(update, Trouble) else {}


def from_json(told: Mapping[str, Any]) -> Update:
    """The update in one line of a recording; RecordingError."""
    body = dict(told)
    try:
        kind = body.pop("kind")
        if kind == "trouble":
            body["kind"] = body.pop("trouble")
        for field, read in _READ.items():
            if field in body:
                body[field] = read(body[field])
        update: Update = _KINDS[kind](**body)
    except (KeyError, TypeError, ValueError) as error:
        raise RecordingError(
            f"a line of the recording cannot be read ({error!r}); another release wrote it"
        ) from error
    return update


def _views(told: Mapping[str, Any]) -> dict[str, LearnerView | None]:
    return {id: None if fields is None else LearnerView(id, *fields) for id, fields in told.items()}


def _events(told: Sequence[Mapping[str, Any]]) -> tuple[Happening, ...]:
    return tuple(Happening(**event) for event in told)


def _board(told: Mapping[str, Any] | None) -> Board | None:
    if told is None:
        return None
    return Board(
        meta=told["meta"],
        leader=told["leader"],
        runs={run: (settings, counts) for run, (settings, counts) in told["runs"].items()},
        pools={pool: (fields, queued) for pool, (fields, queued) in told["pools"].items()},
        jobs={job: (seen, fields, tuple(holds)) for job, (seen, fields, holds) in told["jobs"].items()},
        intents=told["intents"],
    )


_READ: Final[Mapping[str, Callable[[Any], Any]]] = {
    "views": _views,
    "events": _events,
    "older": _events,
    "board": _board,
    "inspected": lambda told: Inspected(**told),
    "lines": lambda told: tuple(LogText(**line) for line in told),
    "queues": lambda told: tuple(TaskQueue(**queue) for queue in told),
    "tasks": lambda told: tuple(Task(**task) for task in told),
}


# -- writing ---------------------------------------------------------------------------------------------------------


class Recorder:
    """Writes updates to a file (``.gz``: compressed), a line each; the file is whole after every line."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._began = time.monotonic()
        try:
            self._file: TextIO = _open(path, "w")
            self._write({"format": FORMAT})
        except OSError as error:
            raise RecordingError(f"cannot write the recording {path}: {error.strerror}") from error

    def note(self, updates: Sequence[Update]) -> None:
        """Write what came now; RecordingError when the disk is full."""
        at = round(time.monotonic() - self._began, 3)
        try:
            for update in updates:
                self._write({"at": at, **to_json(update)})
        except OSError as error:
            raise RecordingError(f"cannot write the recording {self._path}: {error.strerror}") from error

    def close(self) -> None:
        """No more."""
        self._file.close()

    def _write(self, line: Mapping[str, Any]) -> None:
        self._file.write(json.dumps(line, separators=(",", ":")) + "\n")
        self._file.flush()


def _open(path: Path, mode: Literal["r", "w"]) -> TextIO:
    if path.suffix == ".gz":
        return cast(TextIO, gzip.open(path, f"{mode}t", encoding="utf-8"))
    return cast(TextIO, path.open(mode, encoding="utf-8"))


# -- playing ---------------------------------------------------------------------------------------------------------


def read_recording(path: Path) -> list[tuple[float, Update]]:
    """All updates of a recording with their times; RecordingError, UsageError."""
    found: list[tuple[float, Update]] = []
    try:
        with _open(path, "r") as file:
            head = json.loads(file.readline() or "{}")
            if not isinstance(head, dict) or head.get("format") != FORMAT:
                raise UsageError(f"{path} is no recording of this release")
            for line in file:
                told = json.loads(line)
                found.append((told.pop("at"), from_json(told)))
    except FileNotFoundError as error:
        raise UsageError(f"there is no recording {path}") from error
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise RecordingError(f"cannot read the recording {path}: {error}") from error
    except ValueError as error:
        if isinstance(error, UsageError):
            raise
        # The program that recorded was killed in the middle of a line.
        if not found:
            raise UsageError(f"{path} is no recording: {error}") from error
    return found


class ReplaySource:
    """Plays a recording with its own pace; what was asked for then is shown now, as far as it was asked for.

    ``upto`` (s) stops the time there, and everything before comes at once: what tests and screenshots need.
    """

    address = "recording"

    def __init__(self, path: Path, *, upto: float | None = None) -> None:
        self._updates = read_recording(path)
        if not any(isinstance(update, Snapshot) for _, update in self._updates):
            raise UsageError(f"{path} holds nothing but its head")
        self._upto = upto
        self._next = 0
        self._began = time.monotonic()

    async def glance(self) -> None:
        """The whole of it is at hand."""

    async def snapshot(self) -> list[Update]:
        """The first moment of the recording (with ``upto``: everything before it)."""
        first = next(i for i, (_, update) in enumerate(self._updates) if isinstance(update, Snapshot))
        self._began = time.monotonic() - self._updates[first][0]
        self._next = first
        return self._due(at_least=first + 1)

    async def tick(self, ask: Ask) -> list[Update] | None:  # noqa: ARG002 - what was recorded is all there is
        """What was recorded since."""
        due = self._due()
        return due or [Names({})]

    async def do(self, calls: Sequence[Call[Any]]) -> list[Any]:  # noqa: ARG002
        """A recording cannot be acted on."""
        raise RecordingError("this is a recording; nothing was asked for")

    async def close(self) -> None:
        """Nothing is open."""

    def _due(self, at_least: int = 0) -> list[Update]:
        now = self._upto if self._upto is not None else time.monotonic() - self._began
        due: list[Update] = []
        while self._next < len(self._updates):
            at, update = self._updates[self._next]
            if at > now and self._next >= at_least:
                break
            due.append(update)
            self._next += 1
        return due

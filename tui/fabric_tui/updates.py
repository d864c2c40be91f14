"""What a source of data tells the model: plain records, so that they can be written to a file and played again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from fabric_broker.control_plane import ControlPlane
from fabric_broker.view import LearnerView
from fabric_broker.watch import Board, Happening, Inspected, Watched

TroubleKind = Literal["unreachable", "password", "schema", "other"]


@dataclass(frozen=True, slots=True)
class Glance:
    """A fabric in numbers, before its learners are read: for the very first frame. A snapshot follows."""

    now: float
    address: str
    fabric: str
    board: Board
    events: tuple[Happening, ...]
    """the newest, oldest first"""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything at one moment; what follows are changes."""

    now: float
    address: str
    fabric: str
    views: Mapping[str, LearnerView]
    board: Board
    events: tuple[Happening, ...]
    """the newest, oldest first"""
    last: str
    """id of the last event that may be contained"""


@dataclass(frozen=True, slots=True)
class Resync:
    """All learners again: whoever is not in it is gone."""

    views: Mapping[str, LearnerView]


@dataclass(frozen=True, slots=True)
class Names:
    """Names of learners; they never change."""

    names: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Seen:
    """All of one learner."""

    learner: str
    inspected: Inspected


@dataclass(frozen=True, slots=True)
class LogText:
    """One line of a job's log."""

    id: str
    at: float
    learner: str
    text: str


@dataclass(frozen=True, slots=True)
class LogLines:
    """New lines of a job's log, oldest first; ``fresh``: those that were there before are not followed on."""

    job: str
    lines: tuple[LogText, ...]
    fresh: bool


@dataclass(frozen=True, slots=True)
class Trouble:
    """The source cannot be read; it is tried again ``wait`` seconds from now."""

    kind: TroubleKind
    text: str
    attempt: int
    wait: float


Update = Glance | Snapshot | Watched | Resync | Names | Seen | LogLines | ControlPlane | Trouble

"""What the crew wants done to slot processes, files and the log, and what it is told of a death."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Fork:
    """Start slot process ``serial``; it serves one run."""

    serial: int
    slot: int


@dataclass(frozen=True, slots=True)
class Tell:
    """Write a frame to a slot process."""

    serial: int
    frame: bytes


@dataclass(frozen=True, slots=True)
class Kill:
    """Kill a slot process."""

    serial: int


@dataclass(frozen=True, slots=True)
class Remove:
    """Remove a checkpoint file that nobody needs any more, but not before ``due``."""

    store: str
    path: str
    """relative to the store"""
    due: float


@dataclass(frozen=True, slots=True)
class Say:
    """A line for the log."""

    text: str
    learner: str | None = None


Order = Fork | Tell | Kill | Remove | Say


@dataclass(frozen=True, slots=True)
class Death:
    """How a slot process ended: "was killed by SIGSEGV", the signal's name if it was one, its last lines."""

    how: str
    signal: str | None = None
    log: Sequence[str] = ()
    began: bool = True
    """False: it could not even be started, which says nothing of the learner it was for"""

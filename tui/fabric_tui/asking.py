"""What the screens want to know at this moment, asked of the source at each tick."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Ask:
    """What is looked at beyond what everybody needs. A source spends two commands at most on it."""

    seen: tuple[str, ...] = ()
    """learners on the screen: their points change without an event"""
    learner: str | None = None
    """shown in detail"""
    log: str | None = None
    """the job whose log is followed"""
    log_after: str | None = None
    """id of the last line that is known"""
    control: bool = False
    """the control plane is shown"""
    before: str | None = None
    """read one more page of events back from this id"""
    nameless: Sequence[str] = ()
    """learners whose name is not known yet"""

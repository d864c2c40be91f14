"""The packed record of a learner in the hash `view`: what whoever shows many learners at once reads.

It is written by ``show()`` in lua/_move.lua; with about 70 bytes each, ten thousand cost one command.
"""

from __future__ import annotations

from sys import intern
from typing import NamedTuple

from .errors import BrokerError


class LearnerView(NamedTuple):
    """One learner at a glance; a tuple, because ten thousand of them are made at once."""

    id: str
    state: str
    run: str
    pool: str
    priority: int
    npoints: int
    loss: float | None
    token: int
    job: str | None
    """who holds it"""
    slot: int | None
    attempts: int
    since: float
    """when it came into this state, in Unix seconds of Redis TIME"""


def decode(learner: str, packed: bytes) -> LearnerView:
    """The record of ``learner``; BrokerError if the bytes are none."""
    try:
        state, run, pool, priority, npoints, loss, token, job, slot, attempts, since = packed.decode().split(
            " "
        )
        return LearnerView(
            learner,
            intern(state),
            intern(run),
            intern(pool),
            int(priority),
            int(npoints),
            None if loss == "-" else float(loss),
            int(token),
            None if job == "-" else intern(job),
            None if slot == "-" else int(slot),
            int(attempts),
            int(since) / 1000,
        )
    except ValueError as error:
        raise BrokerError(
            f"the view of {learner} is {packed[:80]!r}, which this release did not write"
        ) from error

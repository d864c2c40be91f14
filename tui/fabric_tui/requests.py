"""What the user asked for and the broker has not confirmed yet: shown as "requested" until it has."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from fabric_broker.records import JobRecord, PoolRecord
from fabric_broker.states import TERMINAL
from fabric_broker.view import LearnerView


@dataclass(frozen=True, slots=True)
class Requested:
    """One wish for one thing."""

    verb: str
    token: int = 0
    """of the lease at that time (release lease)"""
    number: int | None = None
    """the priority, or the number of jobs"""


class Requests:
    """What is asked for, by id of learner, job and pool."""

    def __init__(self) -> None:
        self._learners: dict[str, Requested] = {}
        self._jobs: dict[str, Requested] = {}
        self._pools: dict[str, Requested] = {}

    def ask(self, target: Literal["learner", "job", "pool"], id: str, requested: Requested) -> None:
        """Something was asked for."""
        {"learner": self._learners, "job": self._jobs, "pool": self._pools}[target][id] = requested

    def withdraw(self, ids: list[str]) -> None:
        """It could not be asked for, or changed nothing."""
        for id in ids:
            for asked in (self._learners, self._jobs, self._pools):
                asked.pop(id, None)

    def of(self, id: str) -> Requested | None:
        """What is asked for a learner, job or pool."""
        return self._learners.get(id) or self._jobs.get(id) or self._pools.get(id)

    def learners(self) -> list[str]:
        """Learners that something is asked for."""
        return list(self._learners)

    def jobs(self) -> list[str]:
        """Jobs that something is asked for."""
        return list(self._jobs)

    def pools(self) -> list[str]:
        """Pools that something is asked for."""
        return list(self._pools)

    def settle_learner(self, id: str, view: LearnerView | None) -> None:
        """Its record changed: drop what is fulfilled by that."""
        asked = self._learners.get(id)
        if asked is not None and (view is None or _learner_did(asked, view)):
            del self._learners[id]

    def settle_job(self, id: str, job: JobRecord | None) -> None:
        """As `settle_learner`."""
        asked = self._jobs.get(id)
        going = ("ended",) if asked is not None and asked.verb == "kill" else ("draining", "ended")
        if asked is not None and (job is None or job.state in going):
            del self._jobs[id]

    def settle_pool(self, id: str, pool: PoolRecord | None) -> None:
        """As `settle_learner`."""
        asked = self._pools.get(id)
        if asked is None:
            return
        done = pool is None or (pool.circuit is None if asked.verb == "close" else pool.limit == asked.number)
        if done:
            del self._pools[id]


def _learner_did(asked: Requested, view: LearnerView) -> bool:
    if asked.verb == "retry":
        return view.state not in TERMINAL
    if asked.verb == "pause":
        return view.state == "paused" or view.state in TERMINAL
    if asked.verb == "resume":
        return view.state != "paused"
    if asked.verb == "cancel":
        return view.state in TERMINAL
    if asked.verb == "release":
        return view.state != "leased" or view.token != asked.token
    return view.priority == asked.number

"""What a probe tells: a job that leases no learner, and says from its node whether it could."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from .broker import Broker

PROBE_VARIABLE: Final = "FABRIC_PROBE"
"""In the environment of an agent that is to be a probe."""
KEPT_S: Final = 600
"""So long a report stays, should nobody read it."""


@dataclass(frozen=True, slots=True)
class Report:
    """What a job found on its node."""

    node: str
    python: str
    """the interpreter and its version"""
    troubles: tuple[str, ...] = ()
    """what a learner would have stumbled over, one line each"""

    @classmethod
    def from_json(cls, text: bytes) -> Report:
        """Read what `phone_home` wrote; raises ValueError or TypeError for anything else."""
        values = json.loads(text)
        return cls(str(values["node"]), str(values["python"]), tuple(map(str, values["troubles"])))


def phone_home(broker: Broker, job: str, report: Report) -> None:
    """Leave a report."""
    broker.redis.set(broker.keys.probe(job), json.dumps(asdict(report)), ex=KEPT_S)


def heard(broker: Broker, jobs: Sequence[str]) -> dict[str, Report]:
    """Return the reports of those jobs that have phoned home."""
    if not jobs:
        return {}
    found: Any = broker.redis.mget([broker.keys.probe(job) for job in jobs])
    return {job: Report.from_json(text) for job, text in zip(jobs, found, strict=True) if text is not None}


def forget(broker: Broker, jobs: Sequence[str]) -> None:
    """Drop their reports."""
    if jobs:
        broker.redis.delete(*[broker.keys.probe(job) for job in jobs])

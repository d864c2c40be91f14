"""Who was the holder of what when: by the fabric's events and claims, against what the evaluated functions logged."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.system.processes import Evaluation

from adaptive_fabric import Fabric, Run
from fabric_broker.events import Event, read_events

ROUNDING = 0.005
"""s: events are told in whole milliseconds."""


@dataclass(frozen=True)
class Claim:
    """From when on which copy of a job is the job."""

    at: float
    copy: str
    agent: int
    """pid"""


@dataclass(frozen=True)
class Lease:
    learner: str
    job: str
    copy: str
    began: float
    ended: float


def claim(fabric: Fabric, job: str) -> Claim:
    """The claim of the copy that counts now; its agent lives."""
    pid, started = fabric.broker.redis.hmget(fabric.broker.keys.job(job), "pid", "started")
    assert pid is not None
    assert started is not None
    for item in Path(f"/proc/{int(pid)}/environ").read_bytes().split(b"\0"):
        name, _, value = item.partition(b"=")
        if name == b"FABRIC_JOB_TAG":
            return Claim(int(started) / 1000, value.decode(), int(pid))
    raise AssertionError(f"the agent of {job} carries no tag")


def leases(run: Run, claims: Mapping[str, Sequence[Claim]]) -> list[Lease]:
    """All leases of a run that is over; ``claims`` in order, by job."""
    names = {record.id: record.name for record in run.learners()}
    began: dict[str, Event] = {}
    found = []
    for event in read_events(run.broker):
        if event.run != run.id:
            continue
        if event.source == "leased":
            start = began.pop(event.learner)
            assert start.job is not None
            copy = [each.copy for each in claims[start.job] if each.at <= start.at][-1]
            found.append(Lease(names[event.learner], start.job, copy, start.at, event.at))
        if event.target == "leased":
            began[event.learner] = event
    assert not began
    return found


def lease_of(evaluation: Evaluation, held: Iterable[Lease]) -> Lease | None:
    """The lease under which it was finished; None: whoever made it was not the holder (any more)."""
    for lease in held:
        if (lease.learner, lease.job, lease.copy) == (
            evaluation.learner,
            evaluation.job,
            evaluation.copy,
        ) and (lease.began - ROUNDING <= evaluation.finished <= lease.ended + ROUNDING):
            return lease
    return None


def evaluated_again(
    log: Iterable[Evaluation], held: Sequence[Lease], older: float = 1.0
) -> tuple[list[Evaluation], list[Evaluation]]:
    """What broke the rule, and what was made by somebody who was not the holder.

    The rule: an evaluation that the holder of its learner finished ``older`` s or more before it lost the lease is
    not made again by any later holder.
    """
    kept: dict[tuple[str, str], Evaluation] = {}
    broken, strays = [], []
    for evaluation in sorted(log, key=lambda each: each.finished):
        lease = lease_of(evaluation, held)
        if lease is None:
            strays.append(evaluation)
            continue
        key = (evaluation.learner, evaluation.x)
        if key in kept:
            broken.append(evaluation)
        if lease.ended - evaluation.finished >= older:
            kept.setdefault(key, evaluation)
    return broken, strays

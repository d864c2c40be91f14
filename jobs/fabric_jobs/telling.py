"""The calls by which an agent tells Redis about a lease: points, checkpoints, the end. Pure; it signs the points."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from fabric_broker import calls
from fabric_broker.journal import Batch as Entry
from fabric_broker.records import Holder
from fabric_broker.scripts import Call
from fabric_broker.signing import Signer

from .held import Done, Held, Raised, Saved, Step
from .points import Batch


@dataclass(frozen=True, slots=True)
class Identity:
    """Which agent process this is; a restarted or requeued job has another nonce or a higher restart count."""

    job: str
    nonce: str
    restart: int
    node: str
    pid: int
    scheduler_id: str | None = None
    walltime_end: float | None = None
    """when the scheduler ends the job, Unix seconds; None: not known"""

    def claim(self) -> Call[calls.Claimed]:
        """The first call: be the one copy of this job that counts."""
        return calls.claim(
            self.job,
            nonce=self.nonce,
            restart=self.restart,
            node=self.node,
            pid=self.pid,
            scheduler_id=self.scheduler_id,
            walltime_end=self.walltime_end,
        )


def tell(me: Identity, signer: Signer, held: Held, step: Step) -> Call[Any]:
    """The call that tells Redis of one step of a lease."""
    lease = held.lease
    holder = Holder(me.job, me.nonce, lease.slot)
    if isinstance(step, Batch):
        return _journal(signer, held, holder, step)
    if isinstance(step, Saved):
        return calls.commit(
            holder,
            lease.learner,
            step.pointer,
            npoints=step.npoints,
            loss=step.loss,
            damaged=step.damaged,
        )
    if isinstance(step, Done):
        return calls.complete(holder, lease.learner, lease.token, npoints=step.npoints, loss=step.loss)
    if isinstance(step, Raised):
        return calls.fail(holder, lease.learner, lease.token, step.problem)
    return calls.release(
        holder, lease.learner, lease.token, event=step.event, problem=step.problem, began=step.began
    )


def _journal(signer: Signer, held: Held, holder: Holder, batch: Batch) -> Call[calls.Journaled]:
    lease = held.lease
    blob = signer.sign(
        "journal", batch.frames, learner=lease.learner, token=lease.token, sequence=batch.first
    )
    entry = Entry(lease.token, batch.first, batch.last, blob)
    return calls.journal(holder, lease.learner, entry, points=batch.last - batch.first + 1, loss=held.loss)

"""What an agent knows about one lease: which points Redis has, which it must be sent, what comes after them.

Pure: no clock, no IO. Whoever talks to Redis asks `Held.to_send`, sends that in order, and hands each answer in.
Nothing remembers what is in flight: a lost answer changes nothing here, so what it was about is sent again, and
Redis says ALREADY where it was done before.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Literal

from fabric_broker.calls import Committed, Journaled, Known
from fabric_broker.records import Lease, Outcome, Pointer

from .points import Batch, Points, Window

BATCH_BYTES: Final = 1 << 20
"""A journal batch is not larger, unless a single point is."""
UNSENT_BYTES: Final = 4 << 20
"""So much a lease may buffer that Redis does not have; then its slot's channel is left alone until it does."""
KEPT_BYTES: Final = 2 << 20
"""So much is kept that Redis has but no two checkpoints cover, in case Redis loses its last seconds."""


@dataclass(frozen=True, slots=True)
class Saved:
    """A checkpoint whose file is safe in the store."""

    pointer: Pointer
    npoints: int
    loss: float | None
    damaged: bool = False
    """the newest checkpoint before it could not be used"""


@dataclass(frozen=True, slots=True)
class Done:
    """The goal is reached and the last checkpoint saved."""

    npoints: int
    loss: float | None


@dataclass(frozen=True, slots=True)
class Raised:
    """The learner's own error ended the lease."""

    problem: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Released:
    """The lease is given back without fault of the learner."""

    event: Literal["release", "died"]
    problem: dict[str, Any] | None = None
    began: bool = True
    """False: no slot ever worked on it (it was taken ahead, or stopped before its data had come)"""


Ending = Done | Raised | Released
Step = Batch | Saved | Done | Raised | Released
"""One thing to send: points, a checkpoint's pointer, or the end."""


class Held:
    """A lease from its acquire to the answer that it is over."""

    def __init__(self, lease: Lease) -> None:
        self.lease = lease
        self.acked = lease.seq
        """The highest sequence that Redis has, as of its last answer."""
        self.echoed = 0
        """Number of the last command that was taken."""
        self.loss: float | None = None
        """As the slot told it last."""
        self.store = ""
        """Where its checkpoints lie."""
        self.committed_at = 0.0
        """When Redis last took a checkpoint, by the caller's clock."""
        self.ending: Ending | None = None
        self.fenced = False
        """Somebody else holds the learner: nothing is sent any more."""
        self.over = False
        """Redis knows that the lease ended."""
        self._window = Window(lease.seq)
        self._to_commit: list[Saved] = []
        self._committed: list[Saved] = []  # in this lease, the last two

    # -- from the slot -----------------------------------------------------------------------------------------------

    def add(self, points: Points) -> None:
        """The slot finished points."""
        if not self.fenced:
            self._window.add(points)

    def save(self, saved: Saved) -> None:
        """The slot saved a checkpoint."""
        if not self.fenced:
            self._to_commit.append(saved)

    def end(self, ending: Ending) -> None:
        """The slot is done with the lease; the first ending counts."""
        if self.ending is None:
            self.ending = ending

    # -- to Redis ----------------------------------------------------------------------------------------------------

    @property
    def last(self) -> int:
        """The sequence of the newest point."""
        return self._window.last

    @property
    def unsent_bytes(self) -> int:
        """Bytes of points that Redis does not have, as far as we know."""
        return self._window.bytes_after(self.acked)

    @property
    def is_full(self) -> bool:
        """Whether no more points should be taken in, so that evaluation pauses."""
        return self.unsent_bytes >= UNSENT_BYTES

    @property
    def is_urgent(self) -> bool:
        """Whether its end waits to be told: users and other jobs may be waiting for that."""
        return not self.fenced and self.ending is not None

    @property
    def needs_save(self) -> bool:
        """Whether Redis lost points that are no longer kept here: only a new checkpoint can cover them."""
        covered = max((saved.pointer.upto for saved in self._to_commit), default=self.acked)
        return not self.fenced and covered < self._window.base

    def to_send(self) -> list[Step]:
        """Everything that Redis should be told now, in this order.

        The end comes last, and only when nothing can be lost by it: all points are known to be in Redis, or a
        checkpoint sent before covers them. (Scripts that free pass where memory is full, the journal does not.)
        """
        if self.fenced or self.over:
            return []
        steps: list[Step] = []
        reached, covered, journaled = self.acked, self.acked, False
        for saved in self._to_commit:
            if reached >= self._window.base and not journaled:
                steps += self._window.after(reached, BATCH_BYTES)
                journaled = True
            steps.append(saved)
            covered = max(covered, saved.pointer.upto)
            reached = max(reached, covered)
        if not journaled and reached >= self._window.base:
            steps += self._window.after(reached, BATCH_BYTES)
        if self.ending is not None and (covered >= self.last or self.needs_save):
            steps.append(self.ending)
        return steps

    # -- from Redis --------------------------------------------------------------------------------------------------

    def journaled(self, answer: Journaled) -> None:
        """The journal answered; whatever it says, it says how far Redis is."""
        if answer.outcome in (Outcome.FENCED, Outcome.GONE):
            self.fence()
        else:
            self.known(Known(answer.seq, answer.checkpoint_n))

    def known(self, known: Known) -> None:
        """Redis is so far: further than we knew when an answer was lost, less far when it lost its last seconds."""
        self.acked = known.seq
        forgotten = [saved for saved in self._committed if saved.pointer.n > known.checkpoint_n]
        if forgotten:
            self._committed = [saved for saved in self._committed if saved not in forgotten]
            self._to_commit = forgotten + self._to_commit
        while self._to_commit and self._to_commit[0].pointer.n <= known.checkpoint_n:
            self._confirm(self._to_commit[0])
        self._window.shrink(KEPT_BYTES + self.unsent_bytes, self.acked)

    def committed(self, saved: Saved, answer: Committed) -> None:
        """The commit of `saved` was answered."""
        if answer.outcome in (Outcome.FENCED, Outcome.GONE):
            self.fence()
        else:
            self.acked = max(self.acked, saved.pointer.upto)
            self._confirm(saved)

    def ended(self, outcome: Outcome) -> None:
        """The end was answered."""
        if outcome is not Outcome.GAP:
            self.over = True
        elif not self._to_commit and self.acked >= self.last:
            # Redis has points that the last checkpoint does not cover: the learner is not done with it.
            self.ending = Released("release")

    def fence(self) -> None:
        """Somebody else holds the learner: drop everything, write nothing any more."""
        self.fenced = True
        self._window = Window(self._window.last)
        self._to_commit, self._committed = [], []

    def _confirm(self, saved: Saved) -> None:
        if saved not in self._to_commit:
            return
        self._to_commit.remove(saved)
        # Like the journal: what the checkpoint before this one does not cover is kept.
        if self._committed:
            self._window.forget(self._committed[-1].pointer.upto)
        self._committed = [*self._committed[-1:], saved]

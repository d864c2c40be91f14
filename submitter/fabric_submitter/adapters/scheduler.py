"""What a scheduler must be able to do for the submitter, and how one is found by its name.

An adapter is thin: it submits, lists and cancels, and keeps nothing that a restart would miss. Others' adapters are
found by an entry point in the group `adaptive_fabric.schedulers` whose name is the kind of their pools.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from importlib.metadata import entry_points
from typing import Final, Literal, Protocol, cast

from fabric_broker.errors import SchedulerError, UsageError
from fabric_broker.home import Home
from fabric_broker.survey import Wish
from fabric_submitter.spec import Spec

GROUP: Final = "adaptive_fabric.schedulers"
OURS: Final[Mapping[str, str]] = {
    "local": "fabric_submitter.adapters.local:LocalScheduler",
    "slurm": "fabric_submitter.adapters.slurm:SlurmScheduler",
    "pbs": "fabric_submitter.adapters.pbs:PBSScheduler",
}
PREEMPTED, NODE_FAILED, WALLTIME_OVER = "preempted", "its node failed", "its walltime is over"
"""Ends that are nobody's fault, as a `Seen.reason` begins."""


class RefusedError(SchedulerError):
    """The scheduler will not have this job, now or later; the message holds its own words."""


class BusyError(SchedulerError):
    """The scheduler would have it later: a limit of the site or of the machine is reached."""


class AnswerLostError(SchedulerError):
    """Nobody knows whether the scheduler took it; look its name up before trying again."""


@dataclass(frozen=True, slots=True)
class Request:
    """One submit: an intent with its jobs; its id is in the name that the scheduler shows."""

    intent: str
    pool: str
    spec: Spec
    jobs: tuple[str, ...]
    probe: bool = False
    """the job leases nothing, and only tells how it finds its node"""


@dataclass(frozen=True, slots=True)
class Seen:
    """A job that the scheduler has."""

    scheduler_id: str
    state: Literal["pending", "running", "ending", "ended"]
    reason: str = ""
    """why it is pending or how it ended, in the scheduler's words"""


@dataclass(frozen=True, slots=True)
class Listing:
    """What the scheduler says it has, by job id."""

    began: float
    """when the question was asked, seconds on this process's monotonic clock"""
    good: bool
    """False: it did not answer properly, which says nothing about any job"""
    jobs: Mapping[str, Seen] = field(default_factory=dict)
    proof: bool = False
    """a job that is not listed is dead for certain; else its absence must be seen several times"""
    sure_of_none: bool = False
    """that it lists none of ours was really said: it lists others' jobs, or a second look agrees with it"""
    host: str = ""
    """jobs submitted from elsewhere cannot be seen from here; "": all can"""
    number: int = 0
    """counts the listings of one poller"""

    @property
    def informs(self) -> bool:
        """Whether it says anything about a job that is not in it.

        An answer that holds nothing at all is what a broken command gives too: alone it says nothing.
        """
        return self.good and (bool(self.jobs) or self.proof or self.sure_of_none)


class Scheduler(Protocol):
    """A scheduler, as the submitter and its tasks use it. Each process has an object of its own.

    A class of another package also has the attribute ``spec``: the subclass of `Spec` that its pools have.
    """

    poll_interval: float
    """Seconds between two listings."""
    jobs_per_submit: int
    """So many jobs at most can be submitted at once, as an array."""
    answer_within: float
    """Seconds after which a submit that did not answer is looked up."""
    host: str
    """Where its jobs can be seen from, see `Listing.host`."""

    def check(self, spec: Spec) -> None:
        """Compare a spec with what the scheduler lists, before anything is submitted.

        What cannot be found out is no reason to refuse.

        Raises
        ------
        UsageError
            The scheduler has no such queue, or no job like this can ever start there; the limit is named.
        """

    def submit(self, request: Request) -> Mapping[str, str]:
        """Submit; answers the scheduler's id of each job.

        Raises
        ------
        RefusedError, BusyError, AnswerLostError
            It did not take it, or perhaps did.
        """

    def list(self) -> Listing:
        """Ask once for all of this fabric's jobs; no failure raises, it makes the listing not good."""

    def has_none(self) -> bool:
        """Look a second time, in another way: whether the scheduler says outright that it has no job of ours.

        It is asked when a listing without proof is empty though jobs are expected. No answer is False.
        """

    def cancel(self, jobs: Sequence[tuple[str, str, Wish]]) -> None:
        """Make jobs go, each given as (job id, scheduler id or "", how); one that is gone is no error.

        "drain" lets a running job checkpoint and release its learners; "cancel" need not.

        Raises
        ------
        SchedulerError
            It did not do so; it will be asked again.
        """


def load(kind: str) -> object | None:
    """Return what another package registered for a kind of pool; None: nobody did.

    Raises
    ------
    UsageError
        It cannot be imported.
    """
    for entry in entry_points(group=GROUP, name=kind):
        try:
            found: object = entry.load()
        except (ImportError, AttributeError, SyntaxError) as error:
            raise UsageError(
                f"the scheduler {kind!r} cannot be loaded from {entry.value}: {type(error).__name__}: {error}"
            ) from error
        return found
    return None


def find(kind: str) -> Callable[[Home], Scheduler]:
    """Return what makes the scheduler object of a kind of pool for a home; UsageError if there is none."""
    if kind in OURS:
        module, _, name = OURS[kind].partition(":")
        return cast(Callable[[Home], Scheduler], getattr(import_module(module), name))
    if (others := load(kind)) is not None:
        return cast(Callable[[Home], Scheduler], others)
    raise UsageError(f"there is no scheduler {kind!r}; those of other packages register in the group {GROUP}")

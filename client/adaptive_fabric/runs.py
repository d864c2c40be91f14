"""A run: learners that were submitted together."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from fabric_broker import calls, reads
from fabric_broker.calls import Verb
from fabric_broker.durations import Duration, seconds
from fabric_broker.errors import NotFoundError, UnreachableError, WaitTimeoutError
from fabric_broker.keys import learner_id
from fabric_broker.records import LearnerRecord, RunStatus
from fabric_broker.states import TERMINAL

from . import files
from .asking import asks
from .naming import whoever
from .results import Reader, hand_over

if TYPE_CHECKING:
    import pandas as pd

    from fabric_broker.broker import Broker

    from .fabric import Fabric

PATIENCE: Final = 30.0
"""Seconds for which `Run.wait` goes on waiting while Redis is away (a restart takes a few)."""

ENDED: Final = ("done", "failed", "cancelled")
"""The states of a run whose learners have all ended."""

_SHORTEST_PAUSE, _LONGEST_PAUSE = 0.05, 1.0  # s between two looks in `wait`


class Run:
    """A run of a fabric; made by `Fabric.submit` and `Fabric.run`.

    Attributes
    ----------
    id, name
        What it is found by.
    total
        How many learners it has.
    """

    def __init__(
        self, fabric: Fabric, id: str, name: str, total: int, own: Sequence[Any] | None = None
    ) -> None:
        self.id = id
        self.name = name
        self.total = total
        self.fabric = fabric
        self._own = own

    def __repr__(self) -> str:
        return f"<Run {self.id} {self.name!r}: {self.total} learners>"

    @property
    def broker(self) -> Broker:
        """What it talks to Redis through."""
        return self.fabric.broker

    @asks
    def status(self) -> RunStatus:
        """How far it is."""
        return reads.run_status(self.broker, self.id)

    @asks
    def learners(self) -> list[LearnerRecord]:
        """One record per learner, in order of submission."""
        return reads.learner_records(self.broker, self._ids())

    def wait(self, timeout: Duration | None = None) -> RunStatus:
        """Wait until all learners have ended; failed ones do not raise.

        Raises
        ------
        TimeoutError
            They had not after `timeout` seconds.
        UnreachableError
            Redis was away for longer than `PATIENCE`.
        """
        deadline = None if timeout is None else time.monotonic() + seconds(timeout)
        for status in self.follow():
            if status.state in ENDED:
                return status
            if deadline is not None and time.monotonic() >= deadline:
                open_learners = sum(n for state, n in status.counts.items() if state not in TERMINAL)
                raise WaitTimeoutError(
                    f"run {self.name!r} did not end in {seconds(timeout or 0):g} s: {open_learners} of "
                    f"{status.total} learners are still open; they go on"
                )
        raise AssertionError("follow() does not end by itself")

    def follow(self, *, pause: float = _LONGEST_PAUSE) -> Iterator[RunStatus]:
        """Its status again and again, at most `pause` seconds apart, quickly at first; never ends by itself."""
        wait, lost = _SHORTEST_PAUSE, None
        while True:
            try:
                yield self.status()
                lost = None
            except UnreachableError:
                lost = time.monotonic() if lost is None else lost
                if time.monotonic() - lost > PATIENCE:
                    raise
            time.sleep(min(wait, pause))
            wait *= 1.3

    @asks
    def load(self) -> list[Any]:
        """The learners with all data found so far, journal included; also while the run goes on.

        The submitter's own objects are filled and returned; in another process they are fresh ones. Points that an
        IntegratorLearner cannot take yet come with its next checkpoint.
        """
        filled = list(self._reader().learners(self._ids()))
        if self._own is None:
            return filled
        for own, learner in zip(self._own, filled, strict=True):
            hand_over(own, learner)
        return list(self._own)

    @asks
    def save(self, folder: str | Path) -> list[Path]:
        """Write each learner's data to ``<folder>/<name>``, readable by plain ``learner.load()``.

        Of a BalancingLearner each child has a file, as its own `load` wants it: by the names that were given for
        them, or numbered in the folder ``<folder>/<name>``. Answered is one path for each file, in order.

        A name that is no sound path, such as ``..``, is written with %XX for what cannot stand in a file name.

        Raises
        ------
        StoreError
            A file cannot be written.
        """
        ids = self._ids()
        names = reads.learner_names(self.broker, ids)
        reader = self._reader()
        return files.save_learners(
            folder, names, reader.learners(ids), lambda index: reader.children_names(ids[index])
        )

    @asks
    def to_dataframe(self) -> pd.DataFrame:
        """All data as one table: adaptive's columns and "learner", the name.

        Raises
        ------
        MissingExtraError
            pandas is not installed.
        """
        ids = self._ids()
        names = reads.learner_names(self.broker, ids)
        return files.dataframe(names, self._reader().learners(ids))

    def cancel(self, names: Iterable[str] | None = None) -> int:
        """Cancel these learners, or all that have not ended; answers how many changed. Their data stay."""
        return self.act("cancel", names)

    def retry(self, names: Iterable[str] | None = None) -> int:
        """Queue failed, quarantined and cancelled learners again, with their data and the submitted code."""
        return self.act("retry", names)

    def pause(self) -> int:
        """Let go of all learners, after a checkpoint each; answers how many changed."""
        return self.act("pause")

    def resume(self) -> int:
        """Go on with what was paused; answers how many learners changed."""
        return self.act("resume")

    def prioritize(self, priority: int, names: Iterable[str] | None = None) -> int:
        """Change the priority of these learners, or of all; higher goes first."""
        from .submitting import check_priority

        return self.act("prioritize", names, priority=check_priority(priority))

    @asks
    def act(self, verb: Verb, names: Iterable[str] | None = None, *, priority: int | None = None) -> int:
        """Do something to these learners, or to all; answers how many changed."""
        if names is not None:
            return act_on_learners(self.broker, verb, self._named(names), priority=priority)
        acted = self.broker.do(calls.act_on_run(self.id, verb, priority=priority, by=whoever()))
        while acted.state == "more":
            acted = self.broker.do(calls.act_on_run(self.id))
        if acted.state == "no run":
            raise NotFoundError(f"run {self.id} is not there any more")
        return acted.changed

    def _ids(self) -> list[str]:
        return [learner_id(self.id, index) for index in range(self.total)]

    def _named(self, names: Iterable[str]) -> list[str]:
        wanted = [names] if isinstance(names, str) else list(names)
        ids = self._ids()
        by_name = dict(zip(reads.learner_names(self.broker, ids), ids, strict=True))
        missing = [name for name in wanted if name not in by_name]
        if missing:
            raise NotFoundError(f"run {self.name!r} has no learner named {missing[0]!r}")
        return [by_name[name] for name in wanted]

    def _reader(self) -> Reader:
        return Reader(self.broker, self.fabric.signer, self.id)


def act_on_learners(broker: Broker, verb: Verb, ids: Sequence[str], *, priority: int | None = None) -> int:
    """Do something to learners by id; answers how many changed."""
    return sum(
        broker.do(calls.act(verb, ids[first : first + calls.PAGE], priority=priority, by=whoever()))
        for first in range(0, len(ids), calls.PAGE)
    )

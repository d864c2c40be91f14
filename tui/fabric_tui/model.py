"""All that the app knows of a fabric, and the one place where news change it. No terminal, no Redis, no clock."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from typing import Literal

from fabric_broker.control_plane import ControlPlane
from fabric_broker.keys import split_learner_id
from fabric_broker.records import JobRecord, PoolRecord, RunStatus
from fabric_broker.view import LearnerView
from fabric_broker.watch import Board, Inspected, Watched

from .history import EventLog, LossHistory, Trend
from .listing import SortKey
from .requests import Requests
from .updates import Glance, LogLines, LogText, Names, Resync, Seen, Snapshot, Trouble, Update

Connection = Literal["connecting", "live", "stale"]

LOG_LINES = 1000
"""So many lines of a log are kept."""


@dataclass(frozen=True, slots=True)
class Changes:
    """What an update changed: ``learners`` None means that any of them may have."""

    learners: frozenset[str] | None = frozenset()
    nodes: bool = False
    """some job has another node"""


def learner_order(learner: str) -> SortKey:
    """Sorts "r1.9" before "r1.10"."""
    try:
        return split_learner_id(learner)
    except ValueError:
        return learner, 0


class Model:
    """A fabric as the last updates told it; ``now`` is Redis TIME of the last one."""

    def __init__(self) -> None:
        self.connection: Connection = "connecting"
        self.trouble: Trouble | None = None
        self.now = 0.0
        self.fabric = ""
        self.address = ""
        self.learners: dict[str, LearnerView] = {}
        self.names: dict[str, str] = {}
        self.counts: Counter[str] = Counter()
        self.points = 0
        self.board = Board()
        self.runs: dict[str, RunStatus] = {}
        self.jobs: dict[str, JobRecord] = {}
        self.pools: dict[str, PoolRecord] = {}
        self.events = EventLog()
        self.trend = Trend()
        self.losses = LossHistory()
        self.requests = Requests()
        self.control: ControlPlane | None = None
        self.inspected: dict[str, Inspected] = {}
        self.log_job = ""
        self.log: list[LogText] = []
        self.last = ""

    # -- news ------------------------------------------------------------------------------------------------

    def apply(self, update: Update) -> Changes:
        """Take in one update; answers what it changed among the learners."""
        if isinstance(update, Trouble):
            self.trouble = update
            if self.connection == "live":
                self.connection = "stale"
            return Changes()
        if isinstance(update, Glance):
            return self._glance(update)
        if isinstance(update, Snapshot):
            return self._snapshot(update)
        if isinstance(update, Watched):
            return self._watched(update)
        if isinstance(update, Resync):
            changed = self._replace(update.views)
            self._settle()
            return Changes(changed)
        if isinstance(update, Names):
            # Some may have gone since their names were asked for.
            names = {id: name for id, name in update.names.items() if id in self.learners}
            self.names.update(names)
            return Changes(frozenset(names))
        self._looked_at(update)
        return Changes()

    def _glance(self, update: Glance) -> Changes:
        if not self.learners:
            self.connection, self.trouble = "live", None
            self.fabric, self.address = update.fabric, update.address
            self.events.begin(update.events)
            self.now = update.now
            self._take(update.board)
            self.counts.clear()
            self.points = 0
            for run in self.runs.values():
                self.counts.update(run.counts)
                self.points += run.points
        return Changes()

    def _snapshot(self, update: Snapshot) -> Changes:
        self.connection, self.trouble = "live", None
        self.fabric, self.address, self.last = update.fabric, update.address, update.last
        if not self.learners:  # what a glance counted
            self.counts.clear()
            self.points = 0
        self._replace(update.views)
        self.events.begin(update.events)
        self.trend.learn(update.events)
        nodes = self._advance(update.now, update.board)
        return Changes(None, nodes)

    def _watched(self, update: Watched) -> Changes:
        self.connection, self.trouble = "live", None
        changed = set()
        for id, view in update.views.items():
            if self._put(id, view):
                changed.add(id)
        self.events.extend(update.events)
        self.events.extend_back(update.older)
        self.events.complete = self.events.complete or self.events.oldest == update.first
        if update.events:
            self.last = update.events[-1].id
        nodes = self._advance(update.now, update.board)
        return Changes(frozenset(changed), nodes)

    def _looked_at(self, update: Seen | LogLines | ControlPlane) -> None:
        if isinstance(update, ControlPlane):
            self.control = update
        elif isinstance(update, Seen):
            # Only the last few that were looked at are kept.
            self.inspected.pop(update.learner, None)
            self.inspected[update.learner] = update.inspected
            while len(self.inspected) > 20:
                del self.inspected[next(iter(self.inspected))]
        else:
            if update.fresh or update.job != self.log_job:
                self.log_job, self.log = update.job, []
            self.log = [*self.log, *update.lines][-LOG_LINES:]

    def _replace(self, views: Mapping[str, LearnerView]) -> frozenset[str]:
        gone = self.learners.keys() - views.keys()
        learners = self.learners
        changed = {id for id, view in views.items() if learners.get(id) is not view and self._put(id, view)}
        for id in gone:
            self._put(id, None)
        return frozenset(changed | gone)

    def _put(self, id: str, view: LearnerView | None) -> bool:
        self.requests.settle_learner(id, view)
        old = self.learners.get(id)
        if old == view:
            return False
        if old is not None:
            self.counts[old.state] -= 1
            self.points -= old.npoints
        if view is None:
            del self.learners[id]
            self.names.pop(id, None)
            self.losses.forget(id)
        else:
            self.learners[id] = view
            self.counts[view.state] += 1
            self.points += view.npoints
            if view.loss is not None and (old is None or old.npoints != view.npoints):
                self.losses.note(id, view.npoints, view.loss)
        return True

    def _advance(self, now: float, board: Board | None) -> bool:
        self.now = now
        nodes = False
        if board is not None:
            before = {id: job.node for id, job in self.jobs.items()}
            self._take(board)
            nodes = before != {id: job.node for id, job in self.jobs.items()}
        self._settle()
        self.trend.sample(now, self.points, self.counts["done"])
        return nodes

    def _take(self, board: Board) -> None:
        self.board = board
        self.runs = {run.id: run for run in board.run_statuses(self.now)}
        self.jobs = {job.id: job for job in board.job_records()}
        self.pools = {pool.name: pool for pool in board.pool_records()}

    def _settle(self) -> None:
        for job in self.requests.jobs():
            self.requests.settle_job(job, self.jobs.get(job))
        for pool in self.requests.pools():
            self.requests.settle_pool(pool, self.pools.get(pool))

    # -- questions -------------------------------------------------------------------------------------------

    def nameless(self, most: int, first: Sequence[str] = ()) -> list[str]:
        """Learners whose name is not known yet; those of ``first`` come first."""
        if len(self.names) >= len(self.learners):
            return []
        unknown = (id for id in chain(first, self.learners) if id not in self.names)
        return list(dict.fromkeys(islice(unknown, most)))

    def name(self, learner: str) -> str:
        """The name its user gave it, or its id as long as that is not known."""
        return self.names.get(learner, learner)

    def run_name(self, run: str) -> str:
        """The name of a run, or its id."""
        status = self.runs.get(run)
        return status.name if status else run

    def node(self, job: str | None) -> str:
        """Where a job runs, "" if that is not known."""
        record = self.jobs.get(job) if job else None
        return (record.node if record else None) or ""

    def submitter_alive(self) -> bool:
        """Whether a submitter leads at this moment."""
        return int(self.board.leader.get("until", 0)) / 1000 > self.now

    def submitter_seen(self) -> float | None:
        """When a submitter last led."""
        seen = self.board.leader.get("seen")
        return None if seen is None else int(seen) / 1000

    def points_per_s(self) -> float:
        """Over all runs."""
        return sum(run.points_per_s for run in self.runs.values())

    def eta_s(self) -> float | None:
        """Until the last of the active runs is done, at its pace; None if some run's is not known."""
        etas = [run.eta_s for run in self.runs.values() if run.state == "active"]
        known = [eta for eta in etas if eta is not None]
        return max(known) if known and len(known) == len(etas) else None

    def last_job(self, learner: str) -> str | None:
        """The job that holds a learner, or the last one that is known to have held it."""
        view = self.learners.get(learner)
        if view is not None and view.job is not None:
            return view.job
        jobs = (event.more.get("job") for event in reversed(self.events.of(learner)))
        return next((job for job in jobs if job), None)

    def views(self, ids: Iterable[str]) -> list[LearnerView]:
        """The records of those that are still there."""
        return [self.learners[id] for id in ids if id in self.learners]

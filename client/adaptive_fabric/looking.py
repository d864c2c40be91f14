"""What the fabric looks like: its server, submitter, pools and runs at one glance, and its logs."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final

from fabric_broker import events, intents, reads
from fabric_broker.errors import NotFoundError
from fabric_broker.events import LogLine
from fabric_broker.records import JobRecord, RunStatus
from fabric_broker.states import STATES, TERMINAL

from .asking import asking

if TYPE_CHECKING:
    from .fabric import Fabric

_PAUSE: Final = 0.5  # s between two looks at a log that is followed


@dataclass(frozen=True, slots=True)
class PoolStatus:
    """A pool's jobs: how many the submitter wants, how many run (or drain), how many are on their way."""

    name: str
    wanted: int
    running: int
    pending: int
    circuit: str | None
    """why nothing is submitted any more, or None"""


@dataclass(frozen=True, slots=True)
class FabricStatus:
    """The fabric at one glance; times in Unix seconds."""

    fabric: str
    url: str
    submitter_alive: bool
    submitter_seen: float | None
    counts: dict[str, int]
    pools: list[PoolStatus]
    runs: list[RunStatus]
    answers: bool = True
    """whether the server did when it was last asked; if not, this is what it said before"""

    def as_json(self) -> dict[str, Any]:
        """As in `fabric status --json`."""
        return {
            "fabric": self.fabric,
            "broker": {"url": self.url, "ok": self.answers},
            "submitter": {"alive": self.submitter_alive, "last_seen": self.submitter_seen},
            "counts": self.counts,
            "pools": [asdict(pool) for pool in self.pools],
            "runs": [run.as_json() for run in self.runs],
        }


def fabric_status(fabric: Fabric) -> FabricStatus:
    """Look at everything; costs a handful of round trips whatever the number of learners."""
    broker = fabric.broker
    with asking(broker.redis):
        runs = reads.run_statuses(broker, reads.run_ids(broker))
        leader = intents.leader(broker)
        pools = pool_statuses(fabric)
    counts: Counter[str] = Counter()
    for run in runs:
        counts.update(run.counts)
    return FabricStatus(
        fabric=fabric.name,
        url=fabric.server.url,
        submitter_alive=leader.alive,
        submitter_seen=leader.last_seen,
        counts={state: counts[state] for state in STATES if counts[state]},
        pools=pools,
        runs=runs,
    )


def submitter_alive(fabric: Fabric) -> bool:
    """Whether a submitter keeps the pools' jobs alive."""
    with asking(fabric.broker.redis):
        return intents.leader(fabric.broker).alive


def run_list(fabric: Fabric) -> list[RunStatus]:
    """How far each run is, oldest first."""
    with asking(fabric.broker.redis):
        return reads.run_statuses(fabric.broker, reads.run_ids(fabric.broker))


def pool_statuses(fabric: Fabric) -> list[PoolStatus]:
    """All pools, oldest first."""
    broker = fabric.broker
    with asking(broker.redis):
        records = reads.pool_records(broker)
        wanted = intents.pool_wanted(broker, [record.name for record in records])
        jobs = reads.job_records(broker, ended=False)
    states = Counter((job.pool, job.state) for job in jobs)
    return [
        PoolStatus(
            name=record.name,
            wanted=number,
            running=states[record.name, "running"] + states[record.name, "draining"],
            pending=states[record.name, "pending"] + states[record.name, "submitting"],
            circuit=record.circuit,
        )
        for record, number in zip(records, wanted, strict=True)
    ]


@dataclass(frozen=True, slots=True)
class Logs:
    """The log lines of one job, or those of any job that speak of one learner."""

    fabric: Fabric
    job: str | None
    learner: str | None

    def lines(self) -> list[LogLine]:
        """The lines that are kept, oldest first."""
        with asking(self.fabric.broker.redis):
            return events.read_log(self.fabric.broker, self._jobs(), learner=self.learner)

    def follow(self) -> Iterator[LogLine]:
        """The kept lines and then each new one, until the job or the learner has ended."""
        seen: dict[str, set[str]] = {}
        while True:
            over = self._over()
            lines = self.lines()
            for line in lines:
                if line.id not in seen.get(line.job, ()):
                    yield line
            seen = {}
            for line in lines:
                seen.setdefault(line.job, set()).add(line.id)
            if over:
                return
            time.sleep(_PAUSE)

    def problem(self) -> dict[str, Any] | None:
        """All that is known of the learner's last error: traceback, point, node, signal; None for a job."""
        if self.learner is None:
            return None
        with asking(self.fabric.broker.redis):
            return reads.learner_problem(self.fabric.broker, self.learner)

    def _jobs(self) -> list[str]:
        if self.job is not None:
            return [self.job]
        return [job.id for job in reads.job_records(self.fabric.broker)]

    def _over(self) -> bool:
        with asking(self.fabric.broker.redis):
            if self.job is not None:
                return all(job.id != self.job for job in reads.job_records(self.fabric.broker, ended=False))
            (record,) = reads.learner_records(self.fabric.broker, [self.learner or ""])
            return record.state in TERMINAL


def find_job(fabric: Fabric, job: str) -> JobRecord:
    """The record of a job; NotFoundError."""
    for record in fabric.jobs():
        if record.id == job:
            return record
    raise NotFoundError(f"no job {job!r} in fabric {fabric.name!r}; `fabric jobs` lists them")

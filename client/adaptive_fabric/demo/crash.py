"""Kill one job half-way and watch where its learners go."""

from __future__ import annotations

import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

from fabric_broker.lock import ProcessId
from fabric_broker.records import JobRecord, LearnerRecord

if TYPE_CHECKING:
    from fabric_broker.broker import Broker


@dataclass(frozen=True, slots=True)
class Move:
    """A learner of the killed job that another job leases, or has finished."""

    name: str
    job: str
    after_s: float
    """seconds after the kill"""
    npoints: int


@dataclass
class Crash:
    """One job killed with SIGKILL: what it held, and what became of that."""

    job: str
    pid: int
    held: dict[str, LearnerRecord]
    at: float
    """seconds of the monotonic clock"""
    moves: dict[str, Move] = field(default_factory=dict)

    def look(self, learners: Sequence[LearnerRecord]) -> list[Move]:
        """The moves that are new since the last look."""
        found = []
        for each in learners:
            before = self.held.get(each.id)
            if before is None or each.id in self.moves or each.token == before.token or each.job is None:
                continue
            move = Move(each.name, each.job, time.monotonic() - self.at, each.npoints)
            self.moves[each.id] = move
            found.append(move)
        return found


def kill_busiest(
    broker: Broker, jobs: Sequence[JobRecord], learners: Sequence[LearnerRecord]
) -> Crash | None:
    """SIGKILL the agent of the running job that holds most learners; None if no job holds any, or it just ended."""
    running = [job for job in jobs if job.state == "running" and job.learners]
    if not running:
        return None
    job = max(running, key=lambda each: len(each.learners))
    agent = agent_of(broker, job.id)
    held = {each.id: each for each in learners if each.id in job.learners and each.state == "leased"}
    if agent is None or not held or not agent.send(signal.SIGKILL):
        return None
    return Crash(job.id, agent.pid, held, time.monotonic())


def agent_of(broker: Broker, job: str) -> ProcessId | None:
    """The process of a local job's agent, as it said when it claimed the job."""
    pid: Any = cast("bytes | None", broker.redis.hget(broker.keys.job(job), "pid"))
    return None if pid is None else ProcessId.of(int(pid))

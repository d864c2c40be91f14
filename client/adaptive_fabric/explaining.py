"""What `fabric explain` says of a learner, job, pool or run: looks at the fabric once, and asks the rules."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final

from fabric_broker import intents
from fabric_broker.config import Config
from fabric_broker.standing import job_standing, learner_standing, run_standing
from fabric_broker.survey import survey

from .asking import asking
from .learner_reasons import FINE, why_job, why_learner, why_run
from .looking import last_lines
from .reasons import Known, Reason, why_pool

if TYPE_CHECKING:
    from .fabric import Fabric

_SOON_S: Final = 5.0
_TAIL_BYTES, _TAIL_LINES = 4096, 6


@dataclass(frozen=True, slots=True)
class Explained:
    """Why something is not running; of what runs, where."""

    target: str
    heading: str
    because: list[Reason]

    def as_json(self) -> dict[str, Any]:
        """As in `fabric explain --json`."""
        return {"target": self.target, "because": [asdict(reason) for reason in self.because]}


def explain_learner(fabric: Fabric, learner: str) -> Explained:
    """Why a learner is not running; NotFoundError."""
    with asking(fabric.broker.redis):
        standing = learner_standing(fabric.broker, learner)
        found = why_learner(_known(fabric), standing)
    record = standing.record
    return Explained(learner, f"learner {learner} ({record.name}) is {record.state}", found)


def explain_run(fabric: Fabric, run: str) -> Explained:
    """Why a run is not done; NotFoundError."""
    with asking(fabric.broker.redis):
        standing = run_standing(fabric.broker, run)
        found = why_run(_known(fabric), standing)
    status = standing.status
    return Explained(run, f"run {run} ({status.name}) is {status.state}", found)


def explain_pool(fabric: Fabric, pool: str) -> Explained:
    """Why a pool does not run what is queued there."""
    with asking(fabric.broker.redis):
        known = _known(fabric)
    view = known.survey.pools.get(pool)
    queued = 0 if view is None else view.queued
    heading = (
        f"pool {pool}: {queued} queued, {len(known.jobs(pool))} jobs of {0 if view is None else view.limit}"
    )
    return Explained(pool, heading, why_pool(known, pool))


def explain_job(fabric: Fabric, job: str) -> Explained:
    """Why a job does no work, with the end of its log if something is wrong; NotFoundError."""
    with asking(fabric.broker.redis):
        standing = job_standing(fabric.broker, job)
        found = why_job(_known(fabric), standing)
    record = standing.record
    if not {reason.code for reason in found} & {*FINE, "pending", "never-starts", "submitting", "no-work"}:
        found += _end_of_log(fabric, job)
    where = f" on {record.node}" if record.node else ""
    its_id = f" ({record.scheduler_id})" if record.scheduler_id else ""
    return Explained(job, f"job {job}{its_id} of pool {record.pool} is {record.state}{where}", found)


def _known(fabric: Fabric) -> Known:
    seen = fabric.broker.do(survey(soon=_SOON_S, old=0.0, keep=2**31))
    most = Config.load(fabric.home, os.environ).jobs
    return Known(seen, intents.leader(fabric.broker), most)


def _end_of_log(fabric: Fabric, job: str) -> list[Reason]:
    """What it printed last. A job that never reached Redis has said it nowhere else."""
    path = fabric.home.job_log(job)
    try:
        lines = last_lines(path, _TAIL_BYTES)[-_TAIL_LINES:]
    except OSError as error:
        return [Reason("no-log", f"its log {path} cannot be read here: {error.strerror}")]
    if not lines:
        return [Reason("no-log", f"its log {path} is empty")]
    return [Reason("log", f"its log ends: {' / '.join(lines)}", f"read {path}")]

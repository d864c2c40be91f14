"""What is wrong with a fabric, worst first, and why one learner is not running."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from typing import Any, Literal

from fabric_broker.records import JobRecord
from fabric_broker.states import BARREN_LEASES
from fabric_broker.view import LearnerView
from fabric_broker.watch import Inspected

from .model import Model
from .words import duration, plural

Where = Literal["learners", "jobs", "pools", "control"]

SILENT = 60.0
"""Seconds after which a job that says nothing is worth a word."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong, where to look at it, and what to filter for there."""

    weight: int
    text: str
    where: Where
    filter: str = ""


def is_problem(learner: LearnerView) -> bool:
    """Whether a learner is shown by "problems only"."""
    return learner.state in ("failed", "quarantined", "delayed") or (
        learner.attempts > 0 and learner.state not in ("done", "cancelled")
    )


def is_job_problem(job: JobRecord, now: float) -> bool:
    """As `is_problem`, for jobs."""
    silent = job.last_seen is not None and now - job.last_seen > SILENT
    return job.state == "unknown" or (job.state in ("running", "draining") and silent)


def problems(model: Model) -> list[Problem]:
    """All problems, worst first."""
    found = [*_submitter(model), *_pools(model), *_learners(model), *_jobs(model), *_tasks(model)]
    return sorted(found, key=lambda problem: -problem.weight)


def scheduler_error(model: Model) -> str | None:
    """What a scheduler last refused, or why a pool gave up."""
    circuits = [pool.circuit for pool in model.pools.values() if pool.circuit]
    if circuits:
        return circuits[0]
    refused = [
        (fields.get("since", ""), fields["reason"])
        for fields in model.board.intents.values()
        if fields.get("reason") and fields.get("state") in ("wanted", "refused")
    ]
    return max(refused)[1] if refused else None


def _submitter(model: Model) -> list[Problem]:
    open_learners = sum(model.counts[state] for state in ("queued", "delayed", "leased"))
    if model.submitter_alive() or not model.pools:
        return []
    seen = model.submitter_seen()
    since = "no submitter was ever seen" if seen is None else f"silent for {duration(model.now - seen)}"
    text = f"submitter: {since}; no new jobs until `fabric up` starts one"
    return [Problem(90 if open_learners else 10, text, "control")]


def _pools(model: Model) -> list[Problem]:
    found = []
    for pool in model.pools.values():
        fields = model.board.pools[pool.name][0]
        retry_at = int(fields.get("retry_at", 0)) / 1000
        if pool.circuit:
            text = f"pool {pool.name}: gave up submitting: {pool.circuit}"
            found.append(Problem(100, text, "pools"))
        elif retry_at > model.now:
            deaths = plural(int(fields.get("deaths", 1)), "job")
            text = f"pool {pool.name}: {deaths} died young; next try in {duration(retry_at - model.now)}"
            found.append(Problem(60, text, "pools"))
        elif pool.queued and not pool.limit:
            text = f"pool {pool.name}: {plural(pool.queued, 'learner')} queued, but it may have no jobs"
            found.append(Problem(70, text, "pools"))
    return found


def _learners(model: Model) -> list[Problem]:
    sums: Counter[tuple[str, str]] = Counter()
    if not any(model.counts[state] for state in ("quarantined", "failed", "delayed")):
        return []
    for learner in model.learners.values():
        if learner.state in ("quarantined", "failed", "delayed"):
            sums[learner.state, learner.run] += 1
    if not model.learners:  # counted, but not read yet
        for run in model.runs.values():
            for state in ("quarantined", "failed", "delayed"):
                sums[state, run.id] += run.counts.get(state, 0)
    weights = {"quarantined": 80, "failed": 75, "delayed": 30}
    words = {"quarantined": "quarantined", "failed": "failed", "delayed": "wait after an error"}
    return [
        Problem(
            weights[state],
            f"run {model.run_name(run)}: {plural(number, 'learner')} {words[state]}",
            "learners",
            f"state:{state} run:{run}",
        )
        for (state, run), number in sums.items()
        if number
    ]


def _jobs(model: Model) -> list[Problem]:
    found = []
    for job in model.jobs.values():
        if is_job_problem(job, model.now):
            silent = "" if job.last_seen is None else f", silent for {duration(model.now - job.last_seen)}"
            held = f", holds {plural(len(job.learners), 'learner')}" if job.learners else ""
            found.append(Problem(50, f"job {job.id}: {job.state}{silent}{held}", "jobs", f"id:{job.id}"))
    return found


def _tasks(model: Model) -> list[Problem]:
    failed = sum(queue.failed for queue in model.control.queues) if model.control else 0
    return [Problem(40, f"control plane: {plural(failed, 'task')} failed", "control")] if failed else []


# -- why is this not running? ----------------------------------------------------------------------------------------


def why(model: Model, learner: LearnerView, inspected: Inspected | None = None) -> list[str]:
    """Why a learner is not running, a sentence each; of one that runs, where."""
    if learner.state == "queued":
        return _why_queued(model, learner, inspected)
    if learner.state == "leased":
        return _why_leased(model, learner)
    if learner.state in ("failed", "quarantined"):
        return _why_ended(learner, inspected)
    if learner.state == "delayed":
        attempts = inspected.run.get("attempts") if inspected else None
        of = f" of {attempts}" if attempts else ""
        return [f"Attempt {learner.attempts}{of} raised; it is queued again when its back-off is over."]
    return [_WHY[learner.state]] if learner.state in _WHY else []


def _why_queued(model: Model, learner: LearnerView, inspected: Inspected | None) -> list[str]:
    pool = model.pools.get(learner.pool)
    if pool is None:
        return [f"Its pool {learner.pool} is gone."]
    found = []
    if inspected is not None and inspected.place is not None:
        before = plural(inspected.place, "learner")
        found.append(f"It waits in the queue of pool {pool.name}; {before} come first.")
    running = sum(job.state == "running" for job in model.jobs.values() if job.pool == pool.name)
    pending = [job for job in model.jobs.values() if job.pool == pool.name and job.state == "pending"]
    found.append(f"The pool has {plural(running, 'running job')} with {plural(pool.slots, 'slot')} each.")
    reasons = sorted({job.reason for job in pending if job.reason})
    if pending:
        told = f": {', '.join(reasons)}" if reasons else ""
        found.append(f"{plural(len(pending), 'job')} wait in the scheduler{told}.")
    if pool.circuit:
        found.append(f"The pool gave up submitting: {pool.circuit}. On screen 4, c tries again.")
    if not pool.limit:
        found.append("The pool may have no jobs; set N on screen 4.")
    if not model.submitter_alive():
        found.append("No submitter is alive, so no new job will be submitted; `fabric up` starts one.")
    return found


def _why_leased(model: Model, learner: LearnerView) -> list[str]:
    node = model.node(learner.job)
    found = [f"It runs: job {learner.job}, slot {learner.slot}{f', on {node}' if node else ''}."]
    job = model.jobs.get(learner.job or "")
    if job is not None and is_job_problem(job, model.now):
        found.append("But its job is silent; when the lease ends, another job goes on with it.")
    return found


def _why_ended(learner: LearnerView, inspected: Inspected | None) -> list[str]:
    problem = error_of(inspected)
    told = f": {problem.get('type', '')} {problem.get('text', '')}".rstrip() if problem else ""
    if learner.state == "failed":
        return [
            f"Its function raised {plural(learner.attempts, 'time')}{told}.",
            "Retry queues it again with attempts 0.",
        ]
    return [
        f"{BARREN_LEASES} leases in a row ended without one new point{told}.",
        "Retry queues it again; a smaller evaluation, more memory or more walltime may be needed.",
    ]


_WHY = {
    "cancelled": "It was cancelled. Retry queues it again.",
    "paused": "It is paused. Resume queues it again.",
    "waiting": "It waits for learners that must be done first.",
    "done": "It is done: its goal is reached.",
}


def error_of(inspected: Inspected | None) -> dict[str, Any]:
    """The learner's last error: type, text, traceback, point, node, signal, log; empty if there was none."""
    if inspected is None or inspected.problem is None:
        return {}
    found: dict[str, Any] = json.loads(inspected.problem)
    return found

"""Why is this learner, run or job not running? Pure; those of pools, which all of them end with, are in reasons.py."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Final

from fabric_broker.records import JobRecord, LearnerRecord
from fabric_broker.standing import JobStanding, LearnerStanding, RunStanding
from fabric_broker.states import BARREN_LEASES
from fabric_broker.survey import IntentView, JobView
from fabric_submitter.judging import STARTED

from .reasons import MODULES, Known, Reason, is_silent, no_submitter, pending_reason, span, why_pool

FINE: Final = ("running", "done")
"""Codes that say: nothing is wrong here."""


def why_learner(known: Known, learner: LearnerStanding) -> list[Reason]:
    """Why a learner is not running; of one that runs, where."""
    record = learner.record
    match record.state:
        case "queued":
            return [_queued(known, learner), *why_pool(known, record.pool)]
        case "leased":
            return list(_leased(known, learner))
        case "delayed":
            return [_delayed(known, learner)]
        case "paused":
            target = record.run if learner.run_paused else record.id
            by = f" by {learner.paused_by}" if learner.paused_by else ""
            what = f"run {learner.run_name}" if learner.run_paused else "it"
            text = f"{what} was paused{by}, the learner {span(known.now - learner.since)} ago"
            return [Reason("paused", text, f"fabric resume {target}")]
        case "waiting":
            return [Reason("waiting", "it waits for learners that must be done first", "fabric runs")]
        case "done":
            return [Reason("done", f"its goal is reached, with {record.npoints} points")]
        case "cancelled":
            return [Reason("cancelled", "it was cancelled; its data stay", f"fabric retry {record.id}")]
        case _:
            return [_set_aside(learner)]


def why_run(known: Known, run: RunStanding) -> list[Reason]:
    """Why a run is not done: what keeps its learners, and their pools if any of them is queued."""
    status, counts = run.status, run.status.counts
    found = []
    if run.adding:
        text = f"its learners are still being added ({sum(counts.values())} so far)"
        found.append(Reason("adding", text, f"if whoever submits it died: fabric cancel {status.id}"))
    if counts.get("leased"):
        found.append(Reason("running", f"{counts['leased']} of {status.total} learners run"))
    for state, text, fix in (
        ("paused", f"paused{f' by {run.paused_by}' if run.paused_by else ''}", f"fabric resume {status.id}"),
        ("delayed", "to be tried again after an error of their own", f"fabric learners {status.id}"),
        ("waiting", "waiting for learners that must be done first", "fabric runs"),
        ("failed", "failed by errors of their own", f"fabric learners {status.id}, then fabric retry"),
        ("quarantined", "quarantined", f"fabric learners {status.id}, then fabric retry"),
        ("cancelled", "cancelled", f"fabric retry {status.id}"),
        ("queued", "queued", ""),
    ):
        if counts.get(state):
            found.append(Reason(state, f"{counts[state]} of {status.total} learners: {text}", fix))
    if counts.get("queued"):
        for pool in run.pools:
            reasons = [_named(reason, pool) for reason in why_pool(known, pool)]
            found += [reason for reason in reasons if reason not in found]
    if status.state == "done":
        found.append(Reason("done", f"all {status.total} learners are done"))
    return found


def _named(reason: Reason, pool: str) -> Reason:
    """A reason that says which of a run's pools it is about, unless it is about all."""
    if f"pool {pool}" in reason.text or reason.code in ("held", "no-submitter"):
        return reason
    return replace(reason, text=f"pool {pool}: {reason.text}")


def why_job(known: Known, job: JobStanding) -> list[Reason]:
    """Why a job does no work; of one that works, how much."""
    record = job.record
    if record.state == "ended":
        reason = record.reason or "no reason was recorded"
        fix = "" if job.acquired else f"fabric explain {record.pool}"
        return [Reason("ended", f"it ended: {reason}", fix)]
    intent, view = _view_of(known, record.id)
    kind = intent.kind if intent else "its scheduler"
    found = list(_asked_to_go(job))
    if record.state == "submitting":
        if intent is not None and intent.reason:
            found.append(Reason("busy", f"{kind} did not take it yet: {intent.reason}", "wait"))
        else:
            found.append(Reason("submitting", f"it was not submitted to {kind} yet"))
        nobody = no_submitter(known)
        found += [nobody] if nobody else []
    elif record.state == "pending" and (record.reason or "").startswith(STARTED):
        found.append(Reason("starting", f"it {record.reason}", "its log says how far it came"))
    elif record.state == "pending":
        found.append(pending_reason(kind, record.reason or ""))
    elif view is not None:
        found += _started(known, record, view)
    return found


def _view_of(known: Known, job: str) -> tuple[IntentView | None, JobView | None]:
    for intent in known.survey.intents:
        for view in intent.jobs:
            if view.id == job:
                return intent, view
    return None, None


def _asked_to_go(job: JobStanding) -> Iterator[Reason]:
    if job.wish:
        text = f"it was asked to go ({job.wish}): {job.wish_reason or 'no reason was recorded'}"
        yield Reason("asked-to-go", text)


def _started(known: Known, record: JobRecord, job: JobView) -> Iterator[Reason]:
    """What a job does whose agent was heard of."""
    pool = known.survey.pools.get(record.pool)
    if pool is None:
        yield Reason("pool-gone", f"its pool {record.pool} was removed; it takes no more work")
        return
    if is_silent(known, job, pool):
        silence = span(known.now - job.seen)
        text = f"its agent has been silent for {silence}: it is dead, stopped, or cannot reach Redis"
        yield Reason("silent", text, "its learners go to other jobs when their leases end")
    elif record.state == "unknown":
        yield Reason("unknown", "the scheduler does not tell about it", "wait; it is asked at every poll")
    if record.state == "running" and record.reason:
        yield Reason("trouble", f"its agent says: {record.reason}", MODULES)
    if record.state == "draining":
        yield Reason("draining", f"it drains: it saves {job.holds} learners and takes no more")
    elif job.walltime_end is not None and known.now >= job.walltime_end - pool.last_call:
        text = f"its walltime ends in {span(job.walltime_end - known.now)}: it takes no other learner"
        yield Reason("walltime", text)
    elif job.holds >= job.slots:
        yield Reason("running", f"all of its slots are busy ({job.holds} of {job.slots})")
    elif pool.queued:
        yield Reason("free-slot", f"{job.holds} of {job.slots} slots busy; it leases more within a second")
    else:
        yield Reason("no-work", f"{job.holds} of {job.slots} slots busy, and nothing is queued in its pool")


def _queued(known: Known, learner: LearnerStanding) -> Reason:
    record = learner.record
    pool = known.survey.pools.get(record.pool)
    place = "" if learner.place is None else f" as number {learner.place + 1}"
    of = f" of {pool.queued}" if pool is not None and learner.place is not None else ""
    text = f"it is queued in pool {record.pool}{place}{of}, priority {record.priority}"
    return Reason("queued", text)


def _leased(known: Known, learner: LearnerStanding) -> Iterator[Reason]:
    record = learner.record
    yield Reason("running", f"it runs: job {record.job}, slot {record.slot}")
    if learner.command:
        text = f"it was asked to {learner.command}"
        text += f" by {learner.paused_by}" if learner.command == "pause" and learner.paused_by else ""
        yield Reason("asked", f"{text}; it saves first", "")
    _, job = _view_of(known, record.job or "")
    pool = known.survey.pools.get(record.pool)
    if record.until is not None and known.now > record.until:
        text = (
            f"but its lease ran out {span(known.now - record.until)} ago; another job may take it any moment"
        )
        yield Reason("expired", text)
    elif job is not None and pool is not None and is_silent(known, job, pool):
        left = span(max(0.0, (record.until or known.now) - known.now))
        yield Reason("silent", f"but its job is silent; another may take it when its lease ends, in {left}")


def _delayed(known: Known, learner: LearnerStanding) -> Reason:
    record = learner.record
    when = "now" if learner.due is None else f"in {span(learner.due - known.now)}"
    text = f"attempt {record.attempts} of {learner.attempts_most} ended with {record.error or 'an error'}"
    return Reason("back-off", f"{text}; it is queued again {when}", _mend(record))


def _set_aside(learner: LearnerStanding) -> Reason:
    record = learner.record
    fix = f"{_mend(record)}; then fabric retry {record.id}"
    if record.state == "failed":
        text = f"{record.attempts} of {learner.attempts_most} attempts ended with errors, the last: {record.error}"
        return Reason("failed", text, fix)
    text = f"{BARREN_LEASES} leases in a row ended without one new point"
    text += f": {record.error}" if record.error else ""
    return Reason("quarantined", text, f"{fix} (it may need more memory or walltime)")


def _mend(record: LearnerRecord) -> str:
    """What to do about a learner's own error."""
    logs = f"fabric logs {record.id} shows the traceback"
    missing = (record.error or "").startswith(("ModuleNotFoundError", "ImportError"))
    return f"{MODULES} ({logs})" if missing else logs

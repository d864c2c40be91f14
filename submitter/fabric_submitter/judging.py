"""What became of the jobs that were wanted: pure verdicts from what Redis and the scheduler say of each.

A scheduler's answer counts only if it is good, if it could have shown the job, and if the question was asked after
the job was known to be submitted. Absence is believed at once only where it is proof (a process that is gone);
elsewhere it takes several good answers and an agent that is silent.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from fabric_broker.intents import Again, Ask, Change, Close, Found, Mark, Over
from fabric_broker.records import JobState
from fabric_broker.survey import IntentView, JobView, PoolView, Survey

from .adapters.scheduler import NODE_FAILED, PREEMPTED, WALLTIME_OVER, Listing, Seen


@dataclass(frozen=True, slots=True)
class Rules:
    """How patient the submitter is; seconds and counts."""

    tick: float = 1.0
    start_within: float = 30.0
    """an intent that no task took by then is enqueued anew"""
    answer_within: float = 60.0
    """a task that took an intent answers by then, or it is looked up"""
    lookups: int = 2
    """so many good listings must not know a name before it is submitted again"""
    absences: int = 3
    """so many good listings must lack a job before its silent agent is taken for dead"""
    abandon: float = 600.0
    """a job that cannot be seen from here, and that is silent or over for so long, is given up"""
    linger: float = 60.0
    """processes that outlive their job's end, or its keeper, for so long are cleared away"""
    repeat_cancel: float = 30.0
    gap: float = 5.0
    """a submitter that did not look for so long cannot tell who was silent meanwhile"""
    settle: float = 5.0
    """a surplus that lasts so long is real"""
    soon: float = 5.0
    """delayed learners that are due within it count as work"""
    batch: int = 20
    """new intents per tick"""
    most: int | None = None
    """so many jobs all pools together may have at a time; None: as many as each of them may"""
    backoff: float = 1.0
    """after the first young death; doubled with each further one"""
    backoff_most: float = 60.0
    deaths: int = 5
    """so many young deaths one after another open the circuit"""
    old: float = 3600.0
    keep: int = 200
    """so many ended jobs are remembered, and all that ended less than `old` ago"""


BLAMELESS: Final = ("idle", "drained", PREEMPTED, NODE_FAILED, WALLTIME_OVER)
"""As the reasons of ends begin that charge nothing."""

ELSEWHERE: Final = "elsewhere"
"""The host of jobs that run, but not where this submitter's scheduler can see them."""


STARTED: Final = "started; its agent has not spoken yet"
"""The reason of a job that its scheduler runs while nothing was heard of it: it comes up, or cannot reach Redis."""


class Standing(enum.Enum):
    """How a job counts."""

    PENDING = "pending"
    RUNNING = "running"
    UNKNOWN = "unknown"
    SILENT = "silent"
    """it is there, but its agent has not spoken for a TTL: it takes up room, and its slots are nobody's"""
    ENDING = "ending"
    """it serves no more but still takes up room"""
    GONE = "gone"


@dataclass(frozen=True, slots=True)
class Track:
    """What listings said of one name so far; monotonic seconds of this process."""

    since: float
    """listings begun before it say nothing"""
    missed: int = 0
    number: int = 0
    """of the last listing that was counted"""
    keeperless: float | None = None


@dataclass(frozen=True, slots=True)
class Moment:
    """When, what and by which rules is judged."""

    now: float
    """Redis TIME"""
    mono: float
    """this process's monotonic clock"""
    rules: Rules
    tracks: Mapping[str, Track]
    pool: PoolView
    listing: Listing | None
    answer_within: float
    awake_since: float = 0.0
    """Redis TIME; this submitter has looked without a gap since then"""

    def is_silent(self, job: JobView) -> bool:
        """Whether an agent that once spoke could have, and has not, for a TTL."""
        return bool(job.nonce) and self.now - max(job.seen, self.awake_since) > self.pool.ttl


@dataclass(slots=True)
class Verdict:
    """What is to be changed about one intent, how its jobs count, and what to remember."""

    changes: list[Change] = field(default_factory=list)
    standings: dict[str, Standing] = field(default_factory=dict)
    tracks: dict[str, Track] = field(default_factory=dict)
    submit: bool = False
    """a task is to be enqueued"""
    died_young: str | None = None
    """it ended without ever taking work that was there; why"""


def judge(intent: IntentView, moment: Moment) -> Verdict:
    """Judge an intent and its jobs."""
    verdict = Verdict()
    if intent.state in ("wanted", "enqueued"):
        _judge_unsubmitted(intent, moment, verdict)
    elif intent.state == "submitting":
        _judge_submitting(intent, moment, verdict)
    else:
        for job in intent.jobs:
            verdict.standings[job.id] = _judge_job(job, intent, moment, verdict)
    over = all(job.state == "ended" for job in intent.jobs)
    if over and all(standing is Standing.GONE for standing in verdict.standings.values()):
        verdict.changes.append(Close(intent.id))
        verdict.died_young = _died_young(intent, moment.pool)
    return verdict


def _judge_unsubmitted(intent: IntentView, moment: Moment, verdict: Verdict) -> None:
    asked = next((job for job in intent.jobs if job.wish), None)
    if asked:
        verdict.changes.append(Ask(asked.id, "cancel", "cancelled before it was submitted"))
    elif intent.state == "wanted":
        verdict.submit = moment.now >= intent.not_before
    else:
        verdict.submit = moment.now - intent.since >= moment.rules.start_within
    # A task may take it at this moment: room is free once Redis agrees.
    standing = Standing.ENDING if asked else Standing.PENDING
    verdict.standings.update({job.id: standing for job in intent.jobs})


def _judge_submitting(intent: IntentView, moment: Moment, verdict: Verdict) -> None:
    verdict.standings.update(
        {job.id: Standing.RUNNING if job.nonce else Standing.PENDING for job in intent.jobs}
    )
    listing = moment.listing
    claimed = any(job.nonce for job in intent.jobs)
    seen = {job.id: listing.jobs[job.id] for job in intent.jobs if listing and job.id in listing.jobs}
    if listing and listing.good and seen:
        # An array is submitted as a whole: those of its jobs that are not listed have ended already.
        ids = {job: each.scheduler_id for job, each in seen.items() if each.scheduler_id}
        verdict.changes.append(Found(intent.id, listing.host, ids))
    elif moment.now - intent.since >= moment.answer_within:
        informs = _informs(listing, "")
        track = _count(intent.id, moment, informs=informs)
        verdict.tracks[intent.id] = track
        if track.missed < moment.rules.lookups:
            return
        # An agent that claimed it proves that it was submitted, only not where this submitter can see it.
        found = Found(intent.id, ELSEWHERE, {}) if claimed else Again(intent.id, intent.since)
        verdict.changes.append(found)


def _judge_job(job: JobView, intent: IntentView, moment: Moment, verdict: Verdict) -> Standing:
    if intent.state != "submitted":
        return Standing.GONE  # refused, or cancelled before a scheduler had it
    visible = _sees(moment.listing, intent.host)
    seen = moment.listing.jobs.get(job.id) if visible and moment.listing else None
    if seen and seen.state == "ended":
        return _judge_ended(job, seen, moment, verdict)
    if seen:
        return _judge_seen(job, seen, moment, verdict)
    informs = _informs(moment.listing, intent.host)
    track = verdict.tracks[job.id] = _count(job.id, moment, informs=informs)
    if job.state == "ended":
        # It said so itself: one answer is enough.
        settled = track.missed > 0 or moment.now - (job.ended or 0.0) > moment.rules.abandon
        return Standing.GONE if settled else Standing.ENDING
    reason = _death(job, track, moment, informs=informs)
    if reason:
        verdict.changes.append(Over(job.id, job.nonce, reason))
        # Redis may know better (a requeued copy claimed it meanwhile): room is free once it agrees.
        return Standing.ENDING
    silent = moment.now - job.seen > moment.pool.ttl
    if track.missed and silent and job.state != "unknown":
        verdict.changes.append(Mark(job.id, job.state, "unknown", "the scheduler does not list it"))
    elif job.state == "unknown" and job.nonce and not silent:
        verdict.changes.append(Mark(job.id, "unknown", "running"))
    return _standing(job, moment)


def _judge_ended(job: JobView, seen: Seen, moment: Moment, verdict: Verdict) -> Standing:
    """The scheduler says that it ended; an agent that still speaks knows better (a state may go backwards)."""
    if job.state == "ended":
        return Standing.GONE
    if job.nonce and moment.now - job.seen <= moment.pool.ttl / 2:
        return _standing(job, moment)
    verdict.changes.append(Over(job.id, job.nonce, seen.reason))
    return Standing.ENDING


def _judge_seen(job: JobView, seen: Seen, moment: Moment, verdict: Verdict) -> Standing:
    before = moment.tracks.get(job.id)
    keeperless = None
    if seen.state == "ending":
        keeperless = before.keeperless if before and before.keeperless is not None else moment.mono
    verdict.tracks[job.id] = Track(before.since if before else moment.mono, keeperless=keeperless)
    linger = moment.rules.linger
    if job.state == "ended":
        if not job.wish and moment.now - (job.ended or 0.0) > linger:
            verdict.changes.append(Ask(job.id, "cancel", job.reason))
        return Standing.ENDING
    if keeperless is not None and moment.mono - keeperless > linger and not job.wish:
        verdict.changes.append(Ask(job.id, "cancel", seen.reason))
    if moment.is_silent(job):
        if job.state == "running":
            verdict.changes.append(Mark(job.id, "running", "unknown", "its agent is silent"))
    elif job.state == "unknown":
        back: JobState = "running" if job.nonce else "pending"
        verdict.changes.append(Mark(job.id, "unknown", back, seen.reason))
    elif job.state == "pending":
        reason = STARTED if seen.state == "running" else seen.reason
        if reason != job.reason:
            verdict.changes.append(Mark(job.id, "pending", "pending", reason))
    return Standing.ENDING if seen.state == "ending" else _standing(job, moment)


def _death(job: JobView, track: Track, moment: Moment, *, informs: bool) -> str | None:
    """Why the job is dead for certain, if it is."""
    silent = moment.now - job.seen
    listing = moment.listing
    if track.missed and listing and listing.proof:
        return "its processes are gone"
    if track.missed >= moment.rules.absences and silent > moment.pool.ttl:
        return "the scheduler no longer has it and its agent is silent"
    if not informs and listing and listing.good and listing.host and silent > moment.rules.abandon:
        return f"not heard of for {silent:.0f} s; it ran elsewhere"
    return None


def _standing(job: JobView, moment: Moment) -> Standing:
    if job.wish or job.state == "draining":
        return Standing.ENDING
    if moment.is_silent(job):
        return Standing.SILENT
    if job.state == "unknown":
        return Standing.UNKNOWN
    return Standing.RUNNING if job.state == "running" else Standing.PENDING


def _sees(listing: Listing | None, host: str) -> bool:
    """Whether a listing would show a job that was submitted on `host`."""
    if listing is None or not listing.good:
        return False
    return not host or not listing.host or host == listing.host


def _informs(listing: Listing | None, host: str) -> bool:
    """Whether a listing says anything about a job that is not in it."""
    return _sees(listing, host) and listing is not None and listing.informs


def misses_someone(survey: Survey, kind: str) -> bool:
    """Whether a kind of scheduler should have jobs that left, or that nobody has heard of for a TTL.

    Only then an empty listing is worth a second look: where all agents speak, they are the better evidence.
    """
    for intent in survey.intents:
        if intent.kind != kind or intent.state not in ("submitting", "submitted"):
            continue
        pool = survey.pools.get(intent.pool)
        ttl = pool.ttl if pool else 0.0
        if any(job.state == "ended" or survey.now - job.seen > ttl for job in intent.jobs):
            return True
    return False


def _count(name: str, moment: Moment, *, informs: bool) -> Track:
    """The track of a name that the listing does not have."""
    track = moment.tracks.get(name) or Track(moment.mono)
    listing = moment.listing
    if not informs or listing is None or listing.began <= track.since or listing.number == track.number:
        return track
    return replace(track, missed=track.missed + 1, number=listing.number)


def _died_young(intent: IntentView, pool: PoolView) -> str | None:
    """Why it died, if it never took work though there was some; None if that was nobody's fault."""
    if intent.state == "cancelled" or not pool.queued + pool.soon:
        return None
    for job in intent.jobs:
        if not (job.acquired or job.wish or job.reason.startswith(BLAMELESS)):
            return job.reason or intent.reason or "it ended at once"
    return None

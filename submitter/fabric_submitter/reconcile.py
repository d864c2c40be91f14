"""Keeping every pool's number of jobs: (what is wanted, what there is, what the schedulers say, clock) to actions.

Pure. wanted = min(limit, jobs that hold leases + those that their free slots leave work for). What is lacking is
intended; a surplus of pending jobs is cancelled once it lasts; a job that holds leases is never cancelled, and
drained only when the limit itself was lowered. With an overlap, jobs whose walltime ends within it do not count, as
many as the limit at most, so there are never more than twice the limit; what they hold is work for their
replacements. Nothing here knows Redis or a scheduler.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from fabric_broker.intents import Ask, Cancelling, Change, Forget, Remember
from fabric_broker.survey import IntentView, JobView, PoolView, Survey

from .adapters.scheduler import Listing
from .judging import Moment, Rules, Standing, Track, Verdict, judge

_SERVING = (Standing.PENDING, Standing.RUNNING, Standing.UNKNOWN)


@dataclass(frozen=True, slots=True)
class Memory:
    """What is carried from tick to tick; losing it costs some patience, nothing else."""

    tracks: Mapping[str, Track] = field(default_factory=dict)
    surplus_since: Mapping[str, float] = field(default_factory=dict)
    """by pool, Redis TIME"""
    looked: float = 0.0
    """when it looked last, Redis TIME"""
    awake_since: float = 0.0
    """since when it looks without a gap, Redis TIME"""

    def awake(self, now: float, rules: Rules) -> float:
        """Since when it has looked without a gap, now that it looks again."""
        return self.awake_since if 0.0 <= now - self.looked <= rules.gap else now


@dataclass(frozen=True, slots=True)
class Scene:
    """What is known of one kind of scheduler."""

    listing: Listing | None = None
    answer_within: float = 60.0
    """seconds; see `Scheduler.answer_within`"""
    jobs_per_submit: int = 1
    """see `Scheduler.jobs_per_submit`"""


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be done, in this order: changes, new intents, tasks."""

    changes: tuple[Change, ...]
    want: Mapping[str, int]
    """new jobs by pool"""
    submit: tuple[IntentView, ...]
    """intents for which a submit task is to be enqueued"""
    cancel: tuple[str, ...]
    """intents for which a cancel task is to be enqueued"""
    memory: Memory


@dataclass(slots=True)
class _Pool:
    """A pool with its jobs as they were judged."""

    view: PoolView
    limit: int
    jobs: list[tuple[IntentView, JobView, Standing]] = field(default_factory=list)
    leaving: list[JobView] = field(default_factory=list)
    """those that do not count, because their walltime is about to end"""
    deaths: list[str] = field(default_factory=list)

    def let_leave(self, now: float, requeued: set[str]) -> None:
        """Count those no more whose walltime ends within the overlap; a requeued one has it all before it."""
        ends = [
            (job.walltime_end, job)
            for _, job, standing in self.jobs
            if standing is not Standing.GONE and job.walltime_end is not None and job.id not in requeued
        ]
        if self.view.overlap:
            near = sorted((end, job.id, job) for end, job in ends if now >= end - self.view.overlap)
            self.leaving = [job for _, _, job in near[: self.limit]]
            gone = {job.id for job in self.leaving}
            self.jobs = [each for each in self.jobs if each[1].id not in gone]

    def serving(self) -> list[tuple[IntentView, JobView]]:
        return [(intent, job) for intent, job, standing in self.jobs if standing in _SERVING]

    def silent(self) -> list[JobView]:
        """Those that hold nothing, so that nobody is hurt if they were not dead after all."""
        silent = [job for _, job, standing in self.jobs if standing is Standing.SILENT]
        return [job for job in silent if not job.holds]

    def alive(self) -> int:
        return sum(standing is not Standing.GONE for _, _, standing in self.jobs)


def reconcile(survey: Survey, scenes: Mapping[str, Scene], memory: Memory, mono: float, rules: Rules) -> Plan:
    """Compare what is with what should be; `scenes` by kind of pool, `mono` as in `Listing.began`."""
    pools = {name: _Pool(view, 0 if survey.held else view.limit) for name, view in survey.pools.items()}
    changes: list[Change] = []
    tracks: dict[str, Track] = {}
    submit: list[IntentView] = []
    requeued: set[str] = set()
    awake = memory.awake(survey.now, rules)
    for intent in survey.intents:
        # A pool that was removed wants no jobs.
        pool = pools.setdefault(intent.pool, _Pool(PoolView(intent.pool, intent.kind, 0, 1, 30.0, 0, 0), 0))
        scene = scenes.get(intent.kind, Scene())
        moment = Moment(
            survey.now, mono, rules, memory.tracks, pool.view, scene.listing, scene.answer_within, awake
        )
        verdict = judge(intent, moment)
        _take_in(intent, verdict, pool)
        requeued |= _waiting(intent, scene.listing)
        changes += verdict.changes
        tracks |= verdict.tracks
        if verdict.submit:
            submit.append(intent)
    want, surplus_since = {}, {}
    budget = min(rules.batch, _room(pools.values(), rules.most))
    for name, pool in pools.items():
        changes += _remember(pool, survey.now, rules)
        pool.let_leave(survey.now, requeued)
        lack, asks, since = _balance(pool, survey, memory.surplus_since.get(name), rules)
        changes += asks
        if since is not None:
            surplus_since[name] = since
        if lack and budget:
            want[name] = int(min(lack, budget))
            budget -= want[name]
    asked = {change.job for change in changes if isinstance(change, Ask)}
    cancel = [intent.id for intent in survey.intents if _sends_cancel(intent, asked, survey.now, rules)]
    changes += [Cancelling(intent) for intent in cancel]
    changes += [Forget(job) for job in survey.old]
    unwanted = {intent.id for intent in survey.intents for job in intent.jobs if job.id in asked}
    return Plan(
        tuple(changes),
        want,
        tuple(intent for intent in submit if intent.id not in unwanted),
        tuple(cancel),
        Memory(tracks, surplus_since, survey.now, awake),
    )


def shares(jobs: int, most: int) -> list[int]:
    """Divide jobs among submits of at most so many."""
    return [min(most, jobs - start) for start in range(0, jobs, most)]


def _room(pools: Iterable[_Pool], most: int | None) -> float:
    """How many new jobs there may be; `most`: of all pools together, None without end."""
    return math.inf if most is None else max(0, most - sum(pool.alive() for pool in pools))


def _take_in(intent: IntentView, verdict: Verdict, pool: _Pool) -> None:
    pool.jobs += [(intent, job, verdict.standings[job.id]) for job in intent.jobs]
    if verdict.died_young is not None:
        pool.deaths.append(verdict.died_young)


def _waiting(intent: IntentView, listing: Listing | None) -> set[str]:
    """Jobs of an intent that wait in the scheduler, whatever their agents once said."""
    if listing is None or not listing.good:
        return set()
    return {
        job.id for job in intent.jobs if job.id in listing.jobs and listing.jobs[job.id].state == "pending"
    }


def wanted_jobs(
    pool: PoolView, limit: int, serving: list[tuple[IntentView, JobView]], inherited: int = 0
) -> int:
    """Jobs that the pool's work needs, at most its limit; `inherited`: learners that leaving jobs will give back.

    Free slots of jobs that hold nothing are not subtracted from the work: those jobs are counted by it.
    """
    holders = [job for _, job in serving if job.holds]
    free = sum(max(0, job.slots - job.holds) for job in holders)
    backlog = max(0, pool.queued + pool.soon + inherited - free)
    return min(limit, len(holders) + math.ceil(backlog / pool.slots))


def _balance(
    pool: _Pool, survey: Survey, since: float | None, rules: Rules
) -> tuple[int, list[Change], float | None]:
    """How many jobs are lacking, who is asked to go, and since when there has been a surplus."""
    view, serving = pool.view, pool.serving()
    inherited = sum(job.holds for job in pool.leaving)
    wanted = wanted_jobs(view, pool.limit, serving, inherited)
    changes: list[Change] = []
    if view.name in survey.pools and wanted != view.wanted:
        changes.append(Remember(view.name, {"wanted": str(wanted)}))
    surplus = len(serving) - wanted
    over = len(serving) - pool.limit
    if surplus > 0:
        since = survey.now if since is None or since > survey.now else since
        if over > 0 or survey.now - since >= rules.settle:
            spare = _spare(serving)[:surplus]
            changes += [Ask(job.id, "cancel", f"pool {view.name} has no work for it") for job in spare]
            over -= len(spare)
        if over > 0:
            changes += [Ask(job.id, "drain", _over_limit(pool)) for job in _drainable(serving)[:over]]
        return 0, changes, since
    if view.circuit is not None:
        unsubmitted = [job for intent, job in serving if intent.state in ("wanted", "enqueued")]
        changes += [Ask(job.id, "cancel", f"pool {view.name} submits no more") for job in unsubmitted]
        return 0, changes, None
    if pool.deaths or survey.now < view.retry_at:
        return 0, changes, None
    room = pool.limit - pool.alive()
    if -surplus > room:
        stuck = pool.silent()[: -surplus - max(0, room)]
        changes += [Ask(job.id, "cancel", "its agent is silent while work waits") for job in stuck]
    lack = min(-surplus, room)
    if view.deaths:
        # One at a time until one is seen to work; one that is dying has not been judged yet.
        untried = [
            job for _, job, standing in pool.jobs if standing is not Standing.GONE and not job.acquired
        ]
        lack = min(lack, 1 - len(untried))
    return max(0, lack), changes, None


def _spare(serving: list[tuple[IntentView, JobView]]) -> list[JobView]:
    """Jobs that have not started, those first that no scheduler has yet, then the newest."""
    waiting = [(intent, job) for intent, job in serving if not job.nonce and not job.holds]
    waiting = [(intent, job) for intent, job in waiting if job.state in ("submitting", "pending")]
    waiting.sort(key=lambda each: (each[0].state not in ("wanted", "enqueued"), -each[0].since))
    return [job for _, job in waiting]


def _drainable(serving: list[tuple[IntentView, JobView]]) -> list[JobView]:
    """Jobs that have started, idle ones first, then the newest."""
    started = [job for _, job in serving if job.nonce]
    return sorted(started, key=lambda job: (job.holds > 0, -(job.started or 0.0)))


def _over_limit(pool: _Pool) -> str:
    return f"pool {pool.view.name} may have {pool.limit} jobs"


def _remember(pool: _Pool, now: float, rules: Rules) -> list[Change]:
    """Young deaths: back off exponentially, past a limit open the circuit; a job that works ends that."""
    view = pool.view
    if pool.deaths:
        deaths = view.deaths + 1
        wait = min(rules.backoff_most, rules.backoff * 2.0 ** (deaths - 1))
        fields = {
            "deaths": str(deaths),
            "last_death": str(round(now * 1000)),
            "retry_at": str(round((now + wait) * 1000)),
        }
        if deaths >= rules.deaths:
            fields |= {"circuit": pool.deaths[-1], "circuit_since": str(round(now * 1000))}
        return [Remember(view.name, fields)]
    works = any(job.acquired and (job.started or 0.0) > view.last_death for _, job, _ in pool.jobs)
    if view.deaths and works and view.circuit is None:
        return [Remember(view.name, drop=("deaths", "last_death", "retry_at"))]
    return []


def _sends_cancel(intent: IntentView, asked: set[str], now: float, rules: Rules) -> bool:
    """Whether a cancel task goes out: some of its jobs shall go, and none went out lately."""
    if intent.state != "submitted" or not any(job.wish or job.id in asked for job in intent.jobs):
        return False
    return now - intent.cancel_at >= rules.repeat_cancel

"""Why is this not running? Pure rules from what is known at one moment to reasons, most pressing first.

Here are those about pools, which everything that waits ends with; learner_reasons.py has the others. Whoever shows
a fabric (the command `fabric explain`, the terminal app) asks these functions and makes up no reasons of its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from fabric_broker import durations
from fabric_broker.intents import Leader
from fabric_broker.survey import IntentView, JobView, PoolView, Survey
from fabric_submitter.judging import STARTED

from .scheduler_words import meaning

MODULES: Final = (
    "let the jobs' Python find it: install it there, set PYTHONPATH by env=, or load it in preamble="
)


@dataclass(frozen=True, slots=True)
class Reason:
    """One reason; `code` is for programs, `text` says what is so, `fix` what to do ("": nothing)."""

    code: str
    text: str
    fix: str = ""


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of a fabric at one moment."""

    survey: Survey
    leader: Leader
    most: int | None = None
    """so many jobs all pools together may have; None: no such limit"""

    @property
    def now(self) -> float:
        """Redis TIME, Unix seconds."""
        return self.survey.now

    def jobs(self, pool: str) -> list[tuple[IntentView, JobView]]:
        """The jobs of a pool that have not ended."""
        return [
            (intent, job)
            for intent in self.survey.intents
            if intent.pool == pool
            for job in intent.jobs
            if job.state != "ended"
        ]


def why_pool(known: Known, name: str) -> list[Reason]:
    """Why a pool does not run what is queued there; of one where nothing is queued, that too."""
    pool = known.survey.pools.get(name)
    if pool is None:
        return [
            Reason("pool-gone", f"pool {name} was removed", f"fabric pool add {name} makes one of that name")
        ]
    jobs = known.jobs(name)
    found = [*_hindrances(known, pool), *_on_their_way(known, pool, jobs), *_at_work(known, pool, jobs)]
    if not pool.queued:
        found.insert(0, _no_work(pool, jobs))
    elif not found:
        found.append(
            Reason("soon", f"pool {name} is about to be given a job; the submitter looks once a second")
        )
    return found


def span(seconds: float) -> str:
    """``H:MM:SS``; clocks differ, and nothing was negative seconds ago."""
    return durations.text(max(0.0, seconds))


def is_silent(known: Known, job: JobView, pool: PoolView) -> bool:
    """Whether nothing was heard of a job's agent for a TTL."""
    return bool(job.nonce) and known.now - job.seen > pool.ttl


def no_submitter(known: Known) -> Reason | None:
    """That nobody submits jobs, if nobody does."""
    leader = known.leader
    if leader.alive:
        return None
    since = "none was ever seen"
    if leader.last_seen is not None:
        where = f" on {leader.host}" if leader.host else ""
        since = f"the last one spoke {span(known.now - leader.last_seen)} ago{where}"
    text = f"no submitter is alive ({since}), so no new job comes; jobs that run go on"
    return Reason("no-submitter", text, "fabric up")


def _no_work(pool: PoolView, jobs: list[tuple[IntentView, JobView]]) -> Reason:
    held = sum(job.holds for _, job in jobs)
    text = f"nothing is queued in pool {pool.name}; its jobs hold {_count(held, 'learner')}"
    if pool.soon:
        text += f", and {_count(pool.soon, 'learner')} will be queued again within seconds"
    return Reason("no-work", text)


def _hindrances(known: Known, pool: PoolView) -> Iterator[Reason]:
    """What keeps the submitter from asking for any job."""
    if known.survey.held:
        text = "`fabric down` holds the fabric: jobs are drained and none is submitted"
        yield Reason("held", text, "fabric up")
    nobody = no_submitter(known)
    if nobody is not None:
        yield nobody
    if pool.circuit is not None:
        since = ""
        if pool.circuit_since is not None:
            since = f" since {span(known.now - pool.circuit_since)} ago"
        text = f"the circuit of pool {pool.name} is open{since}: "
        text += f"{_count(pool.deaths, 'job')} died young, the last: {pool.circuit}"
        yield Reason("circuit", text, f"mend that, then fabric pool resume {pool.name}")
    if pool.limit == 0:
        text = f"pool {pool.name} may have no jobs"
        yield Reason("no-jobs", text, f"fabric scale {pool.name} N")
    if pool.circuit is None and pool.deaths:
        yield _young_deaths(known, pool)


def _young_deaths(known: Known, pool: PoolView) -> Reason:
    died = f"{_count(pool.deaths, 'job')} of pool {pool.name} died young in a row"
    fix = "fabric jobs shows why each ended"
    if known.now < pool.retry_at:
        text = f"{died}; the next one is tried in {span(pool.retry_at - known.now)}"
        return Reason("back-off", text, fix)
    return Reason("probation", f"{died}; there is one job at a time until one takes work", fix)


def _on_their_way(known: Known, pool: PoolView, jobs: list[tuple[IntentView, JobView]]) -> Iterator[Reason]:
    """Jobs that were asked for and do not work yet: by where they are, one reason for all that wait alike."""
    yield from _not_submitted(known, pool, jobs)
    starting = [job for _, job in jobs if job.state == "pending" and job.reason.startswith(STARTED)]
    pending = [job for _, job in jobs if job.state == "pending" and job not in starting]
    reasons: dict[str, int] = {}
    for job in pending:
        reasons[job.reason] = reasons.get(job.reason, 0) + 1
    found = [pending_reason(pool.kind, reason, number) for reason, number in reasons.items()]
    yield from sorted(found, key=lambda reason: reason.code)  # "never-starts" before "pending"
    if starting:
        text = f"{_count(len(starting), 'job')} of pool {pool.name} {STARTED}"
        fix = f"fabric explain {starting[0].id} shows the end of its log"
        yield Reason("starting", text, fix)


def pending_reason(kind: str, reason: str, number: int = 1) -> Reason:
    """That jobs wait in a scheduler, and what its reason means."""
    found = meaning(reason)
    wait = "waits" if number == 1 else "wait"
    text = f"{_count(number, 'job')} {wait} in {kind}"
    text += f": {reason}" if reason else ""
    text += f" ({found.text})" if found.text else ""
    if found.never:
        return Reason("never-starts", f"{text}; that does not pass by itself", found.fix)
    return Reason("pending", text, found.fix)


def _not_submitted(known: Known, pool: PoolView, jobs: list[tuple[IntentView, JobView]]) -> Iterator[Reason]:
    """Jobs that no scheduler has yet."""
    groups: dict[tuple[str, str], list[IntentView]] = {}
    for intent, job in jobs:
        code = _stage(known, intent)
        if code and not job.nonce:
            groups.setdefault((code, intent.reason if code == "busy" else ""), []).append(intent)
    for (code, reason), intents in sorted(groups.items()):
        number, longest = _count(len(intents), "job"), known.now - min(each.since for each in intents)
        if code == "busy":
            again = span(min(each.not_before for each in intents) - known.now)
            text = (
                f"{pool.kind} takes no more jobs now ({reason}); {number} to submit, tried again in {again}"
            )
            yield Reason(code, text, "wait, or scale the pool down to what the site allows")
        elif code == "task-waits":
            tries = max(each.tries for each in intents)
            text = f"no task submits {number}, though one was queued {tries} times"
            yield Reason(code, text, "see logs/submitter.log in the home")
        elif code == "asked":
            yield Reason(code, f"{pool.kind} was asked for {number} {span(longest)} ago, no answer yet")
        else:
            yield Reason(code, f"{number} of pool {pool.name} about to be submitted")


def _stage(known: Known, intent: IntentView) -> str:
    """How far an intent is on its way to the scheduler; "": it is there."""
    if intent.state == "submitting":
        return "asked"
    if intent.state not in ("wanted", "enqueued"):
        return ""
    if intent.state == "wanted" and intent.not_before > known.now:
        return "busy"
    # Whoever takes the tasks does so at once; the submitter queues another one every 30 s.
    return "task-waits" if intent.tries > 1 else "submitting"


def _at_work(known: Known, pool: PoolView, jobs: list[tuple[IntentView, JobView]]) -> Iterator[Reason]:
    """What the jobs that started do, and whether there could be more of them."""
    ending = [job for _, job in jobs if job.state == "draining" or job.wish]
    started = [job for _, job in jobs if job.nonce and job not in ending]
    silent = [job for job in started if is_silent(known, job, pool)]
    lost = [job for _, job in jobs if job.state == "unknown" and job not in silent and job not in ending]
    late = [job for job in started if job not in silent and _is_late(known, pool, job)]
    able = [job for job in started if job not in silent and job not in late]
    if silent:
        text = (
            f"{_count(len(silent), 'job')} of pool {pool.name} silent for longer than a TTL ({pool.ttl:g} s)"
        )
        fix = f"fabric explain {silent[0].id} shows the end of its log"
        yield Reason("silent", text, fix)
    for trouble in sorted({job.reason for job in able + late if job.state == "running" and job.reason}):
        yield Reason("trouble", f"a job of pool {pool.name} says: {trouble}", MODULES)
    if lost:
        text = f"the scheduler does not tell about {_count(len(lost), 'job')}, which may still live"
        yield Reason("unknown", text, "wait; it is asked again at every poll")
    if ending:
        text = f"{_count(len(ending), 'job')} on the way out, counted until gone"
        yield Reason("ending", text)
    if late and pool.queued:
        text = f"{_count(len(late), 'job')} with too little walltime left for another learner"
        yield Reason("walltime", text, "wait for the replacement, or use a longer walltime or overlap=")
    if pool.queued:
        counted = [job for _, job in jobs if not _is_leaving(known, pool, job)]
        yield from _room(pool, len(counted), able)
        yield from _ceiling(known)


def _room(pool: PoolView, jobs: int, able: list[JobView]) -> Iterator[Reason]:
    slots = sum(job.slots for job in able)
    held = sum(min(job.slots, job.holds) for job in able)
    if held < slots:
        text = f"{_count(slots - held, 'slot')} free in pool {pool.name}: a learner is leased within a second"
        yield Reason("free-slot", text)
    elif pool.limit and jobs >= pool.limit:
        text = f"pool {pool.name} is at its limit of {_count(pool.limit, 'job')}"
        text += f" ({held} of {_count(slots, 'slot')} busy, {_count(pool.queued, 'learner')} queued)"
        yield Reason("at-limit", text, f"fabric scale {pool.name} N")


def _ceiling(known: Known) -> Iterator[Reason]:
    """Whether all pools together have as many jobs as they may."""
    there = sum(job.state != "ended" for intent in known.survey.intents for job in intent.jobs)
    if known.most is not None and there >= known.most:
        text = f"all pools together may have {_count(known.most, 'job')}, and have {there}"
        yield Reason(
            "ceiling", text, "fabric config --explain says who set jobs; scale down another pool, or wait"
        )


def _is_late(known: Known, pool: PoolView, job: JobView) -> bool:
    """Whether too little walltime is left to lease another learner."""
    return job.walltime_end is not None and known.now >= job.walltime_end - pool.last_call


def _is_leaving(known: Known, pool: PoolView, job: JobView) -> bool:
    """Whether it does not count into the limit, because its walltime ends within the overlap."""
    return bool(
        pool.overlap and job.walltime_end is not None and known.now >= job.walltime_end - pool.overlap
    )


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"

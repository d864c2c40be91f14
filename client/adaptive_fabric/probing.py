"""Small jobs that phone home: one per pool, with the pool's own script, sent to see whether its jobs could work."""

from __future__ import annotations

import base64
import dataclasses
import os
import secrets
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from fabric_broker import probes
from fabric_broker.broker import Broker
from fabric_broker.connection import address
from fabric_broker.errors import FabricError, SchedulerError, UsageError
from fabric_broker.home import Home
from fabric_broker.probes import Report
from fabric_broker.records import PoolRecord
from fabric_broker.survey import job_id
from fabric_submitter.adapters.scheduler import Listing, Request, Scheduler, Seen, find
from fabric_submitter.specs import Spec, spec_from_dict

from . import pools
from .asking import asking

LONGEST_S: Final = 300.0
"""Walltime of a probe at most."""
GRACE_S: Final = 5.0
_PAUSE: Final = 0.2  # s between two looks for reports
_LISTING: Final = 5.0  # s between two questions to a batch scheduler; nobody polls here for long
_ABSENCES: Final = 2  # a job that so many listings lack is over
_GONE_WITHIN: Final = 5.0  # s that a local probe may take to end
_TAIL_BYTES, _TAIL_LINES, _TAIL_LENGTH = 4096, 4, 500
_ADVICE: Final = {
    "No module named fabric_jobs": "the pool's python must be one that has adaptive-fabric",
    "No module named 'fabric_jobs'": "the pool's python must be one that has adaptive-fabric",
    "the preamble failed": "mend the pool's preamble",
}


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of a pool's probe."""

    pool: str
    ok: bool
    text: str


def probe(home: Home, broker: Broker, records: Sequence[PoolRecord], wait: float) -> Iterator[Verdict]:
    """Send a probe to each pool, and tell what becomes of them within `wait` seconds; none is left behind.

    A probe is a job beside those that the pool may have.
    """
    sent: list[_Probe] = []
    url = address(broker.redis)
    try:
        for record in records:
            try:
                pools.check(home, url, spec_from_dict(record.spec), name=record.name)
                sent.append(_Probe(home, record))
            except (UsageError, SchedulerError) as error:
                yield Verdict(record.name, ok=False, text=f"no job can be sent: {error}")
        yield from _listen(broker, sent, wait)
    finally:
        for each in sent:
            each.clear()
        with asking(broker.redis):
            probes.forget(broker, [each.job for each in sent])


def _listen(broker: Broker, sent: Sequence[_Probe], wait: float) -> Iterator[Verdict]:
    waiting = list(sent)
    deadline = time.monotonic() + wait
    while waiting:
        late = time.monotonic() >= deadline
        with asking(broker.redis):
            reports = probes.heard(broker, [each.job for each in waiting])
        for each in list(waiting):
            verdict = each.look(reports.get(each.job), late=late, wait=wait)
            if verdict is not None:
                waiting.remove(each)
                yield verdict
        if waiting:
            time.sleep(_PAUSE)


def small(spec: Spec) -> Spec:
    """Return what a probe gets: a job of the pool with one core a node, and no longer than it needs."""
    has = {each.name for each in dataclasses.fields(spec)}
    values: dict[str, Any] = {"slots": 1, "cores": getattr(spec, "nodes", 1), "executor": "serial"}
    values |= {"grace": GRACE_S, "min_lease_time": 0.0, "overlap": 0.0}
    walltime = getattr(spec, "walltime_s", None)
    if walltime is not None:
        values["walltime"] = min(walltime, LONGEST_S)
    return dataclasses.replace(spec, **{name: value for name, value in values.items() if name in has})


class _Probe:
    """One pool's probe, from its submit on.

    Raises
    ------
    UsageError, SchedulerError
        It cannot be submitted.
    """

    def __init__(self, home: Home, record: PoolRecord) -> None:
        spec = spec_from_dict(record.spec)
        self._home = home
        self._intent = "i" + base64.b32encode(secrets.token_bytes(7)).decode().lower()[:10]
        self.job = job_id(self._intent)
        self._pool = record.name
        self._scheduler: Scheduler = find(spec.kind)(home)
        request = Request(self._intent, record.name, small(spec), (self.job,), probe=True)
        self._id = self._scheduler.submit(request)[self.job]
        self._seen: Seen | None = None
        self._missed = 0
        self._over = ""
        self._next_listing = 0.0

    def look(self, report: Report | None, *, late: bool, wait: float) -> Verdict | None:
        """What became of it, if that is known by now; `late`: it must be told now."""
        if report is not None:
            return self._heard(report)
        if self._over:
            return self._silent()
        now = time.monotonic()
        if late or now >= self._next_listing:
            listing = self._scheduler.list()
            self._next_listing = now + (_PAUSE if listing.proof else _LISTING)
            self._over = self._end(listing)
        # One that has ended may have phoned home just before.
        return self._late(wait) if late and not self._over else None

    def _end(self, listing: Listing) -> str:
        """How it ended, "" while that is not known."""
        if not listing.good:
            return ""
        seen = listing.jobs.get(self.job)
        if seen is None:
            self._missed += 1
            return "it is not listed any more" if listing.proof or self._missed >= _ABSENCES else ""
        self._seen, self._missed = seen, 0
        return (seen.reason or "it ended") if seen.state == "ended" else ""

    def _heard(self, report: Report) -> Verdict:
        text = f"a job phoned home from {report.node}, python {report.python}"
        if report.troubles:
            text = f"a job phoned home from {report.node}, where learners cannot run: {'; '.join(report.troubles)}"
        return Verdict(self._pool, ok=not report.troubles, text=text)

    def _silent(self) -> Verdict:
        log = self._home.job_log(self.job)
        words = last_words(log)
        text = f"job {self._id} ran and did not phone home ({self._over}); "
        text += f"its last words: {words}" if words else f"it left no log in {log.parent}: do nodes see it?"
        advice = [fix for sign, fix in _ADVICE.items() if sign in words]
        return Verdict(self._pool, ok=False, text="; ".join([text, *advice[:1]]))

    def _late(self, wait: float) -> Verdict:
        if self._seen is not None and self._seen.state == "running":
            words = last_words(self._home.job_log(self.job)) or "it said nothing yet"
            text = f"job {self._id} runs, and did not phone home within {wait:g} s: {words}"
        else:
            state = "the scheduler does not list it"
            if self._seen is not None:
                state = ", ".join(filter(None, (self._seen.state, self._seen.reason)))
            text = f"job {self._id} did not start within {wait:g} s: {state}"
            text += "; it was cancelled, and  fabric doctor --wait SECONDS  waits longer"
        return Verdict(self._pool, ok=False, text=text)

    def clear(self) -> None:
        """See that nothing of it is left: no job, no script, no log."""
        if not self._over:
            try:
                self._scheduler.cancel([(self.job, self._id, "cancel")])
                self._await_end()
            except FabricError:
                pass  # it does not answer; a probe ends by itself, or soon after it has started
        for file in (self._home.job_script(self._intent), self._home.job_log(self.job)):
            file.unlink(missing_ok=True)

    def _await_end(self) -> None:
        """Wait for one whose end can be seen at once."""
        deadline = time.monotonic() + _GONE_WITHIN
        while time.monotonic() < deadline:
            listing = self._scheduler.list()
            if not listing.proof or self.job not in listing.jobs:
                return
            time.sleep(_PAUSE)


def last_words(log: Path) -> str:
    """Return the last lines of a job's log, in one; "" if there are none."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - _TAIL_BYTES))
            text = file.read().decode(errors="replace")
    except OSError:
        return ""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return " / ".join(lines[-_TAIL_LINES:])[-_TAIL_LENGTH:]

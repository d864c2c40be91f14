"""What an agent asks Redis, when, and what the answers mean. Pure: the clock and the answers are handed in.

There is one exchange at a time: `Deciding.compose` says what to ask now, all of it goes out in one round trip, each
answer goes to the taker beside its question, then `Deciding.settle` draws the conclusions. When answers are lost
nothing has to be undone: `compose` asks from what is known, first of all whether the leases are still ours.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from random import Random
from typing import Any, Final

from fabric_broker import calls
from fabric_broker.calls import Acquired, Claimed, Committed, Ended, Hold, Journaled, Renewed
from fabric_broker.config import Config
from fabric_broker.errors import BrokerError
from fabric_broker.events import LOG_LINES, log_fields
from fabric_broker.keys import Keys
from fabric_broker.records import Command, Outcome
from fabric_broker.signing import Signer

from .crew import Crew
from .fetching import Fetch, Plain, Runs, Sending
from .held import BATCH_BYTES, Done, Held, Raised, Released, Saved, Step
from .orders import Say
from .points import Batch
from .telling import Identity, tell

FLUSH_INTERVAL: Final = 0.5
"""Seconds between two journal batches of a learner, unless they grow large."""
POLL: Final = (0.3, 0.5)
"""Seconds between two looks for work while there is none: at random between these."""
LOG_INTERVAL: Final = 1.0
"""Seconds between two writes of log lines."""
MISSING: Final = ("ModuleNotFoundError", "ImportError")
NOTE_CHARS: Final = 200
"""A job's reason may take so much of Redis."""
REASON_CHARS: Final = 600
"""The reason of a job's end may take so much of Redis."""
RELENT: Final = 0.5
"""Seconds until what Redis refused (its memory is full) is tried again."""


@dataclass(slots=True)
class Deciding:
    """One agent's dealings with Redis. Times are seconds of one clock that goes on while the agent is stopped.

    Parameters
    ----------
    me
        Which agent this is.
    spec
        The pool's spec, as claimed.
    crew
        The job's slots and leases.
    """

    me: Identity
    spec: Mapping[str, Any]
    crew: Crew
    keys: Keys
    signer: Signer
    chance: Random
    proven: bool = True
    """Slots of this job come up: where they are forked, for certain, else (False) once one did. What an unproven
    job leases does not show the submitter that jobs of this pool work."""
    start_timeout: float = Config.start_timeout
    """Seconds that the workers of a slot have to come."""
    ended: str | None = None
    """Why there is nothing more to do for this agent, once there is not."""
    log: list[tuple[str | None, str]] = field(default_factory=list)
    """Lines for the log stream: the learner they speak of, and the text."""
    _runs: Runs = field(init=False)
    _fetches: list[Fetch] = field(default_factory=list)
    _claimed: bool = True
    _valid: bool = True
    _sure_until: float = 0.0
    _renew_at: float = 0.0
    _flush_at: float = 0.0
    _acquire_at: float = 0.0
    _asking: tuple[str, list[int]] | None = None
    _in_vain: frozenset[int] = frozenset()
    _requests: int = 0
    _idle_since: float | None = None
    _leave_at: float = 0.0
    _log_at: float = 0.0
    _relent_at: float = 0.0
    _give_up_at: float | None = None
    _told_drain: bool = False
    _unable: str = ""
    _proof_due: bool = False
    _noted: str = ""
    _to_note: str = ""
    _drain_at: float = math.inf
    _lease_until: float = math.inf

    def __post_init__(self) -> None:
        self._runs = Runs(self.keys)

    # -- what to ask -------------------------------------------------------------------------------------------------

    def compose(self, now: float) -> list[Sending]:
        """What to ask Redis now, in this order; nothing when nothing is due."""
        if now >= self._drain_at or (now >= self._lease_until and self._nothing_left):
            self.drain(now)
        if not self.proven and self.crew.lives:
            self.proven, self._proof_due, self._renew_at = True, True, now
        if not self._claimed:
            return [Sending(self.me.claim(), self._took_claimed)]
        if self.crew.helds and (not self._valid or now > self._sure_until):
            # After a pause nobody knows whose the learners are: ask before anything is written.
            return [self._renew(now)]
        self._valid = True
        sendings = []
        if self.crew.helds and now >= self._renew_at:
            sendings.append(self._renew(now))
        return [*sendings, *self._steps(now), *self._reads(), *self._acquire(now), *self._manners(now)]

    def next_due(self, now: float) -> float:
        """When to ask `compose` again, if nothing happens before."""
        due = [now + FLUSH_INTERVAL, self._drain_at]
        if self.crew.helds:
            due.append(self._renew_at)
        if self.crew.free(now):
            due.append(self._acquire_at)
        rested = self.crew.next_rested(now)
        if rested is not None:
            due.append(rested)
        return min(due)

    def _renew(self, now: float) -> Sending:
        helds = [held for held in self.crew.helds if not held.fenced and not held.over]
        holds = [Hold(held.lease.learner, held.lease.token, held.lease.slot, held.echoed) for held in helds]
        call = calls.renew(self.me.job, self.me.nonce, ttl=self._ttl, holds=holds, proof=self._proof_due)
        return Sending(call, partial(self._took_renewed, helds, now))

    def _steps(self, now: float) -> list[Sending]:
        """Points, checkpoints and ends of leases: all of them when it is time, at once of those that cannot wait."""
        flush = now >= self._flush_at
        if flush:
            self._flush_at = now + FLUSH_INTERVAL
        relented = now >= self._relent_at
        return [
            Sending(tell(self.me, self.signer, held, step), self._taker(held, step, now))
            for held in self.crew.helds
            if flush or (relented and (held.is_urgent or held.unsent_bytes >= BATCH_BYTES))
            for step in held.to_send()
        ]

    def _taker(self, held: Held, step: Step, now: float) -> Any:
        if isinstance(step, Batch):
            return partial(self._took_journaled, held, now)
        if isinstance(step, Saved):
            return partial(self._took_committed, held, step, now)
        if isinstance(step, Done):
            return held.ended
        return partial(self._took_ended, held, step)

    def _reads(self) -> list[Sending]:
        """The data of leases that have not started."""
        runs = {fetch.held.lease.run for fetch in self._fetches}
        missing = [run for run in sorted(runs) if self._runs.get(run) is None]
        sendings = [sending for run in missing for sending in self._runs.asks(run)]
        return sendings + [sending for fetch in self._fetches for sending in fetch.asks(self.keys)]

    def _acquire(self, now: float) -> list[Sending]:
        if self._asking is None:
            slots = self.crew.free(now)
            # A slot for which there was nothing a moment ago waits for the next poll, any other asks at once.
            if not slots or (now < self._acquire_at and self._in_vain.issuperset(slots)):
                return []
            if now >= self._lease_until:
                return []  # too late for another learner
            self._requests += 1
            self._asking = (f"{self.me.nonce}-{self._requests}", slots)
        request, slots = self._asking
        call = calls.acquire(
            self.me.job, self.me.nonce, request=request, slots=slots, ttl=self._ttl, proven=self.proven
        )
        return [Sending(call, partial(self._took_acquired, slots, now))]

    def _manners(self, now: float) -> list[Sending]:
        """Log lines, and the words with which a job drains, leaves or ends."""
        sendings = []
        if self.log and (now >= self._log_at or self._give_up_at is not None):
            self._log_at = now + LOG_INTERVAL
            sendings += self._log_lines()
        if self._to_note != self._noted:
            note = calls.note_job(self.me.job, self.me.nonce, self._to_note)
            sendings.append(Sending(note, partial(self._took_noted, self._to_note)))
        if self._give_up_at is not None:
            sendings += self._farewell(now)
        elif self._idle_since is not None and now >= self._leave_at:
            self._leave_at = now + self.chance.uniform(*POLL)
            if now - self._idle_since >= self.spec["idle_timeout"]:
                call = calls.leave(self.me.job, self.me.nonce, ttl=self._ttl)
                sendings.append(Sending(call, self._took_leave))
        return sendings

    def _farewell(self, now: float) -> list[Sending]:
        if self._nothing_left or (self._give_up_at is not None and now >= self._give_up_at):
            # It also gives back what a slot that is stuck in the kernel still holds.
            reason = self._unable or "drained"
            call = calls.end_job(self.me.job, self.me.nonce, reason)
            return [Sending(call, lambda _: self._end(reason))]
        if self._told_drain:
            return []
        return [Sending(calls.drain_job(self.me.job, self.me.nonce), self._took_drain)]

    def _log_lines(self) -> list[Sending]:
        lines = self.log.copy()
        self.log.clear()  # whoever writes the log keeps a reference to it
        key = self.keys.log(self.me.job)
        sendings = []
        for learner, text in lines:
            fields = [part for pair in log_fields(learner, text).items() for part in pair]
            args = ("XADD", key, "MAXLEN", "~", LOG_LINES, "*", *fields)
            sendings.append(Sending(Plain(args), lambda _: None))
        return sendings

    # -- what the answers mean ---------------------------------------------------------------------------------------

    def settle(self, now: float) -> None:
        """Draw the conclusions of an exchange: start what was fetched, forget what is over."""
        waiting = []
        for fetch in self._fetches:
            run = self._runs.get(fetch.held.lease.run)
            if run is None or fetch.journal is None:
                waiting.append(fetch)
                continue
            fetch.held.store = run.store
            try:
                self.crew.start(fetch.held, fetch.frame(run, self.spec, self.start_timeout), now)
            except BrokerError as error:
                problem = {"type": type(error).__name__, "text": str(error), "node": self.me.node}
                self.crew.give_back(fetch.held, problem, now)
        self._fetches = [fetch for fetch in waiting if fetch.held.ending is None and not fetch.held.fenced]
        for held in self.crew.helds:
            if held.fenced:
                self.crew.fence(held, now)
            elif held.needs_save:
                self.crew.save(held)
        self.crew.forget_ended()
        if self.crew.helds or self._idle_since is None:
            self._idle_since = None if self.crew.helds else now

    def refused(self, now: float) -> None:
        """Redis refused one of several calls, for now: its memory is full."""
        self._relent_at = now + RELENT

    def troubled(self, now: float) -> None:
        """The connection broke or Redis cannot work: the state of what was sent is unknown."""
        self._valid, self._flush_at = False, now
        if self._give_up_at is not None:
            hopeless = now >= self._give_up_at or self._nothing_left
        else:
            hopeless = self._idle_since is not None and now - self._idle_since >= self.spec["idle_timeout"]
        if hopeless:
            self._end("unreachable")

    def drain(self, now: float) -> None:
        """The job was told to end: its slots save and stop within the grace time."""
        if self._give_up_at is not None:
            return
        grace = float(self.spec["grace"])
        margin = min(5.0, grace / 3)
        self._give_up_at = now + grace - margin / 3
        self.crew.drain(now, now + grace - margin)

    def despair(self, why: str, now: float) -> None:
        """Slots cannot be run here: drain, and say why."""
        if not self._unable:
            self._unable = f"slots cannot be started on {self.me.node}: {why}"[:REASON_CHARS]
            self.drain(now)

    def ends_at(self, end: float) -> None:
        """The scheduler ends the job then: it drains a grace time before, and leases nothing that would not fit."""
        self._drain_at = end - float(self.spec["grace"])
        self._lease_until = self._drain_at - float(self.spec.get("min_lease_time", 0.0))

    @property
    def _nothing_left(self) -> bool:
        return not self.crew.helds and self._asking is None

    @property
    def _ttl(self) -> float:
        return float(self.spec["ttl"])

    def _end(self, reason: str) -> None:
        self.ended = self.ended or reason

    def _lost_claim(self, why: str) -> None:
        for held in self.crew.helds:
            held.fence()
        self.crew.orders.append(Say(f"{why}: this agent stops and writes nothing more"))
        self._end("fenced")

    def _took_claimed(self, answer: Claimed) -> None:
        if answer.outcome is Outcome.OK:
            self._claimed, self._valid = True, False
        else:
            self._lost_claim("another copy of this job took over, or nobody wants it any more")

    def _took_outcome(self, outcome: Outcome) -> bool:
        """Whether Redis sees this agent as the job's one copy."""
        if outcome is Outcome.GONE:  # Redis lost its last second, and in it our claim
            self._claimed = False
        elif outcome is not Outcome.OK:
            self._lost_claim("another copy of this job took over, or it was declared ended")
        return outcome is Outcome.OK

    def _took_renewed(self, helds: list[Held], sent: float, answer: Renewed) -> None:
        if not self._took_outcome(answer.outcome):
            return
        self._valid, self._proof_due = True, False
        self._renew_at = sent + self._ttl / 3
        self._sure_until = sent + self._ttl * 5 / 6
        commands, known = answer.commands or {}, answer.known or {}
        for held in helds:
            learner = held.lease.learner
            if learner in answer.fenced:
                held.fence()
            elif learner in known:
                held.known(known[learner])
                self._command(held, commands.get(learner), sent)

    def _took_journaled(self, held: Held, now: float, answer: Journaled) -> None:
        held.journaled(answer)
        self._command(held, answer.command, now)

    def _took_committed(self, held: Held, saved: Saved, now: float, answer: Committed) -> None:
        self.crew.committed(held, saved, answer, now)
        self._command(held, answer.command, now)

    def _command(self, held: Held, command: Command | None, now: float) -> None:
        self.crew.command(held, command, now, patience=float(self.spec["grace"]))

    def _took_ended(self, held: Held, step: Raised | Released, answer: Ended) -> None:
        held.ended(answer.outcome)
        if answer.state == "queued":
            self._in_vain = frozenset()  # there is something to lease, if only this
        if isinstance(step, Raised) or answer.state == "quarantined":
            problem = step.problem or {}
            text = f"{problem.get('type', 'error')}: {problem.get('text', '')} (now {answer.state})"
            self.crew.orders.append(Say(text, held.lease.learner))
            if problem.get("type") in MISSING:
                # It may be this node's fault, not the learner's: whoever looks at jobs should see it.
                self._to_note = f"cannot import on {self.me.node}: {problem.get('text', '')}"[:NOTE_CHARS]

    def _took_noted(self, note: str, _: Outcome) -> None:
        self._noted = note

    def _took_acquired(self, asked: list[int], sent: float, answer: Acquired) -> None:
        self._asking = None
        if not self._took_outcome(answer.outcome):
            return
        if answer.leases and all(held.over or held.fenced for held in self.crew.helds):
            self._renew_at, self._sure_until = sent + self._ttl / 3, sent + self._ttl * 5 / 6
        for lease in answer.leases:
            for held in self.crew.helds:
                if held.lease.learner == lease.learner:
                    held.fence()  # its lease expired before we knew, and another slot of ours has the next one
            self._fetches.append(Fetch(self.crew.reserve(lease, sent)))
        self._in_vain = frozenset(asked) - {lease.slot for lease in answer.leases}
        self._acquire_at = sent + self.chance.uniform(*POLL)

    def _took_drain(self, outcome: Outcome) -> None:
        self._told_drain = True
        if outcome is Outcome.FENCED:
            self._lost_claim("another copy of this job took over")

    def _took_leave(self, answer: str) -> None:
        if answer == "leave":
            self._end("idle")
        elif answer == "FENCED":
            self._lost_claim("another copy of this job took over")

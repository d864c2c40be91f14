"""One function per script: named arguments in, a `Call` out whose ``parse`` makes the typed answer.

Nothing here talks to Redis; `Broker.do` and `AsyncBroker.do` do. Times and durations in these signatures are
seconds; scripts count in ms.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from . import journal as journal_entries
from .records import (
    Command,
    Holder,
    Lease,
    Outcome,
    Pointer,
    RunSettings,
    command_from,
    lease_from,
)
from .scripts import Call, ms, text, word

PAGE: Final = 500
"""Learners per call at most: longer scripts would hold up everybody."""

Verb = Literal["pause", "resume", "cancel", "retry", "prioritize"]


def _loss(loss: float | None) -> str | None:
    return None if loss is None else repr(float(loss))


def _lease_args(learner: str, token: int, holder: Holder) -> dict[str, Any]:
    return {
        "learner": learner,
        "token": token,
        "job": holder.job,
        "nonce": holder.nonce,
        "slot": holder.slot,
    }


# -- pools and runs --------------------------------------------------------------------------------------------------


def define_pool(
    pool: str, *, spec: dict[str, Any], kind: str, limit: int | None, slots: int, ttl: float
) -> Call[bool]:
    """Create or change a pool; answers whether it is new. ``limit`` None keeps what is there (1 for a new one)."""
    args = {
        "pool": pool,
        "spec": json.dumps(spec),
        "kind": kind,
        "limit": limit,
        "slots": slots,
        "ttl": ms(ttl),
    }
    return Call("define_pool", args, lambda reply: text(reply) == "created")


def scale_pool(pool: str, limit: int) -> Call[bool]:
    """Change how many jobs a pool may have; False if there is no such pool."""
    return Call("scale_pool", {"pool": pool, "limit": limit}, lambda reply: text(reply) == "ok")


def remove_pool(pool: str) -> Call[Literal["ok", "no pool", "in use"]]:
    """Remove a pool that no open learner needs."""
    return Call("remove_pool", {"pool": pool}, word)


def define_run(settings: RunSettings, payload: bytes) -> Call[Literal["ok", "exists", "no pool"]]:
    """Begin a run; ``payload`` is signed. Learners come with `add`."""
    args = {"run": settings.run, "name": settings.name, "pool": settings.pool, "settings": settings.as_hash()}
    return Call("define_run", args, word, (payload,))


def add(
    run: str,
    first: int,
    learners: Sequence[tuple[str, bytes | None]],
    *,
    last: bool,
    pools: Sequence[str] = (),
) -> Call[int]:
    """Add (name, signed payload or None when it lies in the store) from index ``first`` on; answers the total.

    ``pools`` has the pool of each; empty: all go to the run's. -1 means that the run takes no more (it was
    cancelled). Adding the same again changes nothing.
    """
    args = {
        "run": run,
        "first": first,
        "names": [name for name, _ in learners],
        "pools": list(pools),
        "last": last,
    }
    return Call("add", args, int, tuple(payload or b"" for _, payload in learners))


def act(verb: Verb, learners: Sequence[str], *, priority: int | None = None, by: str = "") -> Call[int]:
    """Pause, resume, cancel, retry or prioritize at most `PAGE` learners by id; answers how many changed.

    ``by`` says who asks; it is remembered of a pause.
    """
    args = {"verb": verb, "learners": list(learners), "priority": priority, "by": by}
    return Call("act", args, int)


@dataclass(frozen=True, slots=True)
class Acted:
    """How far an action on a run is; call `act_on_run` with no verb until ``state`` is not "more"."""

    state: Literal["done", "more", "no run", "idle"]
    changed: int


def act_on_run(
    run: str, verb: Verb | None = None, *, priority: int | None = None, by: str = ""
) -> Call[Acted]:
    """Begin an action on a whole run, or (``verb`` None) go on with the one that was begun; ``by``: see `act`."""
    args = {"run": run, "verb": verb or "", "priority": priority, "by": by}
    return Call("act_on_run", args, lambda reply: Acted(word(reply[0]), int(reply[1])))


# -- jobs ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Claimed:
    """OK with the pool and its spec, FENCED (another copy is this job, or it was cancelled), or GONE."""

    outcome: Outcome
    pool: str
    spec: dict[str, Any]


def claim(
    job: str,
    *,
    nonce: str,
    restart: int,
    node: str,
    pid: int,
    scheduler_id: str | None = None,
    walltime_end: float | None = None,
) -> Call[Claimed]:
    """An agent's first act: be the one copy of this job that counts. A higher ``restart`` supersedes."""
    args = {
        "job": job,
        "nonce": nonce,
        "restart": restart,
        "node": node,
        "pid": pid,
        "scheduler_id": scheduler_id,
        "walltime_end": None if walltime_end is None else ms(walltime_end),
    }

    def parse(reply: Any) -> Claimed:
        answer = json.loads(reply)
        return Claimed(
            Outcome(answer["outcome"]), answer.get("pool", ""), json.loads(answer.get("spec", "{}"))
        )

    return Call("claim", args, parse)


def drain_job(job: str, nonce: str) -> Call[Outcome]:
    """The agent drains: it leases nothing more."""
    return Call("drain_job", {"job": job, "nonce": nonce}, lambda reply: Outcome(text(reply)))


def note_job(job: str, nonce: str, reason: str) -> Call[Outcome]:
    """The agent says what is wrong where it runs."""
    return Call(
        "note_job", {"job": job, "nonce": nonce, "reason": reason}, lambda reply: Outcome(text(reply))
    )


def leave(job: str, nonce: str, *, ttl: float) -> Call[Literal["leave", "stay", "FENCED"]]:
    """May this idle agent go? "leave" has marked the job ended."""
    return Call("leave", {"job": job, "nonce": nonce, "ttl": ms(ttl)}, word)


def end_job(job: str, nonce: str | None, reason: str) -> Call[int]:
    """The job is over; answers how many learners it gave back, -1 if ``nonce`` is not the copy that counts."""
    return Call("end_job", {"job": job, "nonce": nonce, "reason": reason}, int)


# -- leases ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Acquired:
    """New leases; FENCED: another copy is this job, or it was declared ended; GONE: Redis lost the claim."""

    outcome: Outcome
    leases: tuple[Lease, ...] = ()


def acquire(
    job: str, nonce: str, *, request: str, slots: Sequence[int], ttl: float, proven: bool = True
) -> Call[Acquired]:
    """Lease learners to free ``slots``. Only the same ``request`` id repeats an answer (after a lost reply).

    ``proven``: slots of this job come up for certain, or one did; else a job that ends after this died young.
    """
    args = {
        "job": job,
        "nonce": nonce,
        "request": request,
        "slots": list(slots),
        "ttl": ms(ttl),
        "proven": proven,
    }

    def parse(reply: Any) -> Acquired:
        answer = json.loads(reply)
        return Acquired(
            Outcome(answer["outcome"]), tuple(lease_from(item) for item in answer.get("leases", ()))
        )

    return Call("acquire", args, parse)


@dataclass(frozen=True, slots=True)
class Hold:
    """What an agent believes it holds; ``echoed`` is the number of the last command it has seen (0: none)."""

    learner: str
    token: int
    slot: int
    echoed: int = 0


@dataclass(frozen=True, slots=True)
class Known:
    """How far Redis is with a learner: highest journaled sequence, number of the newest checkpoint."""

    seq: int
    checkpoint_n: int


@dataclass(frozen=True, slots=True)
class Renewed:
    """Answer of `renew`; ``now`` is Redis TIME in Unix seconds."""

    outcome: Outcome
    now: float = 0.0
    fenced: tuple[str, ...] = ()
    restored: tuple[str, ...] = ()
    commands: dict[str, Command] | None = None
    known: dict[str, Known] | None = None


def renew(job: str, nonce: str, *, ttl: float, holds: Sequence[Hold], proof: bool = False) -> Call[Renewed]:
    """Renew leases, in one call for all of an agent's. ``proof``: a slot came up after an unproven `acquire`."""
    rows = [[hold.learner, hold.token, hold.slot, hold.echoed] for hold in holds]

    def parse(reply: Any) -> Renewed:
        answer = json.loads(reply)
        outcome = Outcome(answer["outcome"])
        if outcome is not Outcome.OK:
            return Renewed(outcome)
        commands = {learner: command_from(told) for learner, told in answer["commands"].items()}
        return Renewed(
            outcome,
            now=answer["now"] / 1000,
            fenced=tuple(answer["fenced"]),
            restored=tuple(answer["restored"]),
            commands={learner: command for learner, command in commands.items() if command is not None},
            known={learner: Known(int(seq), int(n)) for learner, (seq, n) in answer["known"].items()},
        )

    args = {"job": job, "nonce": nonce, "ttl": ms(ttl), "holds": rows, "proof": proof}
    return Call("renew", args, parse)


@dataclass(frozen=True, slots=True)
class Journaled:
    """Answer of `journal`: highest sequence and checkpoint number that Redis has; send again from ``seq`` + 1."""

    outcome: Outcome
    seq: int
    checkpoint_n: int
    command: Command | None


def journal(
    holder: Holder, learner: str, batch: journal_entries.Batch, *, points: int, loss: float | None = None
) -> Call[Journaled]:
    """Append a signed batch; ``points`` of it are new to the learner."""
    args = _lease_args(learner, batch.token, holder) | {
        "first": batch.first,
        "last": batch.last,
        "points": points,
        "loss": _loss(loss),
    }

    def parse(reply: Any) -> Journaled:
        return Journaled(Outcome(text(reply[0])), int(reply[1]), int(reply[2]), command_from(text(reply[3])))

    return Call("journal", args, parse, (journal_entries.pack(batch),))


@dataclass(frozen=True, slots=True)
class Committed:
    """Answer of `commit`; ``removable`` is the (token, n) of a checkpoint file that nobody needs any more."""

    outcome: Outcome
    removable: tuple[int, int] | None
    command: Command | None


def commit(
    holder: Holder,
    learner: str,
    pointer: Pointer,
    *,
    npoints: int,
    loss: float | None,
    damaged: bool = False,
) -> Call[Committed]:
    """Commit a checkpoint whose file is safe; its token is the lease's.

    `damaged`: the newest checkpoint so far could not be used, so the one before it stays what to fall back to.
    """
    args = _lease_args(learner, pointer.token, holder) | {
        "n": pointer.n,
        "upto": pointer.upto,
        "size": pointer.size,
        "mac": pointer.mac,
        "npoints": npoints,
        "loss": _loss(loss),
        "damaged": damaged,
    }

    def parse(reply: Any) -> Committed:
        token, dash, n = text(reply[1]).partition("-")
        old = (int(token), int(n)) if dash else None
        return Committed(Outcome(text(reply[0])), old, command_from(text(reply[2])))

    return Call("commit", args, parse)


def complete(holder: Holder, learner: str, token: int, *, npoints: int, loss: float | None) -> Call[Outcome]:
    """The goal is reached and the last checkpoint committed."""
    args = _lease_args(learner, token, holder) | {"npoints": npoints, "loss": _loss(loss)}
    return Call("complete", args, lambda reply: Outcome(text(reply)))


@dataclass(frozen=True, slots=True)
class Ended:
    """A lease is over; ``state`` is where the learner went (or is, when FENCED)."""

    outcome: Outcome
    state: str


def _ended(reply: Any) -> Ended:
    return Ended(Outcome(text(reply[0])), text(reply[1]))


def fail(holder: Holder, learner: str, token: int, problem: dict[str, Any]) -> Call[Ended]:
    """The learner's own error: costs an attempt. ``problem``: type, text, traceback, point, node, …"""
    args = _lease_args(learner, token, holder) | {"problem": json.dumps(problem)}
    return Call("fail", args, _ended)


def release(
    holder: Holder,
    learner: str,
    token: int,
    *,
    event: Literal["release", "died"],
    problem: dict[str, Any] | None = None,
    began: bool = True,
) -> Call[Ended]:
    """Give a learner back: drained or commanded ("release"), or its slot died ("died", with signal and log tail).

    A lease that never `began` in a slot is none of the barren ones that end in quarantine.
    """
    args = _lease_args(learner, token, holder) | {
        "event": event,
        "problem": None if problem is None else json.dumps(problem),
        "began": began,
    }
    return Call("release", args, _ended)


@dataclass(frozen=True, slots=True)
class Looked:
    """Answer of `look`: who was reaped, how many delayed became queued, whether a grace held something back."""

    reaped: tuple[str, ...]
    promoted: int
    grace: bool


def look() -> Call[Looked]:
    """The submitter's look at the fabric: reap and promote."""

    def parse(reply: Any) -> Looked:
        answer = json.loads(reply)
        return Looked(tuple(answer["reaped"]), answer["promoted"], answer["grace"])

    return Call("look", {}, parse)

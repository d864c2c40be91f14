"""What a user can do: to whom it applies, what exactly it does, and the calls that do it; nothing is asked or shown."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, cast

from fabric_broker import watch
from fabric_broker.records import JobRecord, PoolRecord
from fabric_broker.scripts import Call
from fabric_broker.states import TERMINAL
from fabric_broker.view import LearnerView

from .model import Model
from .requests import Requested
from .words import plural

Target = Literal["learner", "job", "pool"]
Thing = LearnerView | JobRecord | PoolRecord


@dataclass(frozen=True, slots=True)
class Action:
    """One action; ``id`` names its key in the config file."""

    id: str
    key: str
    verb: str
    title: str
    target: Target
    applies: Callable[[Any], bool]
    """whether it changes this thing"""
    effect: str
    """what it does to each"""
    no_effect: str
    """what the others are, which it leaves alone"""
    asks: str = ""
    """the number that it asks for, "" if none"""
    lowest: int | None = None


def _open(learner: LearnerView) -> bool:
    return learner.state not in TERMINAL


def _leased(learner: LearnerView) -> bool:
    return learner.state == "leased"


LEARNER_ACTIONS: Final = (
    Action(
        "learner.retry",
        "r",
        "retry",
        "Retry",
        "learner",
        lambda learner: learner.state in ("failed", "quarantined", "cancelled"),
        "queued again with attempts 0, to go on from the last checkpoint and the journal",
        "not failed, quarantined or cancelled",
    ),
    Action(
        "learner.release",
        "R",
        "release",
        "Release lease",
        "learner",
        _leased,
        "taken from the job at once and queued again; what the job computes for it from now on is dropped",
        "not leased",
    ),
    Action(
        "learner.pause",
        "P",
        "pause",
        "Pause",
        "learner",
        lambda learner: learner.state in ("queued", "delayed", "waiting", "leased"),
        "paused; one that runs saves a checkpoint first",
        "paused already, or ended",
    ),
    Action(
        "learner.resume",
        "U",
        "resume",
        "Resume",
        "learner",
        lambda learner: learner.state in ("paused", "leased"),
        "back to where it was before the pause",
        "not paused",
    ),
    Action(
        "learner.cancel",
        "X",
        "cancel",
        "Cancel",
        "learner",
        lambda learner: learner.state not in ("done", "cancelled"),
        "cancelled; one that runs saves first. The data stay, and retry brings it back",
        "done or cancelled already",
    ),
    Action(
        "learner.prioritize",
        "+",
        "prioritize",
        "Prioritise",
        "learner",
        _open,
        "priority {number}; higher goes first",
        "ended",
        asks="priority",
    ),
)


def _not_ended(job: JobRecord) -> bool:
    return job.state != "ended"


JOB_ACTIONS: Final = (
    Action(
        "job.drain",
        "D",
        "drain",
        "Drain job",
        "job",
        _not_ended,
        "leases nothing more; what runs in it is saved and queued again, then it ends. "
        "If it has not started, it is cancelled",
        "ended",
    ),
    Action(
        "job.kill",
        "K",
        "kill",
        "Kill job",
        "job",
        _not_ended,
        "ends at once: what it holds is queued again now, with what the journal has, "
        "and the scheduler is asked to cancel it",
        "ended",
    ),
)
POOL_ACTIONS: Final = (
    Action(
        "pool.scale",
        "N",
        "scale",
        "Set N",
        "pool",
        lambda _pool: True,
        "at most {number} jobs from now on; surplus pending jobs are cancelled, running ones end when idle",
        "",
        asks="number of jobs",
        lowest=0,
    ),
    Action(
        "pool.close",
        "c",
        "close",
        "Submit again",
        "pool",
        lambda pool: pool.circuit is not None,
        "its young deaths are forgotten and it submits jobs again",
        "did not give up submitting",
    ),
)
ALL_ACTIONS: Final = (*LEARNER_ACTIONS, *JOB_ACTIONS, *POOL_ACTIONS)


@dataclass(frozen=True, slots=True)
class Plan:
    """An action on things that were fixed when the user asked; it touches those and no others, whatever moves."""

    action: Action
    things: tuple[Thing, ...]
    """those that it changes"""
    others: int
    """how many were marked that it leaves alone"""
    by: str

    def question(self) -> str:
        """``Retry 3 learners?``"""
        return f"{self.action.title}: {self.count()}?"

    def count(self) -> str:
        """``3 learners``."""
        return plural(len(self.things), self.action.target)

    def effect(self, number: int | None = None) -> str:
        """What exactly will happen to each."""
        return self.action.effect.replace("{number}", "N" if number is None else str(number))

    def left_alone(self) -> str:
        """What is marked, too, but stays as it is; "" if there is none of that."""
        if not self.others:
            return ""
        return f"{plural(self.others, 'other')} marked stay as they are: {self.action.no_effect}."

    def targets(self, names: Callable[[str], str], most: int = 5) -> str:
        """The first few by id and name."""
        ids = [thing_id(thing) for thing in self.things[:most]]
        told = [id if names(id) == id else f"{id} {names(id)}" for id in ids]
        return ", ".join(told) + (" …" if len(self.things) > most else "")

    def first_number(self) -> int:
        """What the number is now."""
        thing = self.things[0]
        return thing.limit if isinstance(thing, PoolRecord) else getattr(thing, "priority", 0)

    def told(self, answers: Sequence[Any]) -> str:
        """What came of it, given what the calls answered."""
        if self.action.target != "learner":
            return f"{self.action.title}: asked for {self.count()}"
        changed = sum(answers)
        less = "" if changed == len(self.things) else f" of {self.count()}; the others had moved on"
        return f"{self.action.title}: {plural(changed, 'learner')}{less}"

    def nothing_changed(self, answers: Sequence[Any]) -> bool:
        """Whether there is nothing to wait for."""
        if self.action.target == "learner":
            return not sum(answers)
        return all(answer in (False, "ended", "no job", -1, -2) for answer in answers)

    def requested(self, thing: Thing, number: int | None) -> Requested:
        """What its row shows until the broker confirms."""
        token = thing.token if isinstance(thing, LearnerView) else 0
        return Requested(self.action.verb, token, number)

    def note(self, number: int | None) -> Call[None]:
        """The event that says who asked."""
        ids = [thing_id(thing) for thing in self.things]
        runs = {thing.run for thing in self.things if isinstance(thing, LearnerView)}
        target = f"{plural(len(ids), self.action.target)}: {', '.join(ids[:5])}{' …' if len(ids) > 5 else ''}"
        if number is not None:
            target += f" → {number}"
        return watch.note_action(
            by=self.by,
            verb=self.action.verb,
            target=target,
            count=len(ids),
            run=next(iter(runs)) if len(runs) == 1 else "",
            learner=ids[0] if len(ids) == 1 and self.action.target == "learner" else "",
        )

    def calls(self, number: int | None) -> list[Call[Any]]:
        """The calls that do it, at most `calls.PAGE` learners each."""
        # Not before the first action: the app starts sooner without.
        from fabric_broker import calls, intents

        verb, ids = self.action.verb, [thing_id(thing) for thing in self.things]
        if self.action.target == "job":
            reason = f"{verb} by {self.by}"
            return [
                intents.ask_job(job, reason) if verb == "drain" else watch.kill_job(job, reason)
                for job in ids
            ]
        if self.action.target == "pool":
            return [
                intents.resume_pool(pool) if verb == "close" else calls.scale_pool(pool, number or 0)
                for pool in ids
            ]
        if verb == "release":
            leases = [(thing.id, thing.token) for thing in self.things if isinstance(thing, LearnerView)]
            return [watch.free_leases(page) for page in _pages(leases, calls.PAGE)]
        its = cast(calls.Verb, verb)  # all others went above
        return [calls.act(its, page, priority=number) for page in _pages(ids, calls.PAGE)]


def _pages(items: Sequence[Any], size: int) -> list[Sequence[Any]]:
    return [items[start : start + size] for start in range(0, len(items), size)]


def thing_id(thing: Thing) -> str:
    """By what a learner, job or pool is called."""
    return thing.name if isinstance(thing, PoolRecord) else thing.id


def plan(action: Action, model: Model, ids: Sequence[str], by: str) -> Plan:
    """What the action would do to these."""
    known: dict[Target, Any] = {"learner": model.learners, "job": model.jobs, "pool": model.pools}
    found: list[Thing] = [known[action.target][id] for id in ids if id in known[action.target]]
    changed = tuple(thing for thing in found if action.applies(thing))
    return Plan(action, changed, len(ids) - len(changed), by)

"""Drive a learner to its goal: ask, evaluate, write the point, tell, in the slot's own process.

`pooled` does the same with a pool of workers.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Final

from fabric_broker.errors import UsageError
from fabric_broker.memo import NOTHING, Memo

from .asking import ask_of
from .cache import Cache
from .channel import AgentGone
from .effort import Effort
from .evaluate import Failure, failure_of
from .finished import Finished
from .goals import Goal

LOOK_S: Final = 0.02
"""Seconds between two looks at what the agent says and at what is due: no system call per point."""

REPR_CHARS: Final = 500


@dataclass(frozen=True, slots=True)
class Options:
    """How evaluations are run; the names and defaults of adaptive's runners."""

    ntasks: int | None = None
    """evaluations that run or are queued at a time; None: one per worker, and a few more when they are short"""
    retries: int = 0
    """how many times more a point is tried whose evaluation raised"""
    raise_if_retries_exceeded: bool = True
    """False: such a point is given up with a warning"""
    cache: str | None = None
    """a folder that keeps evaluations for other runs and learners of the same function"""

    @classmethod
    def of(cls, runner_kwargs: Mapping[str, Any]) -> Options:
        """The options in a run's `runner_kwargs`; UsageError names one that is none."""
        known = [field.name for field in fields(cls)]
        for name in runner_kwargs:
            if name not in known:
                raise UsageError(f"runner_kwargs: {name!r} is not one of {', '.join(known)}")
        return cls(**runner_kwargs)


@dataclass(frozen=True, slots=True)
class Stop:
    """The agent wants the lease to end."""

    cause: str
    """drain, pause, cancel or fenced"""
    save: bool
    """False: nothing of this lease counts any more"""


class EvaluationError(Exception):
    """The evaluation of a point failed for good."""

    def __init__(self, point: Any, failure: Failure) -> None:
        super().__init__(f"{failure.type}: {failure.text}")
        self.point = point
        self.failure = failure


class ExhaustedError(UsageError):
    """The learner has no more points to ask for, and its goal is not reached."""


@dataclass(frozen=True, slots=True)
class Course:
    """What a loop needs beside learner and goal."""

    finished: Finished
    """where points go as soon as they are evaluated"""
    look: Callable[[], Stop | None]
    """what the agent says; also does what is due (checkpoint, status)"""
    memo: Memo
    """points that were finished in an earlier lease"""
    warn: Callable[[str], None]
    options: Options = Options()
    effort: Effort = field(default_factory=Effort)
    """how long evaluations take"""
    cache: Cache | None = None


def serial(learner: Any, goal: Goal, course: Course) -> Stop | None:
    """Evaluate point after point in this process until the goal is reached (None) or the agent says stop.

    As fast as `adaptive.runner.simple`, but for one write per point.

    Raises
    ------
    EvaluationError
        A point failed, or the learner did not take its value.
    ExhaustedError
        The goal cannot be reached.
    """
    ask, tell, function = ask_of(learner), learner.tell, course.cache or learner.function
    put, look, memo, clock = course.finished.put, course.look, course.memo, time.monotonic
    entries, effort = memo.entries, course.effort
    now = clock()
    next_look = now + LOOK_S
    while not goal(learner):
        points, _ = ask(1)
        if not points:
            raise exhausted(learner)
        for point in points:
            began = now = clock()
            if entries and told_from(memo, learner, point):
                continue
            try:
                value = function(point)
            except BaseException as error:  # noqa: BLE001 - user code raises anything
                value = _try_again(function, point, error, course)
            now = clock()
            effort.seconds += now - began
            if value is NOTHING:
                continue
            try:
                put(point, value)
                tell(point, value)
            except AgentGone:
                raise
            except Exception as error:
                raise EvaluationError(point, failure_of(error)) from error
        if now >= next_look:
            stop = look()
            if stop is not None:
                return stop
            next_look = clock() + LOOK_S
    return None


def _try_again(function: Callable[[Any], Any], point: Any, error: BaseException, course: Course) -> Any:
    """The value of a point that failed once, or `NOTHING` when it is given up."""
    for _ in range(course.options.retries):
        if not isinstance(error, Exception):
            break
        try:
            return function(point)
        except BaseException as again:  # noqa: BLE001 - user code raises anything
            error = again
    return give_up(point, failure_of(error), course, error)


def give_up(point: Any, failure: Failure, course: Course, error: BaseException | None = None) -> object:
    """A point failed too often: raise, or warn and go on without it, as the options say."""
    if course.options.raise_if_retries_exceeded or not failure.retry:
        raise EvaluationError(point, failure) from error
    course.warn(f"gave up the point {shown(point)}: {failure.type}: {failure.text}")
    return NOTHING


def told_from(memo: Memo, learner: Any, point: Any) -> bool:
    """Whether the memo knew the point and the learner took its value; else it must be evaluated."""
    value = memo.take(point)
    if value is NOTHING:
        return False
    try:
        learner.tell(point, value)
    except Exception:  # noqa: BLE001 - also a user's loss or arg_picker; it is evaluated, and told once more
        # Refused for its value, not its place: an evaluation may give another one.
        return False
    return True


def exhausted(learner: Any) -> ExhaustedError:
    """The error that says why there is nothing left to do."""
    return ExhaustedError(
        f"the {type(learner).__name__} has no more points to ask for after {learner.npoints}, "
        "and its goal is not reached"
    )


def shown(point: Any) -> str:
    """`repr(point)`, capped."""
    try:
        text = repr(point)
    except Exception as error:  # noqa: BLE001 - a user's __repr__ raises anything
        text = f"({type(point).__name__} whose repr raises {type(error).__name__})"
    return text if len(text) <= REPR_CHARS else text[: REPR_CHARS - 1] + "…"

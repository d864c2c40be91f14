"""From what a user may pass as a goal to a function of the learner."""

from __future__ import annotations

import numbers
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from adaptive.runner import auto_goal

from fabric_broker.errors import UsageError

Goal = Callable[[Any], bool]


def goal_of(
    goal: object,
    learner: Any,
    *,
    leased_s: float = 0.0,
    clock: Callable[[], float] = time.monotonic,
    wall: Callable[[], float] = time.time,
) -> Goal:
    """The test that ends a learner.

    Parameters
    ----------
    goal
        A function of the learner; an int: npoints >= goal; a float: loss <= goal; a datetime; a
        timedelta: total leased time; None for a learner that ends by itself.
    leased_s
        How long the learner was leased before this lease, in s.

    Raises
    ------
    UsageError
        The value is no goal, or this learner needs one.
    """
    if isinstance(goal, bool):
        raise UsageError(f"goal={goal}: a bool is no goal")
    if isinstance(goal, datetime):
        end = goal.timestamp()
        return lambda _: wall() >= end
    if isinstance(goal, timedelta):
        due = clock() + goal.total_seconds() - leased_s
        return lambda _: clock() >= due
    if isinstance(goal, numbers.Integral):
        return _auto(learner, npoints=int(goal))
    if isinstance(goal, numbers.Real):
        return _auto(learner, loss=float(goal))
    if goal is None:
        return _auto(learner)
    if not callable(goal):
        raise UsageError(f"a {type(goal).__name__} is no goal")
    return goal


def _auto(learner: Any, **goal: float) -> Goal:
    try:
        made: Goal = auto_goal(learner=learner, allow_running_forever=False, **goal)
    except ValueError as error:
        raise UsageError(
            f"goal=None: a {type(learner).__name__} does not end by itself; give a goal"
        ) from error
    return made

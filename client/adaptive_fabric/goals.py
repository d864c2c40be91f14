"""What may be a goal, and how it reads in a table."""

from __future__ import annotations

import math
import numbers
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any

from fabric_broker.errors import UsageError

Goal = Callable[[Any], bool] | int | float | datetime | timedelta | None
"""callable(learner) | npoints >= int | loss <= float | datetime | total leased time | None."""

ENDS_BY_ITSELF = ("SequenceLearner", "IntegratorLearner")
"""The learners that know when they are done: for them the goal may be None."""


def check_goal(goal: object, learners: Sequence[Any]) -> None:
    """Raise UsageError when `goal` cannot be a goal of these learners."""
    if goal is None:
        _check_they_end(learners)
    elif isinstance(goal, bool):
        raise UsageError(
            f"goal={goal}: a bool is no goal; pass a function of the learner, a number of points (int), "
            "a loss (float), a datetime or a timedelta"
        )
    elif isinstance(goal, numbers.Integral):
        if goal < 0:
            raise UsageError(f"goal={goal}: a number of points is not negative")
    elif isinstance(goal, numbers.Real):
        if math.isnan(goal):
            raise UsageError("goal=nan: no loss is ever below it")
    elif isinstance(goal, timedelta):
        if goal <= timedelta(0):
            raise UsageError(f"goal={goal}: a duration is positive")
    elif not isinstance(goal, datetime) and not callable(goal):
        raise UsageError(
            f"goal is a {type(goal).__name__}; pass a function of the learner, a number of points (int), "
            "a loss (float), a datetime or a timedelta"
        )


def everywhere(goal: Any) -> Any:
    """The goal as it means the same on every node: a datetime without a zone is in the zone of whoever submits."""
    return goal.astimezone() if isinstance(goal, datetime) else goal


def goal_text(goal: object) -> str:
    """The goal in a few words, e.g. ``npoints >= 200``."""
    if goal is None:
        return "until done"
    if isinstance(goal, numbers.Integral):
        return f"npoints >= {int(goal)}"
    if isinstance(goal, numbers.Real):
        return f"loss <= {float(goal):g}"
    if isinstance(goal, datetime):
        return f"until {goal.isoformat(sep=' ', timespec='seconds')}"
    if isinstance(goal, timedelta):
        return f"leased for {goal}"
    return str(getattr(goal, "__name__", type(goal).__name__))


def parse_goal(text: str) -> Goal:
    """A goal as typed: ``200`` (points), ``0.01`` (loss), ``H:MM:SS`` (leased time) or a date."""
    for read in (int, float):
        try:
            return read(text)
        except ValueError:
            continue
    if text.count(":") == 2 and "-" not in text:
        from fabric_broker.durations import seconds

        return timedelta(seconds=seconds(text))
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(
            f"goal {text!r}: give a number of points (200), a loss (0.01), a leased time (1:30:00) or a date "
            "(2030-01-31T12:00)"
        ) from None


def _check_they_end(learners: Sequence[Any]) -> None:
    for index, learner in enumerate(learners):
        endless = _endless(learner)
        if endless is not None:
            raise UsageError(
                f"learner {index} is a {endless}, which never ends by itself: give a goal, such as "
                "npoints (int), loss (float) or a function of the learner"
            )


def _endless(learner: Any) -> str | None:
    """The class that does not end by itself, looking into BalancingLearner and DataSaver."""
    own = vars(learner)
    if "extra_data" in own and "learner" in own:
        return _endless(own["learner"])
    if isinstance(own.get("learners"), list):
        return next((name for child in own["learners"] if (name := _endless(child))), None)
    if any(base.__name__ in ENDS_BY_ITSELF for base in type(learner).__mro__):
        return None
    return type(learner).__name__

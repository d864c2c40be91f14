"""A goal that cannot be one is refused before anything is submitted."""

import math
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import adaptive
import pytest

from adaptive_fabric.goals import check_goal, everywhere, goal_text, parse_goal
from fabric_broker.errors import UsageError


def line() -> adaptive.Learner1D:
    return adaptive.Learner1D(abs, (-1, 1))


def sequence() -> adaptive.SequenceLearner:
    return adaptive.SequenceLearner(abs, [1, 2])


@pytest.mark.parametrize(
    "goal",
    [0, 200, 0.01, math.inf, datetime(2030, 1, 1), timedelta(hours=1), lambda learner: True],  # noqa: DTZ001
)
def test_goals_of_the_contract_are_taken(goal: Any) -> None:
    check_goal(goal, [line()])


@pytest.mark.parametrize("goal", [True, False, -1, math.nan, timedelta(0), "200", [200]])
def test_other_goals_are_refused(goal: Any) -> None:
    with pytest.raises(UsageError, match="goal"):
        check_goal(goal, [line()])


def test_no_goal_is_enough_for_learners_that_end_by_themselves() -> None:
    integrator = adaptive.IntegratorLearner(abs, (0, 1), tol=0.1)
    wrapped = adaptive.DataSaver(sequence(), arg_picker=abs)

    check_goal(None, [sequence(), integrator, wrapped, adaptive.BalancingLearner([sequence()])])


@pytest.mark.parametrize(
    "endless", [line(), adaptive.BalancingLearner([line()]), adaptive.DataSaver(line(), abs)]
)
def test_no_goal_is_refused_for_learners_that_never_end(endless: Any) -> None:
    with pytest.raises(UsageError, match="learner 1 is a Learner1D"):
        check_goal(None, [sequence(), endless])


@pytest.mark.parametrize(
    ("goal", "text"),
    [
        (None, "until done"),
        (200, "npoints >= 200"),
        (0.01, "loss <= 0.01"),
        (timedelta(hours=1), "leased for 1:00:00"),
        (line, "line"),
    ],
)
def test_a_goal_reads_well(goal: Any, text: str) -> None:
    assert goal_text(goal) == text


@pytest.mark.parametrize(
    ("text", "goal"),
    [
        ("200", 200),
        ("0.01", 0.01),
        ("1e-3", 0.001),
        ("1:30:00", timedelta(hours=1, minutes=30)),
        ("2030-01-31T12:00", datetime(2030, 1, 31, 12)),  # noqa: DTZ001
    ],
)
def test_goals_can_be_typed(text: str, goal: Any) -> None:
    parsed = parse_goal(text)

    assert parsed == goal
    assert type(parsed) is type(goal)


def test_a_date_means_the_zone_of_whoever_submits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    try:
        assert everywhere(datetime(2030, 1, 31, 12)) == datetime(2030, 1, 31, 3, tzinfo=UTC)  # noqa: DTZ001
    finally:
        monkeypatch.undo()
        time.tzset()
    assert everywhere(200) == 200


@pytest.mark.parametrize("text", ["", "True", "many", "1:30"])
def test_what_is_no_goal_cannot_be_typed(text: str) -> None:
    with pytest.raises(UsageError, match="goal"):
        parse_goal(text)

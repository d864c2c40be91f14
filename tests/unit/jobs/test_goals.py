from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import adaptive
import numpy as np
import pytest

from fabric_broker.errors import UsageError
from fabric_jobs.goals import goal_of


def line(n: int) -> Any:
    learner = adaptive.Learner1D(abs, (0, 1))
    for k in range(n):
        learner.tell(k / 10, k / 10)
    return learner


@pytest.mark.parametrize("goal", [3, np.int64(3)])
def test_an_int_is_a_number_of_points(goal):
    reached = goal_of(goal, line(0))
    assert [reached(line(n)) for n in (2, 3, 4)] == [False, True, True]


@pytest.mark.parametrize("goal", [0.3, np.float64(0.3)])
def test_a_float_is_a_loss(goal):
    reached = goal_of(goal, line(0))
    assert not reached(line(2))
    fine = line(0)
    adaptive.runner.simple(fine, npoints_goal=20)
    assert reached(fine)


def test_an_int_holds_for_each_child_of_a_balancing_learner():
    learner = adaptive.BalancingLearner([line(3), line(2)])
    reached = goal_of(3, learner)
    assert not reached(learner)
    learner.tell((1, 0.7), 0.7)
    assert reached(learner)


@pytest.mark.parametrize("goal", [True, False, np.True_])
def test_a_bool_is_no_goal(goal):
    with pytest.raises(UsageError, match="no goal"):
        goal_of(goal, line(0))


def test_a_text_is_no_goal():
    with pytest.raises(UsageError, match="str is no goal"):
        goal_of("200", line(0))


@pytest.mark.parametrize("zone", [timezone(timedelta(hours=9)), UTC])
def test_a_datetime_is_when_to_end(zone):
    end = datetime(2031, 5, 4, tzinfo=zone)
    now = end.timestamp() - 1
    reached = goal_of(end, line(0), wall=lambda: now)
    assert not reached(line(0))
    now += 1
    assert reached(line(0))


def test_a_timedelta_counts_what_was_leased_before():
    now = 100.0
    reached = goal_of(timedelta(minutes=1), line(0), leased_s=50, clock=lambda: now)
    now = 109.0
    assert not reached(line(0))
    now = 110.0
    assert reached(line(0))


def test_a_function_is_asked_itself():
    def goal(learner):
        return learner.npoints == 7

    assert goal_of(goal, line(0)) is goal


def test_none_is_the_goal_of_learners_that_end_by_themselves():
    sequence = adaptive.SequenceLearner(abs, [1])
    wrapped = adaptive.DataSaver(adaptive.SequenceLearner(abs, [1]), abs)
    for learner in (sequence, wrapped):
        reached = goal_of(None, learner)
        assert not reached(learner)
        learner.tell((0, 1), 1)
        assert reached(learner)
    assert not goal_of(None, adaptive.IntegratorLearner(abs, (0, 1), tol=0.1))(
        adaptive.IntegratorLearner(abs, (0, 1), tol=0.1)
    )


@pytest.mark.parametrize("learner", [line(0), adaptive.BalancingLearner([line(0)])])
def test_none_is_no_goal_of_others(learner):
    with pytest.raises(UsageError, match="does not end by itself"):
        goal_of(None, learner)

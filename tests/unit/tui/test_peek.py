"""What of a learner's data can be drawn."""

from __future__ import annotations

from typing import Any

import adaptive
import numpy as np
import pytest

from fabric_tui.peek import MOST_POINTS, to_data


def told(learner: Any, points: dict[Any, Any]) -> Any:
    for x, y in points.items():
        learner.tell(x, y)
    return learner


def test_numbers_over_one_number_are_drawn_in_order() -> None:
    learner = adaptive.SequenceLearner(abs, [1, 2])
    learner.data = {0.5: 1, -1.0: np.float64(2), 1: 3j}
    data = to_data(learner)
    assert (data.kind, data.points) == ("1d", ((-1.0, 2.0), (0.5, 1.0), (1.0, 3.0)))


def test_numbers_over_two_numbers_are_a_map() -> None:
    learner = told(adaptive.Learner2D(abs, [(-1, 1), (-1, 1)]), {(0, 1): 2, (-1, 0): 3})
    data = to_data(learner)
    assert (data.kind, data.points) == ("2d", ((-1.0, 0.0, 3.0), (0.0, 1.0, 2.0)))


def test_many_points_are_thinned() -> None:
    learner = adaptive.Learner1D(abs, (0, 1))
    learner.data = {n / 10**5: 0.0 for n in range(3 * MOST_POINTS)}
    assert MOST_POINTS / 2 < len(to_data(learner).points) <= MOST_POINTS


@pytest.mark.parametrize(
    ("learner", "points", "why"),
    [
        (adaptive.Learner1D(abs, (-1, 1)), {}, "no points yet"),
        (adaptive.LearnerND(abs, [(0, 1)] * 3), {(0, 0, 0): 1.0}, "only 2 or 3 can be drawn"),
        (adaptive.Learner1D(abs, (-1, 1)), {0: (1.0, 2.0, 3.0)}, "only 2 or 3 can be drawn"),
        (object(), {}, "a object has no data that could be drawn"),
    ],
)
def test_what_cannot_be_drawn_says_why(learner: Any, points: dict[Any, Any], why: str) -> None:
    data = to_data(told(learner, points))
    assert data.kind == "none"
    assert why in data.text

from __future__ import annotations

import numpy as np
import pytest

from fabric_broker.memo import NOTHING, Memo


@pytest.mark.parametrize(
    "point", [0.5, (1, 0.5), [1, 2], {"a": [1]}, np.array([1.0, 2.0]), (3, np.array([1.0])), b"x", None]
)
def test_any_point_is_found_once(point):
    memo = Memo()
    memo.add(point, "value")
    assert memo.take(point) == "value"
    assert memo.take(point) is NOTHING


def test_a_numpy_number_is_the_number():
    memo = Memo()
    memo.add(np.float64(0.5), 1)
    assert memo.take(0.5) == 1


def test_none_may_be_a_value():
    memo = Memo()
    memo.add(1, None)
    assert memo.take(1) is None


def test_arrays_that_differ_are_other_points():
    memo = Memo()
    memo.add(np.array([1.0, 2.0]), 1)
    assert memo.take(np.array([1.0, 2.5])) is NOTHING


def test_pairs_come_in_order_with_their_own_points():
    memo = Memo()
    memo.add([1], "a")
    memo.add(0.5, "b")
    assert memo.pairs() == [([1], "a"), (0.5, "b")]

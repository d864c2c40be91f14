"""Names of a BalancingLearner's children: which fit, and how they travel."""

from __future__ import annotations

import pickle
from typing import Any

import adaptive
import pytest

from adaptive_fabric.children import attach, attached, split_names
from fabric_broker.errors import UsageError


def line() -> Any:
    return adaptive.Learner1D(abs, (-1, 1))


LEARNERS = [line(), adaptive.BalancingLearner([line(), line()]), line()]


def test_children_may_have_names() -> None:
    assert split_names(["a", ["b/1", "b/2"], "c"], LEARNERS) == (
        ["a", "b/1 +1", "c"],
        [None, ("b/1", "b/2"), None],
    )
    assert split_names(None, LEARNERS) == (["0", "1", "2"], [None] * 3)
    assert split_names(["a", "b", "c"], LEARNERS)[1] == [None] * 3


@pytest.mark.parametrize(
    ("names", "says"),
    [
        ([["a", "b"], "c", "d"], "name 0 is a list, and learner 0 is no BalancingLearner"),
        (["a", ["b"], "c"], "children of learner 1: 1 names for 2 learners"),
        (["a", [], "c"], "name 1 is an empty list"),
        (["a", ["b", 3], "c"], "children of learner 1: name 1 is a int"),
        (["a", ["b", "b"], "c"], "children of learner 1: names are not unique"),
        (["a", ["b", "a"], "c"], "'a' is there twice"),
        (["a", ["b", "a/x"], "c"], "name 'a' cannot be a file's"),
        (["a", ["..", "b"], "c"], r"name '\.\.' cannot be a file's"),
        (["a", ["b", "c"]], "2 names for 3 learners"),
    ],
)
def test_names_that_do_not_fit_are_refused(names: Any, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        split_names(names, LEARNERS)


def test_they_travel_behind_the_pickle_which_does_not_see_them() -> None:
    body = attach(pickle.dumps({"a": 1}), ("ä", "b"))

    assert pickle.loads(body) == {"a": 1}
    assert attached(body) == ("ä", "b")
    assert attached(pickle.dumps("children")) is None
    assert attach(b"x.", None) == b"x."

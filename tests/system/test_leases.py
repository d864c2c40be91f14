"""The rule that tests of two copies go by can be broken: by a holder, not by a copy that was superseded."""

from __future__ import annotations

import pytest
from tests.system.leases import Lease, evaluated_again
from tests.system.processes import Evaluation

# The old copy holds x0 until second 10, the new one from then on.
HELD = [Lease("x0", "i.0", "old", 0.0, 10.0), Lease("x0", "i.0", "new", 10.0, 20.0)]


def made(x: str, finished: float, copy: str) -> Evaluation:
    return Evaluation("x0", x, finished, 1, "i.0", copy)


@pytest.mark.parametrize(
    ("log", "broken", "strays"),
    [
        ([made("1", 5.0, "old"), made("1", 12.0, "new")], 1, 0),
        ([made("1", 9.5, "old"), made("1", 12.0, "new")], 0, 0),
        ([made("1", 11.0, "old"), made("1", 12.0, "new")], 0, 1),
        ([made("1", 11.0, "new"), made("1", 12.0, "old")], 0, 1),
        ([made("1", 11.0, "new"), made("1", 12.0, "new")], 1, 0),
        ([made("1", 11.0, "new"), made("2", 12.0, "new")], 0, 0),
    ],
)
def test_who_may_evaluate_again(log, broken, strays):
    assert tuple(map(len, evaluated_again(log, HELD))) == (broken, strays)

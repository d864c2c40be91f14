"""What a function may return or raise: the learner ends as it would with adaptive alone, and the slot goes on."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from operator import itemgetter
from typing import Any

import adaptive
import cloudpickle
import numpy as np
import pytest
from tests.slots import Ledger, Seated

from fabric_broker.replay import set_data
from fabric_jobs.channel import Up

# The slot need not import the tests.
cloudpickle.register_pickle_by_value(sys.modules[__name__])

MOST = 60
ODD: dict[str, Callable[[], Any]] = {
    "an error": lambda: 1 / 0,
    "nan": lambda: math.nan,
    "inf": lambda: math.inf,
    "None": lambda: None,
    "wrong shape": lambda: np.ones((2, 3)),
    "text": lambda: "text",
}


def odd_at_fourth(odd: Callable[[], Any], wrap: Callable[[Any], Any] = lambda y: y) -> Callable[[Any], Any]:
    calls: list[Any] = []

    def function(point: Any) -> Any:
        calls.append(point)
        if len(calls) > MOST:
            raise TimeoutError("the goal is out of reach")
        if len(calls) == 4:
            return wrap(odd())
        return wrap(float(np.sum(np.asarray(point, dtype=float))) ** 2)

    return function


def balancing(function: Any) -> Any:
    return adaptive.BalancingLearner([adaptive.Learner1D(function, (-1, 1)) for _ in range(2)])


MAKERS: dict[str, Callable[[Any], Any]] = {
    "Learner1D": lambda odd: adaptive.Learner1D(odd_at_fourth(odd), (-1, 1)),
    "Learner1D of vectors": lambda odd: adaptive.Learner1D(
        odd_at_fourth(odd, lambda y: np.array([y, 1.0]) if isinstance(y, float) else y), (-1, 1)
    ),
    "Learner2D": lambda odd: adaptive.Learner2D(odd_at_fourth(odd), [(-1, 1), (-1, 1)]),
    "LearnerND": lambda odd: adaptive.LearnerND(odd_at_fourth(odd), [(-1, 1), (-1, 1)]),
    "AverageLearner": lambda odd: adaptive.AverageLearner(odd_at_fourth(odd), atol=0.01),
    "AverageLearner1D": lambda odd: adaptive.AverageLearner1D(odd_at_fourth(odd), (-1, 1), min_samples=3),
    "IntegratorLearner": lambda odd: adaptive.IntegratorLearner(odd_at_fourth(odd), (0, 1), tol=1e-3),
    "SequenceLearner": lambda odd: adaptive.SequenceLearner(odd_at_fourth(odd), list(range(20))),
    "BalancingLearner": lambda odd: balancing(odd_at_fourth(odd)),
    "DataSaver": lambda odd: adaptive.DataSaver(
        adaptive.Learner1D(odd_at_fourth(odd, lambda y: {"y": y}), (-1, 1)), itemgetter("y")
    ),
}


def reached(learner: Any) -> bool:
    return bool(learner.npoints >= 12)


def data_of(learner: Any) -> str:
    if isinstance(learner, adaptive.BalancingLearner):
        return repr([dict(child.data) for child in learner.learners])
    return repr(dict(learner.data))


def alone(learner: Any) -> tuple[Any, ...]:
    """How adaptive ends it."""
    learner = cloudpickle.loads(cloudpickle.dumps(learner))  # children come to have functions of their own
    try:
        adaptive.runner.simple(learner, goal=reached)
    except Exception as error:  # noqa: BLE001 - whatever adaptive makes of it
        return (type(error).__qualname__.rpartition(".")[2],)
    return "done", data_of(learner)


def in_fabric(ledger: Ledger, fresh: Any) -> tuple[Any, ...]:
    kind, record = ledger.ending()
    if kind is Up.RAISED:
        return (record["type"].rpartition(".")[2],)
    assert ledger.checkpoint is not None
    set_data(fresh, ledger.path(ledger.checkpoint).read_bytes())
    return "done", data_of(fresh)


@pytest.mark.filterwarnings("ignore")  # numpy's, of nan and inf
@pytest.mark.parametrize("name", MAKERS)
def test_a_learner_ends_as_it_would_with_adaptive_alone_and_the_slot_goes_on(site, tmp_path, name):
    make = MAKERS[name]

    async def act(slot: Seated) -> dict[str, Any]:
        found = {}
        for number, (what, odd) in enumerate(ODD.items()):
            ledger = Ledger(site.signer, tmp_path, make(odd), goal=reached, id=f"r0000000a.{number}")
            await slot.lease(ledger)
            found[what] = in_fabric(ledger, make(odd))
        return found

    assert site.new_slot(act) == {what: alone(make(odd)) for what, odd in ODD.items()}

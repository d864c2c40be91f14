"""Points that adaptive's learners would ask for although they know them, and the ones they would not find again."""

from __future__ import annotations

from typing import Any

import adaptive
import cloudpickle
import pytest

from fabric_broker.replay import requeue
from fabric_jobs.asking import ask_of


def plane(xy: Any) -> Any:
    return xy[0] ** 2 + xy[1]


def sample(seed_x: Any) -> Any:
    return seed_x[0] + seed_x[1]


def nd() -> Any:
    return adaptive.LearnerND(plane, [(-1, 1), (-1, 1)])


def averages() -> Any:
    return adaptive.AverageLearner1D(sample, (-1, 1), min_samples=10)


def test_a_learner_without_such_quirks_is_asked_directly():
    learner = adaptive.Learner1D(abs, (-1, 1))
    assert ask_of(learner) == learner.ask


def test_a_fresh_learner_nd_does_not_ask_again_for_the_random_point_of_the_one_before():
    (*_, drawn), _ = nd().ask(5)
    learner = nd()
    learner.tell(drawn, plane(drawn))

    asked = [point for _ in range(5) for point in ask_of(learner)(1)[0]]

    assert drawn not in asked
    assert len(set(asked)) == 5


def test_the_same_within_a_balancing_learner():
    (*_, drawn), _ = nd().ask(5)
    child = nd()
    for corner in [(-1, -1), (1, 1), (-1, 1)]:
        child.tell(corner, plane(corner))
    child.tell(drawn, plane(drawn))
    learner = adaptive.BalancingLearner([child, nd()])

    asked = [point for _ in range(8) for point in ask_of(learner)(1)[0]]

    assert not {(0, point) for point in child.data} & set(asked)


def test_a_balancing_learner_does_not_ask_again_for_a_random_point_that_is_on_its_way():
    children = [nd() for _ in range(2)]
    for child in children:
        for corner in [(-1, -1), (1, 1), (-1, 1), (1, -1)]:
            child.tell_pending(corner)
    ask = ask_of(adaptive.BalancingLearner(children))

    asked = [point for n in (4, 1, 1) for point in ask(n)[0]]

    assert len(asked) == len(set(asked)) >= 3


def test_a_balancing_learner_comes_past_a_random_point_of_the_holder_before():
    (*_, drawn), _ = nd().ask(5)
    child = nd()
    for corner in [(-1, -1), (1, 1), (-1, 1), (1, -1)]:
        child.tell_pending(corner)
    child.data[drawn] = plane(drawn)  # told, and no triangulation for want of the corners

    ((_, point),) = ask_of(adaptive.BalancingLearner([child]))(1)[0]

    assert point not in {drawn, *child.data}


def test_a_learner_nd_finds_simplices_again_that_unfinished_points_had_divided():
    learner = nd()
    for corner in learner.ask(4)[0]:
        learner.tell(corner, plane(corner))
    learner.ask(6)
    restored = nd()
    restored._set_data(cloudpickle.loads(cloudpickle.dumps(learner._get_data())))
    restored.remove_unfinished()

    requeue(adaptive.DataSaver(restored, abs))

    assert len(restored.ask(6)[0]) == 6


def test_samples_get_numbers_that_were_not_given_before():
    learner = averages()
    ask = ask_of(learner)
    first = ask(4)[0]
    learner.tell(first[2], sample(first[2]))  # the others are on their way

    more = ask(4)[0]

    assert len({*first, *more}) == 8


@pytest.mark.parametrize("make", [averages, lambda: adaptive.DataSaver(averages(), abs)])
def test_a_lost_sample_is_not_waited_for(make):
    learner = make()
    inner = getattr(learner, "learner", learner)
    inner.tell((0, -1), 1.0)
    inner.tell((2, -1), 2.0)  # (1, -1) was on its way when the job died
    told = {(0, -1), (2, -1)}
    ask = ask_of(learner)

    for _ in range(8):
        ((point,), _) = ask(1)
        assert point not in told
        told.add(point)
        inner.tell(point, sample(point))

    assert inner.nsamples == 10


def test_samples_of_children_are_counted_apart():
    children = [averages(), averages()]
    ask = ask_of(adaptive.BalancingLearner(children, strategy="cycle"))

    asked = ask(6)[0]

    assert len(set(asked)) == 6
    assert {index for index, _ in asked} == {0, 1}


def test_an_integrator_learner_does_not_ask_for_what_it_was_told_while_on_its_stack():
    learner = adaptive.IntegratorLearner(abs, (0, 1), tol=1e-9)
    known = learner._stack[5]
    learner.tell(known, known)

    asked = [point for _ in range(10) for point in ask_of(learner)(1)[0]]

    assert known not in asked

"""Ask a learner for points that it does not know yet.

Three of adaptive's learners may ask for points that were told before, once a learner is restored or evaluates
several points at a time: AverageLearner1D numbers new samples by how many it has, whichever those are, and
would ask for the same one for ever when one before it was lost; LearnerND restarts its random numbers, after each
`ask` of a BalancingLearner too; IntegratorLearner keeps points on its stack that it was told meanwhile. Each costs
evaluations that were paid.
(LearnerND also forgets which simplices to divide when it drops unfinished points: see `replay.requeue`.)
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any

from adaptive import AverageLearner1D, BalancingLearner, DataSaver, IntegratorLearner, LearnerND

Ask = Callable[[int], tuple[list[Any], list[float]]]
Known = Callable[[Any], bool]


def ask_of(learner: Any) -> Ask:
    """The `ask` to use for `learner`: its own one, unless it may ask for what it knows."""
    inner = _unwrapped(learner)
    if isinstance(inner, BalancingLearner):
        children = [_unwrapped(child) for child in inner.learners]
        if children and isinstance(children[0], AverageLearner1D):
            return _asking_children_samples(learner, children)
        if children and isinstance(children[0], LearnerND):
            return _asking_children_planes(learner, children)
    elif isinstance(inner, AverageLearner1D):
        return _asking_samples(learner, inner)
    elif isinstance(inner, LearnerND | IntegratorLearner):
        return _asking_unknown(learner, lambda point: _skip(inner, point))
    own: Ask = learner.ask
    return own


def _unwrapped(learner: Any) -> Any:
    while isinstance(learner, DataSaver):
        learner = learner.learner
    return learner


def _skip(learner: Any, point: Hashable) -> bool:
    known = point in learner.data
    if known:
        learner.pending_points.discard(point)
    return known


def _asking_unknown(learner: Any, known: Known) -> Ask:
    def ask(n: int) -> tuple[list[Any], list[float]]:
        while True:
            points, losses = learner.ask(n)
            fresh = [(point, loss) for point, loss in zip(points, losses, strict=True) if not known(point)]
            if len(fresh) == len(points):
                return points, losses
            if fresh:
                return [point for point, _ in fresh], [loss for _, loss in fresh]

    return ask


def _asking_children_planes(learner: Any, children: list[Any]) -> Ask:
    given: set[Hashable] = set()

    def known(point: Any) -> bool:
        child = children[point[0]]
        again = _skip(child, point[1]) or point in given
        if again:
            # BalancingLearner puts the child back each time, so that it would draw the same point for ever.
            for _ in range(child.ndim):
                child._random.random()
        given.add(point)
        return again

    return _asking_unknown(learner, known)


class _Samples:
    """Gives every sample of an AverageLearner1D a number that was not given before."""

    def __init__(self) -> None:
        self._given: set[tuple[int, int, Any]] = set()

    def unused(self, learner: Any, sample: tuple[int, Any]) -> tuple[int, Any]:
        seed, x = sample
        told = learner._data_samples.get(x, ())
        while seed in told or (id(learner), seed, x) in self._given:
            seed += 1
        self._given.add((id(learner), seed, x))
        learner.pending_points.add((seed, x))
        return seed, x


def _asking_samples(learner: Any, owner: Any) -> Ask:
    samples = _Samples()

    def ask(n: int) -> tuple[list[Any], list[float]]:
        points, losses = learner.ask(n)
        return [samples.unused(owner, point) for point in points], losses

    return ask


def _asking_children_samples(learner: Any, children: list[Any]) -> Ask:
    samples = _Samples()

    def ask(n: int) -> tuple[list[Any], list[float]]:
        points, losses = learner.ask(n)
        return [(index, samples.unused(children[index], point)) for index, point in points], losses

    return ask

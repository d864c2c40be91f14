"""Checkpoint + journal = data, for every learner class of adaptive, wherever a lease ends; nothing is paid twice."""

from __future__ import annotations

import math
import os
import random
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from functools import partial
from operator import itemgetter
from pathlib import Path
from typing import Any, NamedTuple

import adaptive
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.slots import Ledger

from fabric_broker.records import Pointer
from fabric_broker.replay import points
from fabric_broker.signing import Signer
from fabric_jobs import channel, drive, pooled, slot
from fabric_jobs.channel import AgentGone, Decoder, Down, Frame, Up
from fabric_jobs.evaluate import Answer, Value
from fabric_jobs.finished import dump
from fabric_jobs.lease import LeaseOrder
from fabric_jobs.restore import restore

SIGNER = Signer(b"k" * 32, "default")


class Case(NamedTuple):
    """A learner class: how to make one, its goal, and what its points and data are called."""

    make: Callable[[], Any]
    goal: Any
    evaluated: Callable[[Any], Any] = lambda point: point
    """the key under which its function sees a point"""
    data: Callable[[Any], dict[Any, Any]] = lambda learner: dict(learner.data)
    told: Callable[[Any], Any] = lambda point: point
    """the key under which its data have a point"""
    value: Callable[[Any], Any] = lambda value: value
    """what two equal values have in common"""


def observed(key: Any, value: Any) -> Any:
    """What every function here answers; the stage looks on."""
    STAGE.evaluated(key)  # noqa: F821 - set by the test
    return value


def on_line(x: Any) -> Any:
    return observed(x, math.tanh(20 * (x - 0.1)))


def in_plane(xy: Any) -> Any:
    return observed(xy, math.exp(-10 * (xy[0] ** 2 + xy[1] ** 2)))


def of_seed(seed: Any) -> Any:
    return observed(seed, math.sin(seed * 7.1))


def of_sample(sample: Any) -> Any:
    seed, x = sample
    return observed(sample, x + 0.3 * math.sin(seed * 7.1 + x))


def of_item(item: Any) -> Any:
    return observed(item[0], sum(item))


def of_child(function: Any, number: Any, x: Any) -> Any:
    return observed((number, x), function(x + number / 10))


def peak(x: Any) -> Any:
    return observed(x, 1 / (0.01 + (x - 0.3) ** 2))


def as_dict(x: Any) -> Any:
    return {"y": on_line(x), "array": [x, x]}


def samples(learner: Any) -> Any:
    return {(seed, x): y for x, ys in learner._data_samples.items() for seed, y in ys.items()}


def sample_value(sample: Any) -> Any:
    return sample[1] + 0.3 * math.sin(sample[0] * 7.1)


def average_1d(function: Any) -> Any:
    return adaptive.AverageLearner1D(function, (-1, 1), min_samples=5, max_samples=12)


def balancing(make: Any, function: Any, **options: Any) -> Any:
    return adaptive.BalancingLearner(
        [make(partial(of_child, function, number)) for number in range(3)], **options
    )


def shifted_sample(number: Any, sample: Any) -> Any:
    return observed((number, sample), sample_value(sample))


def balanced_averages() -> Any:
    learners = [average_1d(partial(shifted_sample, number)) for number in range(2)]
    return adaptive.BalancingLearner(learners, strategy="npoints")


def shifted_plane(number: Any, xy: Any) -> Any:
    return observed((number, xy), math.exp(-10 * ((xy[0] - number / 5) ** 2 + xy[1] ** 2)))


def balanced_planes() -> Any:
    learners = [adaptive.LearnerND(partial(shifted_plane, n), [(-1, 1)] * 2) for n in range(2)]
    return adaptive.BalancingLearner(learners)


def as_vector(x: Any) -> Any:
    return observed(x, np.array([math.tanh(20 * (x - 0.1)), x]))


def child_as_dict(number: Any, x: Any) -> Any:
    return {"y": of_child(math.sin, number, x), "array": [x, x]}


def savers_children() -> Any:
    return [adaptive.Learner1D(partial(child_as_dict, number), (-1, 1)) for number in range(3)]


CASES = {
    "Learner1D of vectors": Case(lambda: adaptive.Learner1D(as_vector, (-1, 1)), 25, value=tuple),
    "Learner1D": Case(lambda: adaptive.Learner1D(on_line, (-1, 1)), 30),
    "Learner2D": Case(lambda: adaptive.Learner2D(in_plane, [(-1, 1), (-1, 1)]), 25),
    "LearnerND": Case(lambda: adaptive.LearnerND(in_plane, [(-1, 1), (-1, 1)]), 25),
    "AverageLearner": Case(lambda: adaptive.AverageLearner(of_seed, atol=0.01), 30),
    "AverageLearner1D": Case(
        lambda: average_1d(of_sample), lambda learner: learner.nsamples >= 60, data=samples
    ),
    "IntegratorLearner": Case(lambda: adaptive.IntegratorLearner(peak, (0, 1), tol=1e-5), None),
    "SequenceLearner": Case(
        # Points that cannot be hashed.
        lambda: adaptive.SequenceLearner(of_item, [[n, n + 1] for n in range(25)]),
        None,
        evaluated=lambda point: point[1][0],
        told=itemgetter(0),
    ),
    "BalancingLearner": Case(
        lambda: balancing(partial(adaptive.Learner1D, bounds=(-1, 1)), math.sin),
        lambda learner: learner.npoints >= 30,
    ),
    "BalancingLearner of AverageLearner1D": Case(
        balanced_averages,
        lambda learner: learner.nsamples >= 60,
        data=lambda learner: {
            (n, s): y for n, child in enumerate(learner.learners) for s, y in samples(child).items()
        },
    ),
    "BalancingLearner of LearnerND": Case(balanced_planes, lambda learner: learner.npoints >= 25),
    "DataSaver": Case(
        lambda: adaptive.DataSaver(adaptive.Learner1D(as_dict, (-1, 1)), itemgetter("y")),
        25,
        data=lambda learner: dict(learner.extra_data),
    ),
    "DataSaver of BalancingLearner": Case(
        lambda: adaptive.DataSaver(adaptive.BalancingLearner(savers_children()), itemgetter("y")),
        lambda learner: learner.npoints >= 25,
        data=lambda learner: dict(learner.extra_data),
    ),
    "BalancingLearner of DataSaver": Case(
        lambda: adaptive.BalancingLearner(
            [adaptive.DataSaver(child, itemgetter("y")) for child in savers_children()]
        ),
        lambda learner: learner.npoints >= 25,
        data=lambda learner: {
            (n, x): value for n, child in enumerate(learner.learners) for x, value in child.extra_data.items()
        },
    ),
    "DataSaver of IntegratorLearner": Case(
        lambda: adaptive.DataSaver(adaptive.IntegratorLearner(as_pair, (0, 1), tol=1e-5), itemgetter(0)),
        lambda learner: learner.learner.done(),
        data=lambda learner: {**dict.fromkeys(learner.learner.data), **learner.extra_data},
    ),
}


def as_pair(x: Any) -> Any:
    return peak(x), "more"


for strategy in ("loss", "npoints", "cycle"):  # and loss_improvements above, which is the default
    CASES[f"BalancingLearner by {strategy}"] = Case(
        partial(balancing, partial(adaptive.Learner1D, bounds=(-1, 1)), math.sin, strategy=strategy),
        lambda learner: learner.npoints >= 25,
    )


class Stage:
    """Agent and Redis of one learner; its function asks the stage what happens at each evaluation."""

    def __init__(self, case: Case, folder: Path) -> None:
        self.case = case
        self.ledger = Ledger(SIGNER, folder, case.make(), goal=case.goal)
        self.told: list[tuple[Any, Any]] = []
        self.paid: set[Any] = set()
        self.plan: dict[int, str] = {}
        self.evaluations = 0
        self.warned: list[str] = []
        self.damaged: set[Pointer] = set()
        self._down = self._up = -1
        self._decoder = Decoder()

    def evaluated(self, key: Any) -> None:
        """The learner's function was called."""
        self.hear()
        assert key not in self.paid, f"{key} is in the journal and was evaluated again"
        event = self.plan.get(self.evaluations)
        self.evaluations += 1
        if event == "save":
            os.write(self._down, channel.encode(Down.SAVE))
        elif event in ("drain", "fenced"):
            stop = {"cause": event, "save": event == "drain"}
            os.write(self._down, channel.encode_json(Down.STOP, stop))
        elif event == "crash":
            os.close(self._up)
            self._up = -1

    def hear(self) -> bool:
        """Take in what the slot wrote; True when the lease is over."""
        over = False
        while self._up >= 0:
            try:
                data = os.read(self._up, 1 << 20)
            except BlockingIOError:
                break
            if not data:
                break
            for frame in self._decoder.feed(data):
                over = self._take(frame) or over
        return over

    def _take(self, frame: Frame) -> bool:
        if frame.kind == Up.POINT:
            ((point, value),) = points(frame.raw)
            self.told.append((point, value))
            self.paid.add(self.case.evaluated(point))
        return self.ledger.heard(frame)

    def lease(self, plan: dict[int, str], saves: int) -> bool:
        """One lease, in a slot of its own; True when the goal was reached.

        It saves right at its start when `saves`; `plan` says what happens at which evaluation.
        """
        self.plan, self.evaluations, self._decoder = plan, 0, Decoder()
        self._up, up = channel.open_pipe()
        os.set_blocking(self._up, False)
        down, self._down = channel.open_pipe()
        for _ in range(saves):
            os.write(self._down, channel.encode(Down.SAVE))
        try:
            (frame,) = Decoder().feed(self.ledger.lease())
            try:
                slot.Slot(up, down, SIGNER, "n7")._lease(frame.body)
            except AgentGone:
                return False
            assert self.hear()
        finally:
            for fd in (self._up, up, down, self._down):
                if fd >= 0:
                    os.close(fd)
            self._up = -1
        kind, record = self.ledger.ending()
        assert kind is not Up.RAISED, record
        return kind is Up.DONE

    def damage(self, how: str) -> None:
        """Something happens to the newest checkpoint's file, unless that of the one before was damaged already."""
        newest = self.ledger.checkpoint
        if newest is None or self.damaged & {newest, self.ledger.previous}:
            return
        path = self.ledger.path(newest)
        if how == "truncate":
            os.truncate(path, newest.size - 1)
        elif how == "corrupt":
            path.write_bytes(path.read_bytes()[:-1] + b"?")
        else:
            path.unlink()
        self.damaged.add(newest)

    def restored(self) -> tuple[dict[Any, Any], set[Any]]:
        """The data that the next holder would have, and the points in its memo."""
        (frame,) = Decoder().feed(self.ledger.lease())
        found = restore(LeaseOrder.decode(frame.body), SIGNER, self.ledger.store, self.warned.append)
        assert not any("no checkpoint and no journal" in text for text in self.warned)
        return self.case.data(found.learner), {self.case.told(point) for point, _ in found.memo.pairs()}


STAGE: Stage
"""The one in use."""


class AtOnce(threading.Thread):
    """Saves without a thread, so that the same examples do the same."""

    def start(self) -> None:
        self.run()

    def is_alive(self) -> bool:
        return False

    def join(self, timeout: float | None = None) -> None:
        pass


class LateAnswers:
    """A pool whose answers come in any order, without processes."""

    name = "late answers"
    workers = 3
    random = random.Random(7)

    def __init__(self, *_: object) -> None:
        self.pending: list[tuple[Future[Answer], Any]] = []

    def use(self, function: Any) -> Any:
        self.function = function

    def submit(self, point: Any, *, with_code: Any = False) -> Any:
        future: Future[Answer] = Future()
        self.pending.append((future, point))
        return future

    def answer_one(self) -> Any:
        if self.pending:
            future, point = self.pending.pop(self.random.randrange(len(self.pending)))
            if future.set_running_or_notify_cancel():
                future.set_result(Value(dump(point, self.function(point))))

    def close(self) -> Any:
        pass


class OneAtATime(pooled.Pooled):
    """Lets the pool answer once before it collects."""

    def _collect(self, timeout: Any) -> Any:
        self._pool.answer_one()
        super()._collect(0.001)


@pytest.fixture
def executor(request, monkeypatch) -> Iterator[str]:
    monkeypatch.setattr(drive, "LOOK_S", -1.0)
    monkeypatch.setattr(pooled, "LOOK_S", -1.0)
    monkeypatch.setattr("fabric_jobs.saving.threading.Thread", AtOnce)
    monkeypatch.setattr(slot, "Pool", LateAnswers)
    monkeypatch.setattr(slot, "Pooled", OneAtATime)
    return request.param


EVENTS = st.dictionaries(
    st.integers(0, 25), st.sampled_from(["save", "save", "drain", "crash", "fenced"]), max_size=4
)
DAMAGE = st.sampled_from([None, None, None, "truncate", "corrupt", "lose"])
PLANS = st.lists(st.tuples(EVENTS, st.integers(0, 1), DAMAGE), min_size=1, max_size=5)


AT_ONCE = {
    ("serial", "Learner1D"),
    ("serial", "AverageLearner"),
    ("serial", "SequenceLearner"),
    ("serial", "BalancingLearner"),
    ("late answers", "Learner1D"),
}
"""What is tested in the normal run too; the others in the long one."""


@pytest.mark.parametrize(
    ("executor", "name"),
    [
        pytest.param(executor, name, marks=[] if (executor, name) in AT_ONCE else pytest.mark.long)
        for executor in ("serial", "late answers")
        for name in CASES
    ],
    indirect=["executor"],
)
def test_whatever_ends_a_lease_the_next_one_has_all_points_and_evaluates_none_again(
    name, executor, tmp_path_factory
):
    @settings(
        max_examples=15,
        derandomize=True,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow],
        database=None,
    )
    @given(PLANS)
    def check(plans):
        global STAGE
        case = CASES[name]
        STAGE = stage = Stage(case, tmp_path_factory.mktemp("store"))
        stage.ledger.record["executor"] = executor
        done = False
        for plan, saves, damage in [*plans, ({}, 0, None)]:
            done = stage.lease(plan, saves)
            if damage is not None:
                stage.damage(damage)
            data, memo = stage.restored()
            told = {case.told(point): case.value(value) for point, value in stage.told}
            assert len(told) == len(stage.told)
            assert set(data) | memo == set(told)
            assert {key: case.value(value) for key, value in data.items() if value is not None} == {
                key: told[key] for key in data if data[key] is not None
            }
            if done:
                break
        assert done

    check()

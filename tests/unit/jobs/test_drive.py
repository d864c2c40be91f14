"""The loop in the slot's own process."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from typing import Any

import adaptive
import pytest

from fabric_broker.errors import UsageError
from fabric_broker.memo import Memo
from fabric_jobs import channel, drive
from fabric_jobs.drive import Course, EvaluationError, ExhaustedError, Options, Stop, serial, shown
from fabric_jobs.finished import Finished

Make = Callable[..., Course]


@pytest.fixture
def course() -> Iterator[Make]:
    """Makes a course; its `warned` gets the warnings."""
    reader, writer = channel.open_pipe()

    def make(
        look: Callable[[], Stop | None] = lambda: None, memo: Memo | None = None, **options: Any
    ) -> Course:
        return Course(Finished(writer, 0), look, memo or Memo(), WARNED.append, Options(**options))

    WARNED.clear()
    yield make
    os.close(reader)
    os.close(writer)


WARNED: list[str] = []


def reached(n: int) -> Callable[[Any], bool]:
    return lambda learner: learner.npoints >= n


class Flaky:
    """Fails so many times at each point from the third on."""

    def __init__(self, failures: int, error: BaseException) -> None:
        self.failures = failures
        self.error = error
        self.calls: list[float] = []

    def __call__(self, x: float) -> float:
        self.calls.append(x)
        if len(set(self.calls)) >= 3 and self.calls.count(x) <= self.failures:
            raise self.error
        return x


def test_it_does_what_adaptive_does(course):
    ours, theirs = (adaptive.Learner1D(lambda x: x**3, (-1, 1)) for _ in range(2))
    made = course()
    assert serial(ours, reached(60), made) is None
    adaptive.runner.simple(theirs, npoints_goal=60)
    assert list(ours.data.items()) == list(theirs.data.items())
    assert made.finished.seq == 60


def test_an_error_names_the_point_and_shows_the_users_lines_only(course):
    def broken(x):
        return 1 / (x - 1)

    with pytest.raises(EvaluationError) as caught:
        serial(adaptive.Learner1D(broken, (-1, 1)), reached(60), course())
    assert caught.value.point == 1
    assert caught.value.failure.type == "ZeroDivisionError"
    assert "1 / (x - 1)" in caught.value.failure.traceback
    assert "in serial" not in caught.value.failure.traceback


def test_retries_are_made(course):
    function = Flaky(2, OSError("busy"))
    serial(adaptive.Learner1D(function, (-1, 1)), reached(5), course(retries=2))
    assert function.calls.count(function.calls[-1]) == 3


def test_retries_end(course):
    function = Flaky(3, OSError("busy"))
    with pytest.raises(EvaluationError, match="OSError: busy"):
        serial(adaptive.Learner1D(function, (-1, 1)), reached(5), course(retries=2))
    assert len(function.calls) == 5


def test_a_point_can_be_given_up(course):
    function = Flaky(99, ValueError("never"))
    learner = adaptive.SequenceLearner(function, range(4))
    with pytest.raises(ExhaustedError, match="no more points"):
        serial(learner, reached(4), course(raise_if_retries_exceeded=False))
    assert list(learner.data) == [0, 1]
    assert len(WARNED) == 2
    assert "gave up the point (2, 2): ValueError: never" in WARNED


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt()])
def test_what_asks_for_an_end_is_not_tried_again(course, error):
    function = Flaky(1, error)
    with pytest.raises(EvaluationError):
        serial(
            adaptive.Learner1D(function, (-1, 1)),
            reached(5),
            course(retries=5, raise_if_retries_exceeded=False),
        )
    assert len(function.calls) == 3


def test_a_value_that_the_learner_refuses_is_the_functions_error(course):
    with pytest.raises(EvaluationError, match="Y-value may not be None") as caught:
        serial(adaptive.Learner1D(lambda x: None, (-1, 1)), reached(5), course())
    assert caught.value.point == -1


def test_a_value_that_cannot_travel_is_the_functions_error(course):
    with pytest.raises(EvaluationError, match="cannot pickle") as caught:
        serial(adaptive.SequenceLearner(lambda x: threading.Lock(), [7]), reached(1), course())
    assert caught.value.point == (0, 7)


def test_a_goal_out_of_reach_is_an_error_and_no_busy_loop(course):
    with pytest.raises(ExhaustedError, match="SequenceLearner has no more points to ask for after 3"):
        serial(adaptive.SequenceLearner(abs, [1, 2, 3]), reached(4), course())


def test_a_known_point_is_told_and_not_evaluated(course):
    memo = Memo()
    memo.add(-1, 5.0)
    function = Flaky(0, ValueError())
    learner = adaptive.Learner1D(function, (-1, 1))
    made = course(memo=memo)
    serial(learner, reached(4), made)
    assert learner.data[-1] == 5.0
    assert -1 not in function.calls
    assert made.finished.seq == 3


def test_a_known_value_that_is_refused_is_evaluated(course):
    memo = Memo()
    memo.add(-1, None)
    learner = adaptive.Learner1D(lambda x: 2 * x, (-1, 1))
    serial(learner, reached(4), course(memo=memo))
    assert learner.data[-1] == -2


def test_it_looks_by_the_clock_and_not_by_the_point(course, monkeypatch):
    now = 0.0

    def evaluate(x: float) -> float:
        nonlocal now
        now += drive.LOOK_S / 50
        return x

    looks: list[int] = []
    monkeypatch.setattr("fabric_jobs.drive.time.monotonic", lambda: now)
    made = course(look=lambda: looks.append(1))
    serial(adaptive.Learner1D(evaluate, (-1, 1)), reached(500), made)
    assert 8 <= len(looks) <= 11
    assert made.effort.seconds == pytest.approx(now)


def test_it_looks_although_every_point_is_given_up(course, monkeypatch):
    monkeypatch.setattr(drive, "LOOK_S", -1.0)
    stop = Stop("drain", save=True)
    made = course(look=lambda: stop, retries=0, raise_if_retries_exceeded=False)
    assert serial(adaptive.Learner1D(lambda x: 1 / 0, (-1, 1)), reached(9), made) is stop


def test_a_stop_ends_it_after_the_evaluation_that_runs(course, monkeypatch):
    monkeypatch.setattr(drive, "LOOK_S", -1.0)
    stop = Stop("drain", save=True)
    answers = iter([None, None, stop])
    learner = adaptive.Learner1D(lambda x: x, (-1, 1))
    assert serial(learner, reached(500), course(look=lambda: next(answers))) is stop
    assert learner.npoints == 3


def test_options_that_are_none_are_refused():
    assert Options.of({"retries": 2}) == Options(None, 2, True)
    with pytest.raises(UsageError, match="'log' is not one of ntasks, retries"):
        Options.of({"log": True})


def test_a_point_is_shown_short_whatever_its_repr_does():
    class Rude:
        def __repr__(self) -> str:
            raise RuntimeError

    assert shown(0.5) == "0.5"
    assert len(shown("x" * 10_000)) == drive.REPR_CHARS
    assert shown(Rude()) == "(Rude whose repr raises RuntimeError)"

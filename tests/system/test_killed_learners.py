"""SIGKILL under each kind of learner: all that was acknowledged is there, nothing else, and the goal is reached."""

from __future__ import annotations

import math
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import adaptive
import pytest
from tests.system.conftest import Scene, quick
from tests.system.processes import PATIENCE, EvaluationLog, of_job, wait_for

from adaptive_fabric import Run

SECONDS = 0.01
MERCY = 1.0
"""Seconds: evaluations that finished so long before a kill are never repeated."""


def sharp(x: Any) -> float:
    return math.tanh(20 * (float(x) - 0.1))


def bump(xy: Any) -> float:
    return math.exp(-10 * sum(float(x) ** 2 for x in xy))


def noted(log: Path | None, name: str, function: Callable[[Any], float]) -> Callable[[Any], float]:
    """`function`, slow, and with a line in the log for each evaluation that finished; without a log as it is."""
    if log is None:
        return function

    def evaluate(point: Any) -> float:
        value = function(point)
        time.sleep(SECONDS)
        x = tuple(map(float, point)) if isinstance(point, tuple) else float(point)
        place = f"{os.getpid()}\t{os.environ.get('FABRIC_JOB')}\t{os.environ.get('FABRIC_JOB_TAG')}"
        with log.open("ab", buffering=0) as file:
            file.write(f"{name}\t{x!r}\t{time.time()!r}\t{place}\n".encode())
        return value

    return evaluate


class Case(NamedTuple):
    """A class of learners; `make` is given the log that its functions write, or None."""

    make: Callable[[Path | None], Any]
    goal: Any
    points: Callable[[Any], dict[tuple[str, str], float]]
    """(name, point) → value, as the log has it"""


def plain(learner: Any, name: str = "x") -> dict[tuple[str, str], float]:
    return {
        (name, repr(tuple(map(float, point)) if isinstance(point, tuple) else float(point))): float(value)
        for point, value in learner.data.items()
    }


def children(learner: Any) -> dict[tuple[str, str], float]:
    return {
        key: value for n, child in enumerate(learner.learners) for key, value in plain(child, f"x{n}").items()
    }


def balancing(log: Path | None) -> Any:
    return adaptive.BalancingLearner(
        [adaptive.Learner1D(noted(log, f"x{n}", sharp), (-1 - n, 1)) for n in range(3)]
    )


CASES = {
    "Learner1D": Case(lambda log: adaptive.Learner1D(noted(log, "x", sharp), (-1, 1)), 250, plain),
    "LearnerND": Case(lambda log: adaptive.LearnerND(noted(log, "x", bump), [(-1, 1)] * 2), 250, plain),
    "SequenceLearner": Case(
        lambda log: adaptive.SequenceLearner(noted(log, "x", float), list(range(250))), None, plain
    ),
    "BalancingLearner": Case(balancing, lambda learner: learner.npoints >= 250, children),
}


def uninterrupted(case: Case, n: int) -> dict[tuple[str, str], float]:
    """The first points of a learner that nobody disturbs."""
    learner = case.make(None)
    for _ in range(n):
        (point,), _ = learner.ask(1)
        learner.tell(point, learner.function(point))
    return case.points(learner)


def acknowledged(run: Run) -> int:
    """How many points Redis took."""
    seq: Any = run.broker.redis.hget(run.broker.keys.learner(f"{run.id}.0"), "seq")
    return int(seq or 0)


def in_log(log: EvaluationLog) -> set[tuple[str, str]]:
    return {(evaluation.learner, evaluation.x) for evaluation in log}


@pytest.mark.long
@pytest.mark.parametrize(
    ("name", "save_interval"), [("Learner1D", 60.0), *((name, 0.4) for name in CASES)], ids=str
)
def test_a_killed_learner_has_what_was_acknowledged_and_reaches_its_goal(
    scene: Scene, name: str, save_interval: float, tmp_path: Path
) -> None:
    case, log = CASES[name], scene.log
    # Long enough that nobody takes the learner over while we look.
    scene.fabric.pool("local", quick(ttl=8.0), jobs=1)
    run = scene.fabric.submit([case.make(log.path)], goal=case.goal, save_interval=save_interval)
    wait_for(lambda: acknowledged(run) > 60, "some points")
    (job,) = scene.holders(run)
    killed = time.time()
    os.kill(scene.one(job, "agent").pid, signal.SIGKILL)
    wait_for(lambda: not of_job(scene.home.path, job), f"the end of all processes of {job}")
    dead, before = time.time(), run.learners()[0].token

    loaded = case.points(run.load()[0])

    assert (len(loaded), run.learners()[0].token) == (acknowledged(run), before)
    assert set(loaded) <= in_log(log)
    assert {
        (evaluation.learner, evaluation.x) for evaluation in log if evaluation.finished < killed - MERCY
    } <= set(loaded)
    assert loaded == uninterrupted(case, len(loaded))

    wait_for(lambda: acknowledged(run) > len(loaded) + 30, "more points", PATIENCE)
    again = time.time()
    os.kill(scene.one(next(iter(scene.holders(run))), "slot").pid, signal.SIGKILL)
    scene.done_once(run)

    final = case.points(run.load()[0])
    assert loaded.items() <= final.items()
    assert set(final) <= in_log(log)
    assert log.evaluated_again(before=killed - MERCY) == []
    assert [each for each in log.evaluated_again(before=again - MERCY) if each.finished > dead] == []
    assert len(final) >= 250

"""Submitting: what goes in comes back, and what cannot go in changes nothing."""

from __future__ import annotations

import threading
from datetime import timedelta
from pathlib import Path
from typing import Any

import adaptive
import pytest
from tests.integration.client.conftest import Agent, everything

from adaptive_fabric import (
    ExistsError,
    Fabric,
    Local,
    NotFoundError,
    PickleError,
    StoreError,
    UsageError,
)
from adaptive_fabric.submitting import LARGEST_IN_REDIS
from fabric_broker import calls
from fabric_broker.store import Store

HARD_NAMES = ["a=1/b=2", "näme ✓ 😀", " blank ", "..", "line\nbreak", '"quoted"', "0"]


def line() -> adaptive.Learner1D:
    return adaptive.Learner1D(lambda x: x**2, (-1, 1))


def unpicklable() -> adaptive.Learner1D:
    lock = threading.Lock()
    return adaptive.Learner1D(lambda x: (lock, x)[1], (-1, 1))


def test_names_come_back_as_they_went_in(fabric: Fabric) -> None:
    learners = [line() for _ in HARD_NAMES]

    run = fabric.submit(learners, name="sweep/ä = 1", names=HARD_NAMES, goal=3)

    assert [record.name for record in fabric.run("sweep/ä = 1").learners()] == HARD_NAMES
    assert run.total == len(HARD_NAMES)
    assert run.status().counts == {"queued": len(HARD_NAMES)}


def test_closures_lambdas_and_goals_travel(fabric: Fabric, agent: Agent) -> None:
    slope = 3.0

    class Wanted:
        points = 7

    run = fabric.submit(
        [adaptive.Learner1D(lambda x: slope * x, (-1, 1))],
        goal=lambda learner: learner.npoints >= Wanted.points,
        initializer=lambda: None,
        runner_kwargs={"retries": 2},
    )

    _, learner = agent.lease()
    assert learner.function(2) == 6.0
    payload = agent.payload(run.id)
    assert payload.runner_kwargs == {"retries": 2}
    assert payload.cwd == str(Path.cwd())


def test_more_learners_than_a_call_takes_arrive_in_order(fabric: Fabric) -> None:
    learners = [line() for _ in range(calls.PAGE + 20)]

    run = fabric.submit(learners, goal=3)

    status = run.status()
    assert status.total == len(learners)
    assert status.state == "active"
    assert [record.name for record in run.learners()] == [str(index) for index in range(len(learners))]


def test_a_large_learner_lies_in_the_store_and_is_leased_like_any_other(fabric: Fabric, agent: Agent) -> None:
    ballast = bytes(range(256)) * (LARGEST_IN_REDIS // 256 + 1)

    run = fabric.submit([adaptive.Learner1D(lambda x: x * len(ballast), (-1, 1))], goal=3)

    broker = fabric.broker
    assert not broker.redis.exists(broker.keys.payload(f"{run.id}.0"))
    _, learner = agent.lease()
    assert learner.function(1) == len(ballast)
    assert run.load()[0].npoints == 0


def test_the_only_pool_is_taken_else_local_which_is_made_if_need_be(fabric: Fabric) -> None:
    def pool_of(run: Any) -> str:
        return str(run.learners()[0].pool)

    assert pool_of(fabric.submit([line()], goal=3)) == "local"
    fabric.broker.redis.flushall()
    fabric.pool("big", Local(cores=4))
    assert pool_of(fabric.submit([line()], goal=3)) == "big"
    fabric.pool("other", Local())
    assert pool_of(fabric.submit([line()], goal=3)) == "local"
    assert fabric.pool("local").jobs == 2
    assert pool_of(fabric.submit([line()], goal=3, pool="other")) == "other"


BAD: dict[str, tuple[dict[str, Any], type[Exception], str]] = {
    "empty list": ({"learners": []}, UsageError, "no learners"),
    "one learner": ({"learners": line()}, UsageError, "pass a list"),
    "not a list": ({"learners": 3}, UsageError, "pass a list"),
    "no learner": ({"learners": [line(), 3]}, UsageError, "learner 1 is a int"),
    "the same twice": ({"learners": [line()] * 2}, UsageError, "the same object"),
    "not picklable": (
        {"learners": [line(), unpicklable()]},
        PickleError,
        r"learner 1 cannot .* '_thread.lock'",
    ),
    "goal not picklable": ({"goal": unpicklable().function}, PickleError, "the goal cannot be pickled"),
    "names not unique": ({"names": ["a", "a"]}, UsageError, "not unique: 'a'"),
    "too few names": ({"names": ["a"]}, UsageError, "1 names for 2 learners"),
    "goal is a bool": ({"goal": True}, UsageError, "a bool is no goal"),
    "no goal": ({"goal": None}, UsageError, "Learner1D.*never ends by itself"),
    "goal is a word": ({"goal": "soon"}, UsageError, "goal is a str"),
    "no such pool": ({"pool": "nope"}, NotFoundError, "no pool 'nope'"),
    "priority": ({"priority": 10**6}, UsageError, "priority"),
    "attempts": ({"attempts": 0}, UsageError, "attempts=0"),
    "backoff": ({"backoff": -1}, UsageError, "backoff"),
    "save_interval": ({"save_interval": 0}, UsageError, "save_interval"),
    "log_interval": ({"log_interval": "often"}, UsageError, "log_interval"),
    "run name": ({"name": ""}, UsageError, "run name is empty"),
    "runner_kwargs": ({"runner_kwargs": {"executor": 1}}, UsageError, "executor"),
    "initializer": ({"initializer": "f"}, UsageError, "initializer is a str"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_gets_one_line_and_changes_nothing(fabric: Fabric, case: str) -> None:
    changes, kind, says = BAD[case]
    arguments = {"learners": [line(), line()], "goal": 3} | changes
    before = everything(fabric.broker.redis)

    with pytest.raises(kind, match=says) as caught:
        fabric.submit(arguments.pop("learners"), **arguments)

    assert "\n" not in str(caught.value)
    assert everything(fabric.broker.redis) == before
    assert not list(fabric.store.base.rglob("*"))


def test_a_learner_that_cannot_travel_is_called_by_its_name(fabric: Fabric) -> None:
    with pytest.raises(PickleError, match=r"learner 1 \('b/2'\) cannot be pickled"):
        fabric.submit([line(), unpicklable()], names=["a/1", "b/2"], goal=3)


def test_a_taken_name_is_refused_and_changes_nothing(fabric: Fabric) -> None:
    fabric.submit([line()], name="mine", goal=3)
    before = everything(fabric.broker.redis)

    with pytest.raises(ExistsError, match="'mine'"):
        fabric.submit([line()], name="mine", goal=3)

    assert everything(fabric.broker.redis) == before


def test_large_learners_of_a_refused_submission_are_removed_from_the_store(fabric: Fabric) -> None:
    ballast = b"x" * 2 * LARGEST_IN_REDIS
    large = adaptive.Learner1D(lambda x: x * len(ballast), (-1, 1))

    with pytest.raises(PickleError):
        fabric.submit([large, unpicklable()], goal=3)

    assert not [path for path in fabric.store.base.rglob("*") if path.is_file()]


def test_a_store_that_cannot_be_written_changes_nothing(fabric: Fabric, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    fabric.store = Store(tmp_path / "file")
    ballast = b"x" * 2 * LARGEST_IN_REDIS
    before = everything(fabric.broker.redis)

    with pytest.raises(StoreError, match="cannot write"):
        fabric.submit([adaptive.Learner1D(lambda x: x * len(ballast), (-1, 1))], goal=3)

    assert everything(fabric.broker.redis) == before


def test_durations_may_be_given_in_every_form(fabric: Fabric) -> None:
    run = fabric.submit(
        [line()], goal=timedelta(hours=1), save_interval="0:05:00", backoff=timedelta(seconds=2)
    )

    settings = fabric.broker.redis.hgetall(fabric.broker.keys.run(run.id))
    assert settings[b"save_interval"] == b"300.0"
    assert settings[b"backoff"] == b"2.0"
    assert settings[b"goal"] == b"leased for 1:00:00"

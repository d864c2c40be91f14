"""What loky pickles by our pickler: our own messages plainly, all others as without us."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from typing import Any

import pytest
from loky import set_loky_pickler
from loky.backend import reduction
from loky.process_executor import _CallItem, _ResultItem

from fabric_jobs import loky_pickler
from fabric_jobs.evaluate import Answer, Failure, Missing, Value, evaluate


@pytest.fixture(autouse=True)
def _chosen() -> Iterator[None]:
    set_loky_pickler(loky_pickler.__name__)
    yield
    set_loky_pickler()


@pytest.fixture
def _alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without what loky takes otherwise."""
    monkeypatch.setattr(loky_pickler, "_FOREIGN", None)


@pytest.mark.usefixtures("_alone")
def test_an_evaluation_is_pickled_plainly():
    call = pickle.loads(reduction.dumps(_CallItem(7, evaluate, (b"digest", None, b"point"), {})))
    assert (call.work_id, call.fn, call.args) == (7, evaluate, (b"digest", None, b"point"))


@pytest.mark.usefixtures("_alone")
@pytest.mark.parametrize(
    "answer", [Value(b"body", 0.5), Failure("E", "text", "trace", retry=True), Missing()]
)
def test_its_answer_is_pickled_plainly(answer: Answer):
    back = pickle.loads(reduction.dumps(_ResultItem(7, result=answer)))
    assert (back.work_id, back.result) == (7, answer)
    assert type(back.result) is type(answer)


def test_what_others_send_is_pickled_as_without_us():
    shift = 3
    call = pickle.loads(reduction.dumps(_CallItem(1, lambda x: x + shift, (4,), {})))
    assert call.fn(*call.args) == 7


def test_the_reductions_of_an_executor_hold():
    class Odd:
        pass

    def reduce_odd(odd: Any) -> Any:
        return str, ("reduced",)

    assert pickle.loads(reduction.dumps([Odd()], reducers={Odd: reduce_odd})) == ["reduced"]

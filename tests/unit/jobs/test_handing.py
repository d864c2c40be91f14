"""Which calls count as running, what cancelling does, and what a death means for those in hand."""

from __future__ import annotations

from concurrent.futures import BrokenExecutor, Executor, Future
from typing import Any

import pytest

from fabric_jobs.handing import Handing
from fabric_jobs.lent import Lent


def test_as_many_as_may_have_begun_count_as_running_and_no_more():
    handing = Handing(2)
    futures = [handing.begin() for _ in range(4)]
    assert [future.running() for future in futures] == [True, True, False, False]
    assert [future.cancel() for future in futures] == [False, False, True, True]


def test_the_next_one_counts_when_one_ends_and_cancelled_ones_are_passed_over():
    handing = Handing(1)
    first, second, third = (handing.begin() for _ in range(3))
    assert second.cancel()
    handing.end(first, 1)
    assert (first.result(0), third.running()) == (1, True)
    assert not third.cancel()


def test_a_call_that_ends_out_of_turn_has_its_result():
    handing = Handing(1)
    first, second = handing.begin(), handing.begin()
    handing.end(second, 2)
    assert second.result(0) == 2
    assert first.running()


def test_a_result_that_comes_after_a_cancel_or_a_death_is_dropped():
    handing = Handing(1)
    first, second = handing.begin(), handing.begin()
    second.cancel()
    handing.end(second, 2)
    handing.break_off("SIGKILL")
    handing.end(first, 1)
    with pytest.raises(BrokenExecutor, match="SIGKILL"):
        first.result(0)


def test_a_death_breaks_all_that_is_in_hand_and_its_first_cause_is_kept():
    handing = Handing(1)
    first, second, third = (handing.begin() for _ in range(3))
    third.cancel()
    handing.break_off("SIGKILL")
    handing.break_off("a connection that was closed")
    for future in (first, second):
        with pytest.raises(BrokenExecutor, match="SIGKILL"):
            future.result(0)
    assert third.cancelled()
    with pytest.raises(BrokenExecutor, match="SIGKILL"):
        handing.begin()


class Theirs(Executor):
    """Keeps what it is given."""

    def __init__(self) -> None:
        self.futures: list[Future[Any]] = []

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        self.futures.append(Future())
        return self.futures[-1]


def test_any_error_of_the_executor_breaks_off_what_it_has():
    theirs = Theirs()
    lent = Lent(theirs, 2)
    one, other = lent.submit(abs, 1), lent.submit(abs, 2)
    theirs.futures[0].set_exception(ConnectionError("gone"))
    for future in (one, other):
        with pytest.raises(BrokenExecutor, match="ConnectionError: gone"):
            future.result(0)
    theirs.futures[1].set_result(2)  # too late, and no error
    with pytest.raises(BrokenExecutor):
        lent.submit(abs, 3)


def test_what_waits_is_cancelled_in_the_executor_too():
    theirs = Theirs()
    lent = Lent(theirs, 1)
    _, may_have_begun, waits = (lent.submit(abs, x) for x in range(3))
    assert not may_have_begun.cancel()
    assert waits.cancel()
    assert [future.cancelled() for future in theirs.futures] == [False, False, True]
    assert lent.broken is None

"""Overhead is the time that workers do not spend in the function; short evaluations are queued ahead."""

from __future__ import annotations

import pytest

from fabric_jobs.effort import SHORT_S, Effort


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_overhead_is_what_workers_do_not_spend_in_the_function(clock):
    effort = Effort(clock)
    effort.workers = 2
    assert effort.overhead() == 0
    clock.now += 10
    assert effort.overhead() == 100
    effort.add(9)
    assert effort.overhead() == pytest.approx(55)
    effort.in_flight = lambda: 8
    assert effort.overhead() == pytest.approx(15)


def test_what_runs_is_not_overhead_although_it_has_not_ended(clock):
    effort = Effort(clock)
    clock.now += 1000
    effort.in_flight = lambda: 1001  # taken a moment later
    assert effort.overhead() == 0


@pytest.mark.parametrize(
    ("workers", "seconds", "ahead"),
    [
        (2, 0.0, 2),
        (2, 0.01, 2),
        (2, 0.03, 1),
        (2, 0.9, 1),
        (2, SHORT_S, 0),
        (2, 600.0, 0),
        (64, 0.01, 64),
        (64, 0.1, 7),
        (64, 0.9, 1),
    ],
)
def test_the_shorter_evaluations_are_the_more_are_queued_ahead(workers, seconds, ahead):
    effort = Effort()
    effort.workers = workers
    assert effort.ahead() == 0  # before anything is known
    for _ in range(3):
        effort.add(seconds)
    assert effort.ahead() == ahead

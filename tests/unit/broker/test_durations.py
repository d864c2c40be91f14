"""Durations: every form of the contract, and what is refused."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fabric_broker import durations
from fabric_broker.errors import UsageError


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (0, 0.0),
        (90, 90.0),
        (0.25, 0.25),
        (timedelta(minutes=2), 120.0),
        (timedelta(days=2), 172_800.0),
        ("0:01:30", 90.0),
        ("48:00:00", 172_800.0),
        (" 0:00:01.5 ", 1.5),
    ],
)
def test_a_duration_is_seconds_a_timedelta_or_hours_minutes_seconds(value, expected):
    assert durations.seconds(value) == expected


@pytest.mark.parametrize(
    "value",
    [
        *(True, None, b"0:00:01", [1]),
        *(-1, -0.5, timedelta(seconds=-1), float("nan"), float("inf"), 10**400),
        *("", "90", "1:30", "0:61:00", "0:00:60", "-1:00:00", "1 h", "0:00:01:00", "٣:00:00"),
    ],
)
def test_anything_else_is_refused_with_what_was_given(value):
    with pytest.raises(UsageError) as refused:
        durations.seconds(value)
    assert repr(value)[:20] in str(refused.value)


@given(st.integers(min_value=0, max_value=10**9))
def test_whole_seconds_survive_being_written(whole):
    assert durations.seconds(durations.text(whole)) == whole


def test_a_fraction_is_rounded_up_so_that_a_walltime_is_never_shorter_than_asked():
    assert durations.text(59.2) == "0:01:00"

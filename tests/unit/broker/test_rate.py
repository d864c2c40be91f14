"""The rate of points is right from the first seconds of a run on, and fades when nothing comes."""

import math

import pytest

from fabric_broker.hashes import RATE_MEMORY, points_per_s


def decayed_sum(rate: float, seconds: int) -> float:
    """What the scripts keep after a steady stream, one point at a time (lua/_progress.lua)."""
    total, step = 0.0, 1 / rate
    for _ in range(int(seconds * rate)):
        total = total * math.exp(-step / RATE_MEMORY) + 1 / RATE_MEMORY
    return total


@pytest.mark.parametrize("seconds", [2, 20, 200])
def test_a_steady_stream_has_its_rate_at_every_age_of_the_run(seconds: int) -> None:
    assert points_per_s(decayed_sum(50, seconds), still=0, running=seconds) == pytest.approx(50, rel=0.02)


def test_silence_makes_it_fade() -> None:
    kept = decayed_sum(50, 200)

    assert points_per_s(kept, still=RATE_MEMORY, running=230) == pytest.approx(50 / math.e, rel=0.02)


def test_before_the_first_lease_there_is_none() -> None:
    assert points_per_s(0.0, still=0, running=0) == 0.0

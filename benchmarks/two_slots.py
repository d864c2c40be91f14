"""Whether a second slot doubles what a job does: two slots of one job beside one."""

from __future__ import annotations

from benchmarks import bare
from benchmarks.functions import learners
from benchmarks.rounds import paired
from benchmarks.stand import Stand
from benchmarks.table import Budget, Row

POINTS = 40_000


def measure(stand: Stand, rounds: int) -> list[Row]:
    """One learner in each slot; from the first lease to the last learner that is done."""

    def points_per_s(slots: int, pool: str) -> float:
        return slots * POINTS / stand.finish(stand.fabric.submit(learners(slots), goal=POINTS, pool=pool))

    one, two = stand.pool("one", slots=1), stand.pool("two", slots=2)
    result = paired(rounds, lambda: points_per_s(2, two), lambda: points_per_s(1, one))
    machine = paired(rounds, lambda: bare.measure(POINTS, processes=2), lambda: bare.measure(POINTS))
    return [
        Row(
            what="two slots of one job, no-op function",
            unit="points/s",
            fabric=result.ours,
            against="one slot",
            other=result.theirs,
            ratio=result.ratio,
            budget=Budget(1.8, at_least=True),
        ),
        # Without a fabric: what these two cores allow, now and with whatever else runs on them.
        Row(
            what="(no fabric: two bare processes)",
            unit="points/s",
            fabric=machine.ours,
            against="one bare process",
            other=machine.theirs,
            ratio=machine.ratio,
        ),
    ]

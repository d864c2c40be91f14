"""What leases, journal and checkpoints cost a learner: a serial slot beside `adaptive.runner.simple`."""

from __future__ import annotations

from benchmarks import bare
from benchmarks.functions import learners
from benchmarks.rounds import paired
from benchmarks.stand import Stand
from benchmarks.table import Budget, Row

POINTS = 40_000


def measure(stand: Stand, rounds: int) -> list[Row]:
    """From the lease to done, so loading the payload and the last checkpoint count too."""
    pool = stand.pool("one", slots=1)

    def fabric() -> float:
        return POINTS / stand.finish(stand.fabric.submit(learners(1), goal=POINTS, pool=pool))

    result = paired(rounds, fabric, lambda: bare.measure(POINTS))
    return [
        Row(
            what="serial slot, no-op function, journal on",
            unit="points/s",
            fabric=result.ours,
            against="simple runner, bare process",
            other=result.theirs,
            ratio=result.ratio,
            budget=Budget(0.95, at_least=True),
        )
    ]

"""What a learner costs that has little to do: leasing, loading, checkpoint, completing, beside a job of RQ."""

from __future__ import annotations

from benchmarks import rq_jobs
from benchmarks.functions import learners
from benchmarks.rounds import paired
from benchmarks.stand import Stand
from benchmarks.table import Budget, Row

POINTS = 10
# So many that each side works for some seconds.
LEARNERS, JOBS = 600, 100


def measure(stand: Stand, rounds: int) -> list[Row]:
    """Learners per second of one slot, beside one default worker of RQ on the same Redis server."""
    pool = stand.pool("one", slots=1)

    def fabric() -> float:
        return LEARNERS / stand.finish(stand.fabric.submit(learners(LEARNERS), goal=POINTS, pool=pool))

    result = paired(rounds, fabric, lambda: rq_jobs.measure(stand.redis_url, JOBS, POINTS))
    return [
        Row(
            what=f"learners of {POINTS} points, per slot",
            unit="learners/s",
            fabric=result.ours,
            against="RQ's default worker",
            other=result.theirs,
            ratio=result.ratio,
            budget=Budget(5, at_least=True),
        )
    ]

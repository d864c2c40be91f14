"""How much of their time the workers of a pool spend in a 10 ms function, beside plain `adaptive.Runner`.

From the first evaluation of a learner to its last; what a lease costs at its begin and end is measured elsewhere
(`short_learners`). Time in the function is by the clock on the wall. A function that waits leaves the cores to the
machinery, so what is missing to 100 % is what handing over takes. With one that computes, workers, slot, agent and
Redis want more cores than there are workers, and here, with two, more than there are.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Callable
from concurrent.futures import Executor, ProcessPoolExecutor
from pathlib import Path
from typing import Final

import adaptive

from adaptive_fabric import Local
from benchmarks.functions import WARM_UP, Timed, Warm
from benchmarks.rounds import paired, talk
from benchmarks.stand import Stand
from benchmarks.table import Budget, Row, spread_text
from fabric_jobs.effort import Effort

WORKERS: Final = 2
POINTS: Final = 400
SECONDS: Final = 0.01
KINDS: Final = ("process-pool", "loky")
REACHED: Final = Warm(WORKERS, POINTS)
ROUNDS: Final = 3
"""At most so many: each takes six seconds, for each kind and each function."""


def measure(stand: Stand, rounds: int) -> list[Row]:
    """Percent of the workers' time, once they are warm."""
    rows = []
    at_a_time = _at_a_time()
    for kind in KINDS:
        stand.fabric.pool(kind, Local(executor=kind, cores=WORKERS), jobs=1)
        with _executor(kind) as executor:
            for busy in (False, True):
                what = f"time in a function that {'computes' if busy else 'waits'} 10 ms, {kind}"
                talk(f" {what}")
                result = paired(min(rounds, ROUNDS), _fabric(stand, kind, busy), _runner(executor, busy))
                talk(f"  {spread_text(result.ours)} %, adaptive.Runner {spread_text(result.theirs)} %")
                rows.append(
                    Row(
                        what=f"{what}, {WORKERS} workers, {at_a_time} running or queued",
                        unit="%",
                        fabric=result.ours,
                        against=f"adaptive.Runner, {WORKERS} running",
                        other=result.theirs,
                        ratio=None,
                        budget=Budget(95, at_least=True),
                    )
                )
    return rows


def _at_a_time() -> int:
    """How many evaluations the fabric has running or queued, for these workers and this length."""
    effort = Effort()
    effort.workers = WORKERS
    effort.add(SECONDS)
    return WORKERS + effort.ahead()


def _fabric(stand: Stand, kind: str, busy: bool) -> Callable[[], float]:
    def share() -> float:
        with tempfile.TemporaryDirectory(prefix="fabric-bench-") as folder:
            timed = [Timed(Path(folder) / name, SECONDS, busy) for name in (WARM_UP, "counts")]
            run = stand.fabric.submit(
                [adaptive.Learner1D(function, (-1, 1)) for function in timed], goal=REACHED, pool=kind
            )
            stand.finish(run)
            return timed[1].share(WORKERS)

    return share


def _runner(executor: Executor, busy: bool) -> Callable[[], float]:
    def share() -> float:
        with tempfile.TemporaryDirectory(prefix="fabric-bench-") as folder:
            asyncio.run(_run(Timed(Path(folder) / WARM_UP, SECONDS, busy), executor))
            timed = Timed(Path(folder) / "counts", SECONDS, busy)
            asyncio.run(_run(timed, executor))
            return timed.share(WORKERS)

    return share


def _executor(kind: str) -> Executor:
    if kind == "process-pool":
        return ProcessPoolExecutor(WORKERS)
    import loky

    pool: Executor = loky.ProcessPoolExecutor(WORKERS, timeout=None)
    return pool


async def _run(function: Timed, executor: Executor) -> None:
    runner = adaptive.Runner(
        adaptive.Learner1D(function, (-1, 1)),
        goal=REACHED,
        executor=executor,
        ntasks=WORKERS,  # as many as by itself; but it cannot count loky's workers
        shutdown_executor=False,
    )
    await runner.task

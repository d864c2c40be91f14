"""How much of their time the workers of a pool spend in a 10 ms function, beside plain `adaptive.Runner`."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Callable
from concurrent.futures import Executor, ProcessPoolExecutor
from pathlib import Path

import adaptive

from adaptive_fabric import Local
from benchmarks.functions import Timed
from benchmarks.rounds import paired, talk
from benchmarks.stand import Stand
from benchmarks.table import Budget, Row

WORKERS = 2
POINTS = 600
WARM_UP_POINTS = 40
SECONDS = 0.01
KINDS: dict[str, tuple[int | None, ...]] = {
    "process-pool": (None, WORKERS, WORKERS + 1),
    "loky": (None, WORKERS),
}
"""Evaluations that run or are queued at a time; None: as the fabric chooses."""
AHEAD = 4
"""What the fabric chooses for `SECONDS` and `WORKERS`."""


def measure(stand: Stand, rounds: int) -> list[Row]:
    """Percent of the workers' time, once they are warm, from a learner's lease to its done."""
    rows = []
    for kind, choices in KINDS.items():
        stand.fabric.pool(kind, Local(executor=kind, cores=WORKERS), jobs=1)
        for ntasks in choices:
            talk(f" {kind}, ntasks {ntasks}")
            result = paired(rounds, _fabric(stand, kind, ntasks), _runner(kind, ntasks))
            queued = f"ntasks={ntasks}" if ntasks else f"as it comes: {AHEAD} at a time"
            against = f"adaptive.Runner, {f'ntasks={ntasks}' if ntasks else f'as it comes: {WORKERS}'}"
            rows.append(
                Row(
                    what=f"time in a 10 ms function, {kind}, {WORKERS} workers, {queued}",
                    unit="%",
                    fabric=result.ours,
                    against=against,
                    other=result.theirs,
                    ratio=None,
                    budget=None if ntasks else Budget(95, at_least=True),
                )
            )
    return rows


def _reached(learner: adaptive.Learner1D) -> bool:
    warm_up = learner.function.file.name == "warm-up"
    return bool(learner.npoints >= (WARM_UP_POINTS if warm_up else POINTS))


def _fabric(stand: Stand, kind: str, ntasks: int | None) -> Callable[[], float]:
    def share() -> float:
        with tempfile.TemporaryDirectory(prefix="fabric-bench-") as folder:
            timed = [Timed(Path(folder) / name, SECONDS) for name in ("warm-up", "counts")]
            run = stand.fabric.submit(
                [adaptive.Learner1D(function, (-1, 1)) for function in timed],
                goal=_reached,
                pool=kind,
                runner_kwargs=None if ntasks is None else {"ntasks": ntasks},
            )
            stand.finish(run)
            at = {event.event: event.at for event in stand.events(run) if event.learner == f"{run.id}.1"}
            return timed[1].spent() / (WORKERS * (at["complete"] - at["acquire"])) * 100

    return share


def _runner(kind: str, ntasks: int | None) -> Callable[[], float]:
    def share() -> float:
        with tempfile.TemporaryDirectory(prefix="fabric-bench-") as folder, _executor(kind) as executor:
            asyncio.run(_run(Timed(Path(folder) / "warm-up", SECONDS), executor, ntasks))
            timed = Timed(Path(folder) / "counts", SECONDS)
            took = asyncio.run(_run(timed, executor, ntasks))
            return timed.spent() / (WORKERS * took) * 100

    return share


def _executor(kind: str) -> Executor:
    if kind == "process-pool":
        return ProcessPoolExecutor(WORKERS)
    import loky

    pool: Executor = loky.ProcessPoolExecutor(WORKERS, timeout=None)
    return pool


async def _run(function: Timed, executor: Executor, ntasks: int | None) -> float:
    """Seconds of an `adaptive.Runner`."""
    runner = adaptive.Runner(
        adaptive.Learner1D(function, (-1, 1)),
        goal=_reached,
        executor=executor,
        ntasks=ntasks or WORKERS,  # it cannot count loky's workers
        shutdown_executor=False,
    )
    await runner.task
    return float(runner.elapsed_time())

"""What each executor costs: until it is up, and for evaluations of 10 ms and of nothing; see docs/executors.md."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Final

import adaptive

from adaptive_fabric import Local
from benchmarks.functions import WARM_UP, Timed, Warm
from benchmarks.rounds import Spread, talk
from benchmarks.stand import Stand
from benchmarks.table import Row

EXECUTORS: Final = {"serial": 1, "process-pool": 2, "loky": 2, "mpi4py": 2, "ipyparallel": 2, "dask": 2}
"""How many workers of each evaluate; under MPI another rank manages."""
POINTS: Final = 300
ROUNDS: Final = 3
"""At most so many: each takes some ten seconds, for each executor."""


def measure(stand: Stand, rounds: int) -> list[Row]:
    """Three figures for each executor, from runs of their own in slots of their own."""
    rows = []
    for executor, workers in EXECUTORS.items():
        talk(f" {executor}")
        cores = workers + (executor == "mpi4py")
        stand.fabric.pool(f"each-{executor}", Local(executor=executor, cores=cores), jobs=1)
        # The first of them waits for the job, too.
        figures = [_round(stand, f"each-{executor}", workers) for _ in range(min(rounds, ROUNDS) + 1)][1:]
        up, share, rate = (Spread.of(values) for values in zip(*figures, strict=True))
        what = f"{executor}, {workers} worker{'s' if workers > 1 else ''}"
        rows += [
            Row(f"{what}: from a run's first lease to its first evaluation", "s", up),
            Row(f"{what}: time in a function that waits 10 ms", "%", share),
            Row(f"{what}: evaluations of nothing", "per s", rate),
        ]
    return rows


def _round(stand: Stand, pool: str, workers: int) -> tuple[float, float, float]:
    with tempfile.TemporaryDirectory(prefix="fabric-bench-") as folder:
        lengths = {WARM_UP: 0.01, "waits": 0.01, "nothing": 0.0}
        functions = {
            name: Timed(Path(folder) / name, length, busy=not length) for name, length in lengths.items()
        }
        run = stand.fabric.submit(
            [adaptive.Learner1D(function, (-1, 1)) for function in functions.values()],
            goal=Warm(workers, POINTS),
            pool=pool,
        )
        stand.finish(run)
        leased = min(event.at for event in stand.events(run) if event.event == "acquire")
        began = time.time() - time.perf_counter() + functions[WARM_UP].began()
        return began - leased, functions["waits"].share(workers), functions["nothing"].rate()

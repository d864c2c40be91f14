"""`adaptive.runner.simple` in a bare process: `python -m benchmarks.bare POINTS` prints points per second."""

from __future__ import annotations

import subprocess
import sys
import time

TIMEOUT = 300  # s


def measure(points: int) -> float:
    """Points per second of one learner in a process of its own, without the start of Python and the imports."""
    command = [sys.executable, "-m", "benchmarks.bare", str(points)]
    told = subprocess.run(command, check=True, capture_output=True, text=True, timeout=TIMEOUT)
    return float(told.stdout)


def _main(points: int) -> None:
    from adaptive.runner import simple

    from benchmarks.functions import learners

    (learner,) = learners(1)
    began = time.perf_counter()
    simple(learner, npoints_goal=points)
    print(points / (time.perf_counter() - began))


if __name__ == "__main__":
    _main(int(sys.argv[1]))

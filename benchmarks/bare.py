"""`adaptive.runner.simple` in bare processes; `python -m benchmarks.bare POINTS` is one of them."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import time


def measure(points: int, processes: int = 1) -> float:
    """Points per second of one learner in each process, without the start of Python and the imports."""
    command = [sys.executable, "-m", "benchmarks.bare", str(points)]
    with contextlib.ExitStack() as stack:
        running = []
        for _ in range(processes):
            process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            running.append(stack.enter_context(process))
            stack.callback(process.kill)
        for process in running:
            _hear(process, "ready")
        began = time.perf_counter()
        for process in running:
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
        for process in running:
            _hear(process, "done")
        return processes * points / (time.perf_counter() - began)


def _hear(process: subprocess.Popen[str], word: str) -> None:
    assert process.stdout is not None
    heard = process.stdout.readline().strip()
    if heard != word:
        raise RuntimeError(f"a bare process ended with {process.wait(10)} before it was {word}")


def _main(points: int) -> None:
    from adaptive.runner import simple

    from benchmarks.functions import learners

    (learner,) = learners(1)
    print("ready", flush=True)
    sys.stdin.readline()
    simple(learner, npoints_goal=points)
    print("done", flush=True)


if __name__ == "__main__":
    _main(int(sys.argv[1]))

"""What the one process of a job that talks to Redis needs, while a no-op function floods it with points."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from benchmarks.functions import learners
from benchmarks.rounds import repeated
from benchmarks.stand import Stand
from benchmarks.table import Budget, Row

POINTS = 20_000


def measure(stand: Stand, rounds: int) -> list[Row]:
    """The agent's highest resident memory so far, after each of some runs."""
    pool = stand.pool("one", slots=1)

    def agent() -> float:
        stand.finish(stand.fabric.submit(learners(1), goal=POINTS, pool=pool))
        agents = stand.processes({}, "agent")
        return max(_peak_mb(Path(f"/proc/{process.pid}/status").read_text()) for process in agents)

    return [
        Row(
            what="agent, highest resident memory",
            unit="MB",
            fabric=repeated(rounds, agent),
            against="python -c pass",
            other=repeated(rounds, _bare_python),
            budget=Budget(45, at_least=False, worst=True),
        )
    ]


def _peak_mb(status: str) -> float:
    """The highest resident memory that a `/proc/<pid>/status` tells."""
    (line,) = (line for line in status.splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024 / 1e6


def _bare_python() -> float:
    command = [sys.executable, "-c", "print(open('/proc/self/status').read())"]
    return _peak_mb(subprocess.run(command, check=True, capture_output=True, text=True, timeout=30).stdout)

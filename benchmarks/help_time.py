"""How long the command line takes to say what it can do."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.rounds import paired
from benchmarks.stand import Stand
from benchmarks.table import Budget, Row


def measure(stand: Stand, rounds: int) -> list[Row]:
    """`fabric --help` beside a Python that starts and does nothing."""
    fabric = Path(sys.executable).with_name("fabric")
    result = paired(
        4 * rounds, lambda: _took([str(fabric), "--help"]), lambda: _took([sys.executable, "-c", "pass"])
    )
    return [
        Row(
            what="fabric --help",
            unit="ms",
            fabric=result.ours,
            against="python -c pass",
            other=result.theirs,
            budget=Budget(150, at_least=False),
        )
    ]


def _took(command: Sequence[str]) -> float:
    """Milliseconds."""
    began = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, timeout=30)
    return (time.perf_counter() - began) * 1e3

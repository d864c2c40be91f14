"""`fabric-tui` at 10,000 and 50,000 learners: first paint, a tick with 1,000 changes, key echo, memory, idle CPU."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

from benchmarks.rounds import Spread, talk
from benchmarks.stand import Stand
from benchmarks.table import Budget, Row

LEARNERS = 10_000
MANY = 50_000
TIMEOUT = 300.0  # s


def measure(stand: Stand, rounds: int) -> list[Row]:
    """Each round is an app without a terminal in a process of its own, on a fabric of its own in the stand's Redis."""
    small = [_run(stand, LEARNERS) for _ in range(max(2, rounds // 2))]
    large = [_run(stand, MANY)]
    n = f"TUI, {LEARNERS:,} learners"
    return [
        _row(f"{n}: first paint", "ms", [each["first_paint_ms"] for each in small], 500),
        _row(f"{n}: tick with 1,000 changes, UI thread", "ms", [each["tick_ms"] for each in small], 50),
        _row(f"{n}: key echo p95 during ticks", "ms", [each["key_p95_ms"] for each in small], 100),
        _row(f"{n}: resident", "MB", [each["rss_mb"] for each in small], 150),
        _row(f"{n}: CPU when nothing changes", "%", [each["idle_cpu"] for each in small], 1),
        _row(
            f"TUI, {MANY:,} learners: key echo p95 during ticks",
            "ms",
            [each["key_p95_ms"] for each in large],
            250,
        ),
    ]


def _row(what: str, unit: str, values: Sequence[float], bound: float) -> Row:
    return Row(what=what, unit=unit, fabric=Spread.of(values), budget=Budget(bound, at_least=False))


def _run(stand: Stand, learners: int) -> dict[str, Any]:
    talk(f"  {learners:,} learners")
    told = subprocess.run(
        [sys.executable, "-m", "benchmarks.tui_app", str(learners)],
        check=True,
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        env=os.environ | {"FABRIC_BENCH_URL": stand.redis_url},
    )
    found: dict[str, Any] = json.loads(told.stdout.splitlines()[-1])
    return found

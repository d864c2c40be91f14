"""`fabric-tui` at 10,000 and 50,000 learners: first paint, a tick with 1,000 changes, key echo, memory, idle CPU."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence

from benchmarks.rounds import Spread, talk
from benchmarks.stand import Stand
from benchmarks.table import Budget, Row
from benchmarks.tui_app import name_of
from benchmarks.tui_terminal import look

LEARNERS = 10_000
MANY = 50_000
TIMEOUT = 300.0  # s


def measure(stand: Stand, rounds: int) -> list[Row]:
    """Each round: the app in a terminal of its own, then one without a terminal that is changed under its eyes."""
    small = [_run(stand, LEARNERS) for _ in range(max(2, rounds // 2))]
    large = [_run(stand, MANY)]
    n, m = f"TUI, {LEARNERS:,} learners", f"TUI, {MANY:,} learners"
    return [
        _row(f"{n}: first paint", "ms", small, "first_paint_ms", 500),
        _row(f"{n}: CPU of that", "ms", small, "first_cpu_ms"),
        _row(f"{n}: from the command to the first paint", "ms", small, "start_ms"),
        _row(f"{n}: tick with 1,000 changes, UI thread", "ms", small, "tick_ms", 50),
        _row(f"{n}: key echo p95 during ticks", "ms", small, "key_p95_ms", 100),
        _row(f"{n}: CPU per key", "ms", small, "key_cpu_ms"),
        _row(f"{n}: resident", "MB", small, "rss_mb", 150),
        _row(f"{n}: CPU when nothing changes", "%", small, "idle_cpu", 1),
        _row(f"{m}: first paint", "ms", large, "first_paint_ms"),
        _row(f"{m}: tick with 1,000 changes, UI thread", "ms", large, "tick_ms"),
        _row(f"{m}: key echo p95 during ticks", "ms", large, "key_p95_ms", 250),
        _row(f"{m}: resident", "MB", large, "rss_mb"),
        _row(f"{m}: CPU when nothing changes", "%", large, "idle_cpu"),
    ]


def _row(
    what: str, unit: str, found: Sequence[dict[str, float]], figure: str, bound: float | None = None
) -> Row:
    budget = None if bound is None else Budget(bound, at_least=False)
    return Row(what=what, unit=unit, fabric=Spread.of(each[figure] for each in found), budget=budget)


def _run(stand: Stand, learners: int) -> dict[str, float]:
    talk(f"  {learners:,} learners")
    _app(stand, str(learners), "fill")
    environment = {
        "FABRIC_HOME": str(stand.home),
        "FABRIC_URL": stand.redis_url,
        "FABRIC_NAME": name_of(learners),
        # Users' packages are compiled when they are installed; a checkout's may not be.
        "PYTHONDONTWRITEBYTECODE": "",
        "PYTHONPYCACHEPREFIX": str(stand.home / "compiled"),
    }
    warm = [sys.executable, "-c", "import fabric_tui.app, fabric_tui.live, fabric_tui.recording"]
    subprocess.run(warm, check=True, timeout=TIMEOUT, env=os.environ | environment)
    seen = look(environment, learners)
    told: dict[str, float] = json.loads(_app(stand, str(learners)).splitlines()[-1])
    return {**seen, **told}


def _app(stand: Stand, *words: str) -> str:
    return subprocess.run(
        [sys.executable, "-m", "benchmarks.tui_app", *words],
        check=True,
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        env=os.environ | {"FABRIC_BENCH_URL": stand.redis_url},
    ).stdout

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
from benchmarks.unit import UNIT_MS

LEARNERS = 10_000
MANY = 50_000
TIMEOUT = 300.0  # s


def measure(stand: Stand, rounds: int) -> list[Row]:
    """Each round: the app in a terminal of its own, then one without a terminal that is changed under its eyes."""
    small = [_run(stand, LEARNERS) for _ in range(max(2, rounds // 2))]
    large = [_run(stand, MANY)]
    n, m = f"TUI, {LEARNERS:,} learners", f"TUI, {MANY:,} learners"
    return [
        _row(f"{n}: first paint", "ms", small, "first_paint", 500),
        _row(f"{n}: CPU of that", "ms", small, "first_cpu"),
        _row(f"{n}: all of them read", "ms", small, "whole"),
        _row(f"{n}: from the command to the first paint", "ms", small, "start"),
        _row(f"{n}: tick with 1,000 changes, UI thread", "ms", small, "tick", 50, cpu=True),
        _row(f"{n}: key echo p95 during ticks", "ms", small, "key_p95", 100),
        _row(f"{n}: CPU per key", "ms", small, "key_cpu"),
        _row(f"{n}: resident", "MB", small, "rss", 150),
        _row(f"{n}: CPU when nothing changes", "ms/s", small, "idle", 10, cpu=True),
        _row(f"{m}: first paint", "ms", large, "first_paint", 1000),
        _row(f"{m}: all of them read", "ms", large, "whole"),
        _row(f"{m}: tick with 1,000 changes, UI thread", "ms", large, "tick", 100, cpu=True),
        _row(f"{m}: key echo p95 during ticks", "ms", large, "key_p95", 250),
        _row(f"{m}: resident", "MB", large, "rss", 250),
        _row(f"{m}: CPU when nothing changes", "ms/s", large, "idle"),
    ]


def _row(
    what: str,
    unit: str,
    found: Sequence[dict[str, float]],
    figure: str,
    bound: float | None = None,
    *,
    cpu: bool = False,
) -> Row:
    """A figure; where there is a bound in milliseconds, it is judged by the fixed work load."""
    own = Spread.of(each[f"{figure}_{unit.partition('/')[0].lower()}"] for each in found)
    if bound is None or unit == "MB":
        return Row(what, unit, own, None if bound is None else Budget(bound, at_least=False))
    return Row(
        what,
        unit,
        own,
        Budget(bound / UNIT_MS, at_least=False),
        against=f"{bound} {unit} where this takes {UNIT_MS} ms{' of CPU' if cpu else ''}",
        other=Spread.of(each["unit_cpu_ms" if cpu else "unit_ms"] for each in found),
        ratio=Spread.of(each[f"{figure}_units"] for each in found),
    )


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

"""`fabric-tui` in a terminal of its own: what a user waits for, and what it costs while nothing happens."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import statistics
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Mapping

import psutil

from benchmarks.unit import unit

ROWS, COLUMNS = 40, 140
TIMEOUT = 60.0  # s
SETTLE = 30.0
"""Seconds until all names and events are read and it takes its time between two looks."""
IDLE = 20.0  # s
_STYLING = re.compile(rb"\x1b\[[0-9;:?]*[A-Za-z]")


def look(environment: Mapping[str, str], learners: int) -> dict[str, float]:
    """From the command to the first frame that counts all learners; then, on screen 2, idle CPU and memory."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
    began = time.perf_counter()
    app = subprocess.Popen(
        [sys.executable, "-m", "fabric_tui"],
        stdin=slave,
        stdout=slave,
        stderr=slave,
        start_new_session=True,
        env={**os.environ, **environment, "TERM": "xterm-256color"},
    )
    os.close(slave)
    try:
        process = psutil.Process(app.pid)
        _read(master, TIMEOUT, f"queued {learners:,}")
        first_paint = time.perf_counter() - began
        spent = process.cpu_times()
        os.write(master, b"2")
        _read(master, TIMEOUT, f"{learners:,} learners")
        _read(master, SETTLE)
        before, at = process.cpu_times(), time.perf_counter()
        _read(master, IDLE)
        after = process.cpu_times()
        idle = (after.user + after.system - before.user - before.system) / (time.perf_counter() - at)
        beside = statistics.median(unit().cpu for _ in range(5))
        resident = process.memory_info().rss
        os.write(master, b"q")
        _read(master, TIMEOUT, ends=True)
        app.wait(TIMEOUT)
    finally:
        if app.poll() is None:
            app.kill()
            app.wait(TIMEOUT)
        os.close(master)
    return {
        "start_ms": first_paint * 1e3,
        "start_cpu_ms": (spent.user + spent.system) * 1e3,
        "idle_ms": idle * 1e3,
        "idle_units": idle / beside,
        "rss_mb": resident / 1e6,
    }


def _read(master: int, seconds: float, text: str | None = None, *, ends: bool = False) -> None:
    """Take what is written for so long, or until this text; TimeoutError without it."""
    seen, wanted = b"", text.encode() if text else None
    deadline = time.monotonic() + seconds
    while (left := deadline - time.monotonic()) > 0:
        if not select.select([master], [], [], left)[0]:
            continue
        try:
            came = os.read(master, 1 << 16)
        except OSError:  # the other end was closed
            came = b""
        if not came:
            if ends:
                return
            raise RuntimeError(f"fabric-tui ended: {seen.decode(errors='replace')[-2000:]}")
        seen = (seen + came)[-(1 << 17) :]
        if wanted is not None and wanted in _STYLING.sub(b"", seen):
            return
    if wanted is not None or ends:
        raise TimeoutError(f"{text or 'its end'}: not within {seconds} s")

"""Ending the processes on this node that carry a mark in their environment."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Final

_INTERVAL: Final = 0.05


async def sweep(mark: str, patience: float) -> bool:
    """Kill all processes whose environment holds ``NAME=value``, until there are none; False after `patience` s.

    Those that are stuck in the kernel stay behind; they have no lease any more.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + patience
    while True:
        found = list(marked(mark))
        for pid in found:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        if not found or loop.time() >= deadline:
            return not found
        await asyncio.sleep(_INTERVAL)


def marked(mark: str) -> Iterator[int]:
    """The living processes of this user whose environment held ``NAME=value`` when they were started."""
    wanted = mark.encode()
    uid = os.getuid()
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if folder.stat().st_uid == uid and wanted in (folder / "environ").read_bytes().split(b"\0"):
                yield int(folder.name)
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue  # it ended while we looked, or hides from us: then it is none of ours

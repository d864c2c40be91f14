"""What a slot and all processes below it (its workers) use of the machine, as /proc tells it."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

_TICKS: Final = os.sysconf("SC_CLK_TCK")
_PAGE: Final = os.sysconf("SC_PAGESIZE")
_UTIME, _CSTIME, _RSS = 11, 14, 21
"""Fields of /proc/<pid>/stat, counted after the name."""


class Usage:
    """CPU and memory of this process and its descendants.

    Parameters
    ----------
    proc
        Where the kernel tells of processes.
    """

    def __init__(self, proc: Path = Path("/proc")) -> None:
        self._proc = proc
        self._last = time.monotonic(), self._look()[0]

    def since_last(self) -> tuple[float, int]:
        """CPU in percent of one core since the last call, and bytes resident now.

        Memory that processes share (what they were forked with) counts in each of them.
        """
        now, (spent, resident) = time.monotonic(), self._look()
        before, spent_before = self._last
        self._last = now, spent
        return 100.0 * max(0.0, spent - spent_before) / max(now - before, 1e-6), resident

    def _look(self) -> tuple[float, int]:
        ticks = pages = 0
        for fields in self._family(os.getpid()):
            # The last two are those of children that ended.
            ticks += sum(map(int, fields[_UTIME : _CSTIME + 1]))
            pages += int(fields[_RSS])
        return ticks / _TICKS, pages * _PAGE

    def _family(self, pid: int) -> Iterator[list[str]]:
        """The fields of a process and of all below it; those that end meanwhile are left out."""
        try:
            yield (self._proc / str(pid) / "stat").read_text().rpartition(")")[2].split()
            children = [
                child
                for task in (self._proc / str(pid) / "task").iterdir()
                for child in (task / "children").read_text().split()
            ]
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            return
        for child in children:
            yield from self._family(int(child))

"""Ending the programs that a slot's own executor left, or its mpiexec, by the mark in their environment."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator, Set
from pathlib import Path
from typing import Final

SLOT: Final = "FABRIC_SLOT"
"""Environment variable: pid of the slot below which a program runs."""
_JOB: Final = "FABRIC_JOB_TAG"
_ROUNDS: Final = 5


def sweep(slot: int, *, spare: int | None = None) -> None:
    """Kill all programs of a slot on this node, but for the one to spare, and what they start meanwhile."""
    for _ in range(_ROUNDS):
        found = [pid for pid in programs(slot) if pid != spare]
        for pid in found:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        if not found:
            return


def programs(slot: int) -> Iterator[int]:
    """The processes of this user that were started as programs below a slot of our job."""
    marks = {f"{SLOT}={slot}"}
    if _JOB in os.environ:
        marks.add(f"{_JOB}={os.environ[_JOB]}")
    return marked(marks)


def marked(marks: Set[str]) -> Iterator[int]:
    """The processes of this user that were started with all these ``NAME=value`` in their environment."""
    wanted = {os.fsencode(mark) for mark in marks}
    uid = os.getuid()
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if folder.stat().st_uid == uid and wanted <= set((folder / "environ").read_bytes().split(b"\0")):
                yield int(folder.name)
        except OSError:  # it ended while we looked, or hides from us: then it is none of ours
            continue

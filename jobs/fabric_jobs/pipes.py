"""The agent's ends of a slot's pipes, on asyncio's loop: nothing here ever blocks."""

from __future__ import annotations

import asyncio
import fcntl
import os
from collections.abc import Callable
from typing import Final

WRITE_BYTES: Final = 1 << 18
DRAIN_INTERVAL: Final = 0.05
"""Seconds between two reads of a pipe that always has something, at most."""
_HASTE: Final = 8
"""A pipe is left alone for an eighth of the time since something happened: what lasts long is read seldom, and
what is over soon is seen soon."""
_GLANCE: Final = 0.001
"""But not more often than this (s): each look costs the slot a part of its core on a full machine."""


class Reading:
    """Reads a pipe whenever it has something, but not too often.

    Parameters
    ----------
    fd
        Made non-blocking; closed by `close`.
    take
        Gets what was read; answers whether it was an event, after which to look again at once.
    may_read
        Asked before each read; while it says no, the pipe fills up and its writer waits.
    """

    def __init__(self, fd: int, take: Callable[[bytes], bool], may_read: Callable[[], bool]) -> None:
        os.set_blocking(fd, False)
        self._fd = fd
        self._capacity = fcntl.fcntl(fd, fcntl.F_GETPIPE_SZ)
        self._take = take
        self._may_read = may_read
        self._loop = asyncio.get_running_loop()
        self._since = self._loop.time()
        self._timer: asyncio.TimerHandle | None = None
        self._closed = False
        self._arm()

    def hasten(self) -> None:
        """Something begins: look soon."""
        self._since = self._loop.time()
        if self._timer is not None:
            self._timer.cancel()
            self._arm()

    def look(self) -> None:
        """Read now what is there."""
        if not self._closed and (data := self._read()):
            self._take(data)

    def finish(self) -> None:
        """Read what is there, to the end, and close. What a dead process wrote is all in the pipe."""
        while not self._closed and (data := self._read()):
            self._take(data)
        self.close()

    def close(self) -> None:
        """Stop reading and close the descriptor."""
        if self._closed:
            return
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        self._loop.remove_reader(self._fd)
        os.close(self._fd)

    def _arm(self) -> None:
        self._timer = None
        if self._may_read():
            self._loop.add_reader(self._fd, self._readable)
        else:
            self._timer = self._loop.call_later(DRAIN_INTERVAL, self._arm)

    def _readable(self) -> None:
        data = self._read()
        if not data:
            if data is not None:  # nobody can write any more; that the process ended is told elsewhere
                self._loop.remove_reader(self._fd)
            return
        now = self._loop.time()
        event = self._take(data)
        if self._closed:
            return
        if event:
            self._since = now
        wait = min(DRAIN_INTERVAL, max(_GLANCE, (now - self._since) / _HASTE))
        if event or len(data) * 2 > self._capacity:  # a crowded pipe's writer may be waiting already
            wait = 0.0
        if wait or not self._may_read():
            self._loop.remove_reader(self._fd)
            self._timer = self._loop.call_later(wait, self._arm)

    def _read(self) -> bytes | None:
        """What is there; None: nothing now; empty: nothing ever again."""
        try:
            return os.read(self._fd, self._capacity)
        except BlockingIOError:
            return None


class Writing:
    """Writes frames to a pipe in order, as it takes them; `close` drops what was not taken."""

    def __init__(self, fd: int) -> None:
        os.set_blocking(fd, False)
        self._fd = fd
        self._loop = asyncio.get_running_loop()
        self._waiting = bytearray()
        self._closed = False

    def write(self, data: bytes) -> None:
        """Write, now or as soon as the pipe takes it."""
        if self._closed:
            return
        idle = not self._waiting
        self._waiting += data
        if idle:
            self._push()
            if self._waiting and not self._closed:
                self._loop.add_writer(self._fd, self._push)

    def close(self) -> None:
        """Close the descriptor; the reader sees the end."""
        if self._closed:
            return
        self._closed = True
        self._loop.remove_writer(self._fd)
        os.close(self._fd)

    def _push(self) -> None:
        try:
            while self._waiting:
                del self._waiting[: os.write(self._fd, self._waiting[:WRITE_BYTES])]
        except BlockingIOError:
            return
        except BrokenPipeError:  # the process is gone; that is told elsewhere
            self._waiting.clear()
        self._loop.remove_writer(self._fd)

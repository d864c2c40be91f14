"""The slot's end of the pipe on which its agent speaks."""

from __future__ import annotations

import os
import select
from collections import deque

from .channel import AgentGone, Decoder, Frame

_READ_BYTES = 1 << 18


class Inbox:
    """Frames from the agent: waited for between leases, glanced at during one."""

    def __init__(self, fd: int) -> None:
        os.set_blocking(fd, True)
        self._fd = fd
        self._decoder = Decoder()
        self._frames: deque[Frame] = deque()
        self._poll = select.poll()
        self._poll.register(fd, select.POLLIN)

    def wait(self) -> Frame:
        """The next frame. Waits as long as the agent lives; raises AgentGone when it does not."""
        while not self._frames:
            self._read()
        return self._frames.popleft()

    def glance(self) -> Frame | None:
        """The next frame if it is here; raises AgentGone when no agent is there any more."""
        while not self._frames and self._poll.poll(0):
            self._read()
        return self._frames.popleft() if self._frames else None

    def _read(self) -> None:
        data = os.read(self._fd, _READ_BYTES)
        if not data:
            raise AgentGone
        self._frames.extend(self._decoder.feed(data))

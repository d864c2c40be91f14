"""What slots print and the agent says: into the job's log file, into the capped log stream, and as last words.

Pure, but for the file descriptor of the log file that `JobLog` is given.
"""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable
from typing import Final

LINE_BYTES: Final = 4096
"""A longer line is cut into several."""
STREAM_CHARS: Final = 500
"""So much of a line goes into the stream."""
STREAM_RATE: Final = 20.0
"""Lines per second that may go into the stream for long; the log file gets all."""
STREAM_BURST: Final = 200.0
"""Lines that may go into the stream at once."""
LAST_WORDS: Final = 40
"""Lines of a slot that are kept for the error record of its death: a crash's traceback and what came before it."""


class Lines:
    """Cuts what a slot prints into lines, whatever pieces it comes in, and remembers the last ones."""

    def __init__(self) -> None:
        self._rest = b""
        self._last: deque[str] = deque(maxlen=LAST_WORDS)

    def feed(self, data: bytes) -> list[str]:
        """The lines that `data` completes."""
        *whole, self._rest = (self._rest + data).split(b"\n")
        while len(self._rest) >= LINE_BYTES:
            whole.append(self._rest[:LINE_BYTES])
            self._rest = self._rest[LINE_BYTES:]
        return self._keep(whole)

    def finish(self) -> list[str]:
        """The line without an end, when nothing comes any more."""
        rest, self._rest = self._rest, b""
        return self._keep([rest] if rest else [])

    @property
    def last_words(self) -> list[str]:
        """The last lines, oldest first."""
        return list(self._last)

    def _keep(self, lines: list[bytes]) -> list[str]:
        found = [line.rstrip(b"\r").decode(errors="replace") for line in lines]
        self._last.extend(line[:STREAM_CHARS] for line in found)
        return found


class JobLog:
    """The job's log: a file descriptor for all lines, and a list from which some go into the log stream.

    Parameters
    ----------
    descriptor
        Standard output, which the keeper has put into the log file.
    stream
        Takes (learner or None, text) for the stream in Redis.
    clock
        Monotonic seconds.
    """

    def __init__(
        self,
        descriptor: int,
        stream: Callable[[str | None, str], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._descriptor = descriptor
        self._stream = stream
        self._clock = clock
        self._credit = STREAM_BURST
        self._credit_at = clock()
        self._withheld = 0

    def say(self, text: str, learner: str | None = None) -> None:
        """A line of the agent's own."""
        self._write([f"agent: {learner}: {text}" if learner else f"agent: {text}"])
        self._stream(learner, text[:STREAM_CHARS])

    def printed(self, slot: int, learner: str | None, lines: list[str]) -> None:
        """Lines that a slot printed, while it worked on `learner`."""
        self._write([f"slot {slot}: {learner or '-'}: {line}" for line in lines])
        now = self._clock()
        self._credit = min(STREAM_BURST, self._credit + (now - self._credit_at) * STREAM_RATE)
        self._credit_at = now
        for line in lines:
            if self._credit < 1:
                self._withheld += 1
                continue
            self._credit -= 1
            if self._withheld:
                self._stream(None, f"({self._withheld} lines are in the job's log file only)")
                self._withheld = 0
            self._stream(learner, line[:STREAM_CHARS])

    def _write(self, lines: list[str]) -> None:
        if not lines:
            return
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S")
        text = "".join(f"{stamp} {line}\n" for line in lines)
        try:
            os.write(self._descriptor, text.encode(errors="replace"))
        except OSError:
            return  # a full disk or a closed terminal must not stop the learners; the stream has the line

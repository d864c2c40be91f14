"""Programs that a slot starts: their last words are kept, their deaths are told, and none of them outlives the slot."""

from __future__ import annotations

import os
import selectors
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Final

from .workers import NoWorkersError, describe_exit

LINES_KEPT: Final = 12
_LINE_CHARS: Final = 300
_LOOK_S: Final = 0.2
_TERM_S: Final = 5.0
_KILL_S: Final = 5.0
_DEATH_S: Final = 0.5


class Children:
    """Programs below this process; made, started and closed in its main thread, to which their lives are bound.

    What they write to standard error is passed on, line by line.

    Parameters
    ----------
    on_death
        Called from a thread of ours with how the first one ended, unless `close` ended it.
    gently
        End them by the end of their standard input, then by SIGTERM, and kill them only when neither does: for those
        that have processes of their own on other nodes.
    """

    def __init__(self, on_death: Callable[[str], None], *, gently: bool = False) -> None:
        self._on_death = on_death
        self._gently = gently
        self._processes: list[subprocess.Popen[bytes]] = []
        self._lines: deque[str] = deque(maxlen=LINES_KEPT)
        self._at_end: set[Any] = set()
        self._closing = threading.Event()
        self._selector = selectors.DefaultSelector()
        self._reader: threading.Thread | None = None

    def start(self, commands: Sequence[Sequence[str]]) -> None:
        """Start programs; OSError when one cannot be."""
        for command in commands:
            process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE if self._gently else subprocess.DEVNULL,
                stderr=subprocess.PIPE,
            )
            self._processes.append(process)
            assert process.stderr is not None
            os.set_blocking(process.stderr.fileno(), False)
            self._selector.register(process.stderr, selectors.EVENT_READ)
        if self._reader is None:
            self._reader = threading.Thread(target=self._read, name="fabric: last words", daemon=True)
            self._reader.start()

    @property
    def pids(self) -> list[int]:
        """Their process ids."""
        return [process.pid for process in self._processes]

    @property
    def dead(self) -> str | None:
        """How one of them ended, None while all live."""
        for process in self._processes:
            code = process.poll()
            if code is not None:
                return describe_exit(code)
        return None

    def wait_for(self, came: Callable[[], int], count: int, what: str, within: float) -> None:
        """Wait until `came` answers `count`.

        Raises
        ------
        NoWorkersError
            A program ended, or they did not all come within so many seconds; says how many did, and the last lines.
        """
        deadline = time.monotonic() + within
        pause = 0.005
        while (here := came()) < count:
            died = self.dead
            late = time.monotonic() >= deadline
            if died is not None or late:
                how = f"within {within:g} s" if died is None else f"before one of them ended ({died})"
                raise NoWorkersError(f"{here} of {count} {what} came {how}{self._quoted()}")
            time.sleep(pause)
            pause = min(0.1, pause * 1.5)

    def deaths(self) -> str:
        """What they died of, as far as that is known."""
        deadline = time.monotonic() + _DEATH_S
        while (died := self.dead) is None and time.monotonic() < deadline:
            time.sleep(0.005)
        if died and self._gently and self._lines:
            died += f" ({self._lines[-1]})"  # such as srun's "error: n2: task 3: Killed"
        return died or ""

    def close(self) -> None:
        """End them all."""
        self._closing.set()
        if self._gently:
            for process in self._processes:
                if process.stdin is not None:
                    process.stdin.close()
            self._wait(_TERM_S)
            self._send(signal.SIGTERM)
            self._wait(_TERM_S)
        self._send(signal.SIGKILL)
        self._wait(_KILL_S)
        if self._reader is not None:
            self._reader.join(_KILL_S)
            self._reader = None
            for process in self._processes:
                if process.stderr is not None:
                    process.stderr.close()
            self._selector.close()

    def _send(self, number: signal.Signals) -> None:
        for process in self._processes:
            process.send_signal(number)  # does nothing to one that was reaped

    def _wait(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        for process in self._processes:
            try:
                process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                return

    def _quoted(self) -> str:
        deadline = time.monotonic() + _DEATH_S
        dead = [process.stderr for process in self._processes if process.poll() is not None]
        while not self._at_end.issuperset(dead) and time.monotonic() < deadline:
            time.sleep(0.005)  # the thread may be about to read them
        return "".join(f"\n  {line}" for line in self._lines) or "; they wrote nothing to standard error"

    def _read(self) -> None:
        told = False
        rests: dict[Any, bytes] = {}
        while not self._closing.is_set():
            for key, _ in self._selector.select(_LOOK_S):
                self._pass_on(key.fileobj, rests)
            if not told and not self._closing.is_set() and (died := self.dead) is not None:
                told = True
                self._on_death(died)

    def _pass_on(self, stream: Any, rests: dict[Any, bytes]) -> None:
        data = stream.read(65536)
        if data is None:
            return
        over = not data
        if over:
            self._selector.unregister(stream)
            data = b"\n" if rests.get(stream) else b""
        *lines, rests[stream] = (rests.get(stream, b"") + data).split(b"\n")
        for line in lines:
            text = line.decode(errors="replace")
            self._lines.append(text[:_LINE_CHARS])
            sys.stderr.write(text + "\n")
        if over:
            self._at_end.add(stream)

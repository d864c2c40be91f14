"""A forked copy of this process that does one thing with the data as they are now, while this one goes on."""

from __future__ import annotations

import json
import os
import select
import signal
import sys
import time
import traceback
import warnings
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final, NoReturn

from .deathsig import die_with_parent

PATIENCE_S: Final = 600.0
"""A child that takes longer is killed: another thread's lock may have been held while it was forked."""


class Child:
    """Used like a thread; start it from the main thread, whose end ends the child too.

    Parameters
    ----------
    act
        Runs in the child; what it answers travels as JSON, and must be shorter than a pipe's 64 kB.
    take
        Is given that answer, or None when the child died without one.
    """

    def __init__(
        self, act: Callable[[], dict[str, Any]], take: Callable[[dict[str, Any] | None], None]
    ) -> None:
        self._act = act
        self._take = take
        self._pid = self._answer = -1
        self._give_up_at = 0.0

    def start(self) -> None:
        """Fork; OSError when that is not possible."""
        parent = os.getpid()
        self._answer, told = os.pipe()
        try:
            with warnings.catch_warnings():
                warnings.simplefilter(
                    "ignore", DeprecationWarning
                )  # of forking beside threads: hence PATIENCE_S
                self._pid = os.fork()
        except OSError:
            os.close(self._answer)
            os.close(told)
            raise
        if self._pid == 0:
            self._be_child(parent, told)
        os.close(told)
        self._give_up_at = time.monotonic() + PATIENCE_S

    def is_alive(self) -> bool:
        """Whether it has not answered yet."""
        return self._pid > 0 and not self._ended(0.0)

    def join(self) -> None:
        """Wait for the answer."""
        while self._pid > 0:
            self._ended(PATIENCE_S)

    def kill(self) -> None:
        """End it, if it has not answered."""
        if self._pid > 0:
            with suppress(ProcessLookupError):
                os.kill(self._pid, signal.SIGKILL)

    def _be_child(self, parent: int, told: int) -> NoReturn:
        code = 1
        try:
            die_with_parent(parent)
            os.write(told, json.dumps(self._act()).encode())
            code = 0
        except BaseException:  # noqa: BLE001 - nothing may go on as a second slot
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(code)

    def _ended(self, wait_s: float) -> bool:
        left = self._give_up_at - time.monotonic()
        poll = select.poll()
        poll.register(self._answer, select.POLLIN)
        if not poll.poll(max(0.0, min(wait_s, left)) * 1000):
            if left > 0:
                return False
            self.kill()
        answer = os.read(self._answer, 1 << 16)
        os.close(self._answer)
        with suppress(ChildProcessError):  # user code waited for any child
            os.waitpid(self._pid, 0)
        self._pid = -1
        self._take(json.loads(answer) if answer else None)
        return True

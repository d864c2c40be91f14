"""The agent's side of the fork server: start it, have it fork and kill slots, hear how they end.

Light: the agent imports this, and all waiting is asyncio's.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from .channel import open_pipe

MESSAGE_BYTES: Final = 4096
"""A request or an event is not longer."""
PIPES: Final = 3
"""File descriptors that come with a fork: up, down, output."""
_THREADS: Final = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "BLIS_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
)


class ForkServerError(Exception):
    """The fork server ended, or refused to fork; its message says why."""


@dataclass(frozen=True, slots=True)
class Forked:
    """A slot process and the agent's ends of its three pipes; whoever gets this closes them."""

    serial: int
    pid: int
    up: int
    """read: frames from the slot"""
    down: int
    """write: frames to the slot"""
    out: int
    """read: what the slot prints"""


@dataclass(frozen=True, slots=True)
class Ended:
    """A slot process ended, and all that it wrote is in its pipes."""

    serial: int
    pid: int
    status: int
    """as `os.waitpid` told it"""
    starter: str = ""
    """the program whose status that is, if it is not the slot's own: mpiexec"""

    @property
    def how(self) -> str:
        """What happened, as goes after "the slot": "was killed by SIGSEGV"."""
        how = f"was killed by {self.signal}" if self.signal else f"exited with code {self.code}"
        return f"ended: its {self.starter} {how}" if self.starter else how

    @property
    def signal(self) -> str | None:
        """The name of the signal that killed it, or None."""
        if not os.WIFSIGNALED(self.status):
            return None
        number = os.WTERMSIG(self.status)
        try:
            return signal.Signals(number).name
        except ValueError:
            return f"signal {number}"

    @property
    def code(self) -> int | None:
        """Its exit code, or None if a signal killed it."""
        return os.WEXITSTATUS(self.status) if os.WIFEXITED(self.status) else None


def thread_limits(num_threads: int) -> dict[str, str]:
    """The environment that limits numerical libraries to so many threads; they read it when they are imported."""
    return dict.fromkeys(_THREADS, str(num_threads))


class Forks:
    """A fork server, seen from the agent; make one with `start`.

    When the server ends without being asked to (`close`), all its slots end with it and `on_gone` is called.
    """

    def __init__(
        self,
        process: subprocess.Popen[bytes],
        control: socket.socket,
        on_end: Callable[[Ended], None],
        on_gone: Callable[[], None],
    ) -> None:
        self._process = process
        self._control = control
        self._on_end = on_end
        self._on_gone = on_gone
        self._awaited: dict[int, asyncio.Future[int]] = {}
        self._loop = asyncio.get_running_loop()
        self._gone = False
        self._loop.add_reader(control, self._readable)

    @classmethod
    def start(
        cls,
        *,
        home: Path,
        fabric: str,
        node: str,
        env: Mapping[str, str],
        num_threads: int,
        on_end: Callable[[Ended], None],
        on_gone: Callable[[], None],
    ) -> Forks:
        """Start a fork server; it imports what slots need while the caller goes on.

        Call it from the main thread, which must live as long as the server is to: the kernel ends the server when
        the thread that started it ends.

        Parameters
        ----------
        env
            The slots' environment; what it says about threads of libraries wins over `num_threads`.
        on_end
            Called for each slot that ends, in the event loop.
        on_gone
            Called once when the server ended by itself.
        """
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.setblocking(False)
        with theirs:
            command = [sys.executable, "-P", "-m", "fabric_jobs.forkserver"]
            command += ["--control-fd", str(theirs.fileno()), "--parent", str(os.getpid())]
            command += ["--home", str(home), "--fabric", fabric, "--node", node]
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                env={**thread_limits(num_threads), **env},
            )
        return cls(process, ours, on_end, on_gone)

    @property
    def pid(self) -> int:
        """The server's process id."""
        return self._process.pid

    async def fork(self, serial: int, *, timeout: float = 120.0) -> Forked:
        """Have a slot process forked.

        Parameters
        ----------
        serial
            What to call it; unique.
        timeout
            Seconds; the first fork waits for the server's imports, which a cold network file system can make long.

        Raises
        ------
        ForkServerError
            The server is gone or refused, or did not answer in time.
        """
        if self._gone:
            raise ForkServerError("the fork server has ended")
        (up, up_slot), (down_slot, down), (out, out_slot) = open_pipe(), open_pipe(), open_pipe(65536)
        answer: asyncio.Future[int] = self._loop.create_future()
        self._awaited[serial] = answer
        try:
            try:
                self._send({"do": "fork", "serial": serial}, up_slot, down_slot, out_slot)
            finally:
                for fd in (up_slot, down_slot, out_slot):
                    os.close(fd)
            pid = await asyncio.wait_for(answer, timeout)
        except BaseException as error:
            # A slot that is forked all the same sees its pipes closed, and exits.
            for fd in (up, down, out):
                os.close(fd)
            if isinstance(error, TimeoutError):
                raise ForkServerError(f"the fork server did not fork within {timeout:g} s") from error
            raise
        finally:
            del self._awaited[serial]
        return Forked(serial, pid, up, down, out)

    def kill(self, pid: int) -> None:
        """Kill a slot process; `on_end` tells when it is gone. Does nothing for one that ended already."""
        if not self._gone:
            self._send({"do": "kill", "pid": pid})

    async def close(self, *, timeout: float = 5.0) -> None:
        """End the server, and with it all slots; kill it after `timeout` s."""
        self._lose()
        deadline = self._loop.time() + timeout
        while self._process.poll() is None:
            if self._loop.time() >= deadline:
                self._process.kill()
                self._process.wait(timeout)
                return
            await asyncio.sleep(0.01)

    def _send(self, request: dict[str, Any], *fds: int) -> None:
        try:
            socket.send_fds(self._control, [json.dumps(request).encode()], fds)
        except OSError as error:
            raise ForkServerError(f"the fork server does not take requests: {error.strerror}") from error

    def _readable(self) -> None:
        try:
            message = self._control.recv(MESSAGE_BYTES)
        except BlockingIOError:
            return
        except ConnectionResetError:
            message = b""
        if not message:
            self._lose()
            self._process.poll()
            self._on_gone()
            return
        event = json.loads(message)
        answer = self._awaited.get(event["serial"])
        if event["event"] == "ended":
            self._on_end(Ended(event["serial"], event["pid"], event["status"]))
        elif answer is not None and not answer.done():
            if event["event"] == "forked":
                answer.set_result(event["pid"])
            else:
                answer.set_exception(ForkServerError(event["text"]))

    def _lose(self) -> None:
        if self._gone:
            return
        self._gone = True
        self._loop.remove_reader(self._control)
        self._control.close()
        for answer in self._awaited.values():
            if not answer.done():
                answer.set_exception(ForkServerError("the fork server has ended"))

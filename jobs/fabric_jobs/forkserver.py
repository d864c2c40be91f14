"""The fork server: a process that imports adaptive once and then forks slots, each in a few milliseconds.

``python -m fabric_jobs.forkserver`` is started by `forks`, the agent's side of this. Requests and events are JSON,
one datagram each, over a socket pair; a slot's pipes come with its request. It stays single-threaded, so that a fork
copies no lock that another thread holds.
"""

from __future__ import annotations

import argparse
import faulthandler
import gc
import json
import os
import select
import signal
import socket
import sys
import traceback
from pathlib import Path
from types import FrameType
from typing import Any, Final, NoReturn

from fabric_broker.home import Home
from fabric_broker.signing import Signer, load_key

from .deathsig import die_with_parent
from .evaluate import reseed
from .forks import MESSAGE_BYTES, PIPES
from .sweep import sweep

_QUIET: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
"""What a scheduler or a terminal sends to all processes of a job: the agent hears it too, and lets slots finish."""


class ForkServer:
    """Forks slots on request and tells of their ends."""

    def __init__(self, control: socket.socket, signer: Signer, node: str) -> None:
        self._control = control
        self._signer = signer
        self._node = node
        self._slots: dict[int, int] = {}
        """pid -> what the agent calls it"""

    def serve(self) -> None:
        """Until the agent closes its end."""
        awake, wake = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.signal(signal.SIGCHLD, _ignore)
        signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
        waiting = select.poll()
        waiting.register(awake, select.POLLIN)
        waiting.register(self._control, select.POLLIN)
        while True:
            ready = {fd for fd, _ in waiting.poll()}
            if awake in ready:
                os.read(awake, 4096)
                self._reap()
            if self._control.fileno() in ready:
                message, pipes, _, _ = socket.recv_fds(
                    self._control, MESSAGE_BYTES, PIPES, socket.MSG_CMSG_CLOEXEC
                )
                if not message:
                    return
                self._carry_out(json.loads(message), pipes)

    def _carry_out(self, request: dict[str, Any], pipes: list[int]) -> None:
        if request["do"] == "fork":
            self._fork(request["serial"], pipes)
        elif request["do"] == "kill" and request["pid"] in self._slots:
            # Only a child that was not reaped: its pid is nobody else's.
            os.kill(request["pid"], signal.SIGKILL)

    def _fork(self, serial: int, pipes: list[int]) -> None:
        parent = os.getpid()
        try:
            pid = os.fork()
        except OSError as error:
            self._tell({"event": "refused", "serial": serial, "text": f"cannot fork: {error.strerror}"})
            pid = -1
        if pid == 0:
            self._be_slot(parent, pipes)
        for fd in pipes:
            os.close(fd)
        if pid > 0:
            self._slots[pid] = serial
            self._tell({"event": "forked", "serial": serial, "pid": pid})

    def _be_slot(self, parent: int, pipes: list[int]) -> NoReturn:
        code = 70
        try:
            die_with_parent(parent)
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            self._control.close()
            reseed()
            from .slot import be_slot

            up, down, out = pipes
            code = be_slot(up, down, out, self._signer, self._node)
        except BaseException:  # noqa: BLE001 - nothing may return into the server's loop
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            # Not sys.exit(): what user code registered or left running must not hold up the next learner.
            os._exit(code)

    def _reap(self) -> None:
        while self._slots:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                return
            serial = self._slots.pop(pid, None)
            if serial is not None:
                sweep(pid)
                self._tell({"event": "ended", "serial": serial, "pid": pid, "status": status})

    def _tell(self, event: dict[str, Any]) -> None:
        self._control.send(json.dumps(event).encode())


def _ignore(number: int, frame: FrameType | None) -> None:
    """Unlike SIG_IGN, a handler is not inherited by the programs that user code starts."""


def main(argv: list[str] | None = None) -> int:
    """Be a fork server; answers the exit code."""
    parser = argparse.ArgumentParser(prog="python -m fabric_jobs.forkserver")
    parser.add_argument("--control-fd", type=int, required=True)
    parser.add_argument("--parent", type=int, required=True, help="pid of the agent")
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--fabric", required=True)
    parser.add_argument("--node", required=True)
    args = parser.parse_args(argv)
    die_with_parent(args.parent)
    for number in _QUIET:
        signal.signal(number, _ignore)
    faulthandler.enable()
    with socket.socket(fileno=args.control_fd) as control:
        control.set_inheritable(False)
        signer = Signer(load_key(Home(args.home).work_key), args.fabric)
        # What all slots need, imported once: this is what takes a second. Collecting meanwhile would find nothing.
        gc.disable()
        import adaptive  # noqa: F401

        from . import slot  # noqa: F401

        gc.collect()
        gc.freeze()  # collections in the slots leave these objects, and their memory stays shared
        gc.enable()
        try:
            ForkServer(control, signer, args.node).serve()
        except (BrokenPipeError, ConnectionResetError):
            return 0  # the agent is gone
    return 0


if __name__ == "__main__":
    sys.exit(main())

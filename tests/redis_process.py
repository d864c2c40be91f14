"""A real redis-server for tests: started, killed, frozen and restarted at will, and never left behind."""

from __future__ import annotations

import ctypes
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

from redis import Redis
from redis.exceptions import AuthenticationError
from redis.exceptions import ConnectionError as RedisConnectionError

from fabric_broker.connection import Server, connect
from fabric_broker.program import Program, find_program

_START = 20.0  # s until it must answer
_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None, use_errno=True)


class RedisProcess:
    """A server on a unix socket and a free loopback port, without a password, its data in a folder of its own."""

    def __init__(self, *options: str, program: Program | None = None, conf: Path | None = None) -> None:
        """Options (words of a command line) win over ours, and ours over those in the file `conf`."""
        self.program = program or find_program()
        self.conf = conf
        self.options: tuple[str, ...] = options
        # Not pytest's tmp_path: with the test's name in it, it gets too long for a socket.
        self.folder = Path(tempfile.mkdtemp(prefix="fabric-redis-"))
        self.socket = self.folder / "s"
        self.port = 0
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """The URL of its socket."""
        return f"unix://{self.socket}"

    @property
    def tcp_url(self) -> str:
        """The URL of its port."""
        return f"redis://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        assert self.process is not None, "it is not running"
        return self.process.pid

    def client(self, timeout: float = 5.0) -> Redis:
        """A client of its own; the caller closes it."""
        return connect(Server(self.url), timeout=timeout)

    def start(self) -> None:
        """Start it (again, with the data it had, on the port it had) and wait until it answers.

        In the main thread: the kernel ends it together with the thread that started it.
        """
        assert self.process is None, "it is running"
        for _ in range(5):
            self.port = self.port or _free_port()
            if self._try_to_start():
                return
            self.port = 0  # somebody took the port meanwhile
        said = [path.read_text() for path in (self.folder / "out", self.folder / "log") if path.exists()]
        raise AssertionError("redis-server does not start:\n" + "\n".join(said))

    def kill(self) -> None:
        """SIGKILL."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """SIGTERM: an orderly shutdown."""
        self._end(signal.SIGTERM)

    def restart(self) -> None:
        """Start it again after SIGKILL."""
        self.kill()
        self.start()

    def freeze(self) -> None:
        """SIGSTOP: connections stay, nothing answers."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """SIGCONT."""
        self._signal(signal.SIGCONT)

    def close(self) -> None:
        """End it, whatever state it is in, and remove its data."""
        if self.process is not None:
            self.kill()
        shutil.rmtree(self.folder)

    def _signal(self, number: signal.Signals) -> None:
        assert self.process is not None, "it is not running"
        self.process.send_signal(number)

    def _end(self, number: signal.Signals) -> None:
        assert self.process is not None, "it is not running"
        self.process.send_signal(number)
        self.process.wait(timeout=_START)
        self.process = None

    def _try_to_start(self) -> bool:
        fixed = {
            "--port": str(self.port),
            "--bind": "127.0.0.1",
            "--unixsocket": str(self.socket),
            "--dir": str(self.folder),
            "--logfile": str(self.folder / "log"),
            "--save": "",
            "--appendonly": "yes",
            "--appendfsync": "everysec",
        }
        arguments = [word for pair in fixed.items() for word in pair]
        with (self.folder / "out").open("wb") as out:
            self.process = subprocess.Popen(
                [self.program.path, *([self.conf] if self.conf else []), *arguments, *self.options],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                preexec_fn=_die_with_parent,
                start_new_session=True,  # a Ctrl-C is for pytest; the fixture then ends this
            )
        deadline = time.monotonic() + _START
        with self.client() as client:
            while self.process.poll() is None and time.monotonic() < deadline:
                try:
                    client.ping()
                except AuthenticationError:  # it answers
                    return True
                except RedisConnectionError:  # not there yet, or loading
                    time.sleep(0.005)
                else:
                    return True
        if self.process.poll() is None:
            self.kill()
        self.process = None
        return False


def _die_with_parent() -> None:
    # Should pytest itself be killed, no fixture runs.
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])

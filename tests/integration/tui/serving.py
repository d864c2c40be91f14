"""`fabric-tui --web` in a process of its own, and what it left behind."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from fabric_broker.home import Home

WAIT = 30.0  # s


@dataclass(frozen=True)
class Served:
    process: subprocess.Popen[str]
    url: str
    home: Home
    log: Path

    @property
    def token(self) -> str:
        return self.home.web_token.read_text().strip()

    def apps(self) -> list[psutil.Process]:
        """The app's processes: one for each page that is open."""
        return psutil.Process(self.process.pid).children(recursive=True)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


@contextmanager
def serve(home: Home, redis_url: str, log: Path, *words: str, host: str = "127.0.0.1") -> Iterator[Served]:
    """Start it, wait until it listens, end it; it has to leave no process behind."""
    port = free_port()
    command = [
        sys.executable,
        "-m",
        "fabric_tui",
        "--home",
        str(home.path),
        "--web",
        f"{host}:{port}",
        *words,
    ]
    outer = {name: value for name, value in os.environ.items() if not name.startswith("FABRIC_")}
    with log.open("w") as said:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=said,
            text=True,
            env=outer | {"FABRIC_URL": redis_url},
        )
    served = Served(process, f"http://127.0.0.1:{port}", home, log)
    try:
        until(lambda: "ctrl+c ends it" in log.read_text() or process.poll() is not None, log)
        assert process.poll() is None, log.read_text()
        yield served
        if process.poll() == -signal.SIGKILL:
            return  # that was the test
        apps = served.apps()
        process.terminate()
        assert process.wait(timeout=WAIT) == 0, log.read_text()
        _, left = psutil.wait_procs(apps, timeout=WAIT)
        assert not left
    finally:
        if process.poll() is None:
            for each in served.apps():
                each.kill()
            process.kill()
            process.wait(timeout=WAIT)


def until(condition, log: Path) -> None:
    deadline = time.monotonic() + WAIT
    while not condition():
        assert time.monotonic() < deadline, f"not within {WAIT} s; it said:\n{log.read_text()}"
        time.sleep(0.02)

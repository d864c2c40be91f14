"""A fabric of its own for the time of the benchmarks: server, submitter and jobs in a temporary folder."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, urlsplit

import psutil

from adaptive_fabric import Fabric, Local, Run
from fabric_broker.broker import Broker
from fabric_broker.config import Config
from fabric_broker.connection import connect, locate
from fabric_broker.events import Event, read_events
from fabric_broker.home import Home

TIMEOUT = 300.0  # s


@dataclass(frozen=True)
class Stand:
    """The running fabric, and what benchmarks ask of it."""

    fabric: Fabric
    broker: Broker
    home: Path
    redis_url: str
    """with the password: for the environment of a process, never for a command line"""

    def pool(self, name: str, *, slots: int, jobs: int = 1, ttl: float = 30.0) -> str:
        """Make a pool of local jobs; returns its name."""
        self.fabric.pool(name, Local(slots=slots, ttl=ttl), jobs=jobs)
        return name

    def finish(self, run: Run) -> float:
        """Wait for the run; the seconds from the first lease to the last learner that is done, by Redis' clock."""
        status = run.wait(timeout=TIMEOUT)
        if status.state != "done":
            raise RuntimeError(f"run {run.name} ended as {status.state}: {status.counts}")
        events = self.events(run)
        began = min(event.at for event in events if event.event == "acquire")
        return max(event.at for event in events if event.event == "complete") - began

    def events(self, run: Run) -> list[Event]:
        """The run's state changes, oldest first."""
        return [event for event in read_events(self.broker) if event.run == run.id]

    def processes(self, environment: Mapping[str, str], word: str = "fabric_jobs") -> list[psutil.Process]:
        """The fabric's processes with this in their environment and this word in their command line."""
        wanted = {"FABRIC_HOME": str(self.home), **environment}.items()
        found = []
        for process in psutil.process_iter():
            # Others come and go, or belong to somebody else.
            with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied):
                if wanted <= process.environ().items() and any(word in part for part in process.cmdline()):
                    found.append(process)
        return found


@contextlib.contextmanager
def stand() -> Iterator[Stand]:
    """Start a fabric and stop all of it."""
    with tempfile.TemporaryDirectory(prefix="fabric-bench-") as folder:
        path = Path(folder).resolve() / "home"
        fabric = Fabric.connect(home=path)
        try:
            home = Home(path)
            config = Config.load(home, {})
            server = locate(home, config)
            with contextlib.closing(connect(server, timeout=TIMEOUT)) as redis:
                yield Stand(
                    fabric, Broker(redis, config.name), path, _with_password(server.url, server.password)
                )
        finally:
            fabric.close()
            command = [sys.executable, "-m", "adaptive_fabric", "--home", str(path), "down"]
            subprocess.run(command, check=True, timeout=TIMEOUT, stdout=subprocess.DEVNULL)


def _with_password(url: str, password: str | None) -> str:
    parts = urlsplit(url)
    return parts._replace(netloc=f":{quote(password, safe='')}@{parts.netloc}").geturl() if password else url


def until(condition: Callable[[], bool], what: str, *, seconds: float = 60.0) -> None:
    """Wait for a condition; TimeoutError names it."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(f"{what}: not within {seconds:.0f} s")
        time.sleep(0.02)

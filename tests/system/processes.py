"""Find a fabric's processes the way an operator would: by what /proc says of them."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar

T = TypeVar("T")

PATIENCE = 60.0
"""Seconds until a condition that must come is given up; not a budget."""


@dataclass(frozen=True)
class Process:
    pid: int
    parent: int
    command: str
    job: str | None

    @property
    def role(self) -> str:
        """agent, fork server, slot or worker (of a slot's pool) or other."""
        if "loky.backend.popen" in self.command:
            return "worker"
        if "fabric_jobs" not in self.command:
            return "other"
        if "fabric_jobs agent" in self.command:
            return "agent"
        parent = _read(self.parent)
        if parent is not None and parent.role == "agent":
            return "fork server"
        return "slot" if parent is not None and parent.role == "fork server" else "worker"


def _read(pid: int) -> Process | None:
    proc = Path("/proc") / str(pid)
    try:
        stat = (proc / "stat").read_text()
        command = (proc / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
        environ = dict(
            item.split(b"=", 1) for item in (proc / "environ").read_bytes().split(b"\0") if b"=" in item
        )
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return None
    state, parent = stat.rpartition(")")[2].split()[:2]
    if state == "Z":
        return None
    job = environ.get(b"FABRIC_JOB")
    return Process(pid, int(parent), command, None if job is None else job.decode())


def of_home(home: Path) -> list[Process]:
    """All living processes that carry this FABRIC_HOME."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            environ = (entry / "environ").read_bytes().split(b"\0")
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue
        if f"FABRIC_HOME={home}".encode() in environ:
            process = _read(int(entry.name))
            if process is not None:
                found.append(process)
    return found


def of_job(home: Path, job: str, role: str | None = None) -> list[Process]:
    """The living processes of one job, of one role if given."""
    return [
        process for process in of_home(home) if process.job == job and (role is None or process.role == role)
    ]


def wait_for(condition: Callable[[], T], what: str, patience: float = PATIENCE) -> T:
    """The condition's first true value; fails with ``what`` if it does not come."""
    until = time.monotonic() + patience
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < until, f"never came: {what}"
        time.sleep(0.02)


@dataclass(frozen=True)
class Evaluation:
    """One line of the log that evaluated functions write."""

    learner: str
    x: str
    finished: float
    pid: int
    job: str
    copy: str
    """the tag of the job's copy: a job that is requeued has another one"""


GATED: Final = 10
"""So many evaluations of a learner pass a closed gate."""


class EvaluationLog:
    """Every finished evaluation, appended by the function itself: nothing of the fabric is believed."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.touch()
        self._gate = path.with_suffix(".gate")

    def close_gate(self) -> None:
        """Let each learner of a gated function wait after `GATED` evaluations."""
        self._gate.touch()

    def open_gate(self) -> None:
        """Let them go on, for good."""
        self._gate.unlink(missing_ok=True)

    def __iter__(self) -> Iterator[Evaluation]:
        for line in self.path.read_text().splitlines():
            learner, x, finished, pid, job, copy = line.split("\t")
            yield Evaluation(learner, x, float(finished), int(pid), job, copy)

    def __len__(self) -> int:
        return self.path.read_bytes().count(b"\n")

    def function(self, learner: str, seconds: float = 0.01) -> Callable[[float], float]:
        """A function that takes a while and writes a line when it has finished; it travels by value."""
        log_path, gate = self.path, self._gate

        def evaluate(x: float) -> float:
            import os
            import time

            time.sleep(seconds)
            while gate.exists() and log_path.read_text().count(f"{learner}\t") >= GATED:
                time.sleep(0.01)
            place = f"{os.getpid()}\t{os.environ.get('FABRIC_JOB')}\t{os.environ.get('FABRIC_JOB_TAG')}"
            line = f"{learner}\t{float(x)!r}\t{time.time()!r}\t{place}\n".encode()
            log = os.open(log_path, os.O_WRONLY | os.O_APPEND)
            os.write(log, line)
            os.close(log)
            return float(x) ** 2

        return evaluate

    def evaluated_again(self, before: float = float("inf")) -> list[Evaluation]:
        """Evaluations that had finished by ``before`` and were repeated later."""
        first: dict[tuple[str, str], Evaluation] = {}
        again = []
        for evaluation in self:
            key = (evaluation.learner, evaluation.x)
            if key in first and first[key].finished < before:
                again.append(first[key])
            first.setdefault(key, evaluation)
        return again

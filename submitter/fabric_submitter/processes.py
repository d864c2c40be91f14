"""Processes of this host, read from /proc: which job each belongs to, and who its parent must be."""

from __future__ import annotations

import ctypes
import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from fabric_broker.home import Home
from fabric_broker.lock import ProcessId

_PR_SET_PDEATHSIG = 1


@dataclass(frozen=True, slots=True)
class JobProcess:
    """A living process that carries a job in its environment."""

    process: ProcessId
    job: str
    keeps: bool
    """it is the keeper of its job"""


def die_with_parent(parent: int, number: signal.Signals = signal.SIGTERM) -> None:
    """Have the kernel send this process a signal when the one with pid `parent`, its parent, ends.

    Call it from the main thread. A parent that ended before this call is noticed too: the signal comes at once.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, int(number), 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")
    if os.getppid() != parent:
        os.kill(os.getpid(), number)


def job_processes(home: Home) -> Iterator[JobProcess]:
    """Yield the living processes of all local jobs of a home, keepers and others.

    The environment is that with which a process was started. Zombies have none, so they do not appear.
    """
    uid = os.getuid()
    with os.scandir("/proc") as entries:
        for entry in entries:
            if not entry.name.isdigit():
                continue
            try:
                if entry.stat().st_uid != uid:
                    continue
                job = _job_of(_read(entry.path + "/environ"), home)
                process = ProcessId.of(int(entry.name)) if job else None
                if job and process:
                    yield JobProcess(process, job, _keeps(process, home, job))
            except (FileNotFoundError, ProcessLookupError, PermissionError):
                continue  # it ended while we looked, or hides from us: then it is no job of ours


def _read(path: str) -> bytes:
    # Hundreds of these files are read at each look: no buffers, no text layer.
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        parts = []
        while part := os.read(descriptor, 1 << 17):
            parts.append(part)
        return b"".join(parts)
    finally:
        os.close(descriptor)


def _job_of(environ: bytes, home: Home) -> str | None:
    """The job that a process carries, if it is one of this home."""
    if b"FABRIC_JOB=" not in environ:
        return None
    variables = dict(each.split(b"=", 1) for each in environ.split(b"\0") if b"=" in each)
    job, its_home = variables.get(b"FABRIC_JOB"), variables.get(b"FABRIC_HOME")
    # A home can be spelled in several ways.
    if not job or not its_home or Path(os.fsdecode(its_home)).resolve() != home.path.resolve():
        return None
    return os.fsdecode(job)


def _keeps(process: ProcessId, home: Home, job: str) -> bool:
    """Whether it is the shell that runs the job's script, and not a child of it or of the user's code."""
    script = home.job_script(job.rpartition(".")[0])
    arguments = _read(f"/proc/{process.pid}/cmdline").split(b"\0")
    names_script = len(arguments) > 1 and Path(os.fsdecode(arguments[1])).name == script.name
    return names_script and os.getsid(process.pid) == process.pid

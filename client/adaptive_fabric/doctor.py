"""Checks of all that the fabric needs, each answered by one line that says what to do."""

from __future__ import annotations

import os
import resource
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from fabric_broker import intents, reads
from fabric_broker.broker import Broker
from fabric_broker.config import Config
from fabric_broker.connection import check, check_schema, connect, locate, server_version
from fabric_broker.errors import FabricError
from fabric_broker.home import Home
from fabric_broker.signing import load_secret
from fabric_broker.store import Store

from .asking import asking

if TYPE_CHECKING:
    from redis import Redis

MOST_SKEW_S: Final = 2.0
"""Seconds by which this host's clock may differ from Redis' before goals with a date go wrong."""

SPARE_CLIENTS: Final = 64
"""Connections beside those of the jobs."""


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at."""

    name: str
    ok: bool
    text: str


class FailedError(Exception):
    """A check failed; the message says what to do."""


def examine(home: Home, config: Config, url: str | None = None, *, wait: float = 0.0) -> Iterator[Check]:
    """All checks, in order; those that need the server are left out when it cannot be reached.

    `wait`: so many seconds a small job of each pool has to phone home; 0: none is sent.
    """
    yield _check("home", lambda: _home(home))
    yield _check("keys", lambda: _keys(home))
    yield _check("store", lambda: _store(Store(config.store or home.store)))
    yield _check("files", lambda: _files(config))
    try:
        redis = connect(locate(home, config, url))
    except FabricError as error:
        yield Check("server", ok=False, text=_line(error))
        return
    try:
        reached = _check("server", lambda: _server(redis))
        yield reached
        if reached.ok:
            broker = Broker(redis, config.name)
            yield from _examine_server(redis, broker)
            if wait > 0:
                yield from _probe(home, broker, wait)
    finally:
        redis.close()


def _examine_server(redis: Redis, broker: Broker) -> Iterator[Check]:
    def schema() -> str:
        check_schema(redis, broker.keys)
        return "the records are of this release"

    with asking(redis):
        yield _check("schema", schema)
        yield _check("append-only file", lambda: _append_only(redis))
        yield _check("memory", lambda: _memory(redis))
        yield _check("connections", lambda: _connections(broker))
        yield _check("clock", lambda: _clock(broker))
        yield _check("submitter", lambda: _submitter(broker))
        yield _check("pools", lambda: _pools(broker))


def _check(name: str, look: Callable[[], str]) -> Check:
    try:
        return Check(name, ok=True, text=look())
    except (FailedError, FabricError) as error:
        return Check(name, ok=False, text=_line(error))


def _home(home: Home) -> str:
    if not home.path.exists():
        raise FailedError(f"there is no {home.path}; `fabric up` makes it")
    try:
        with tempfile.TemporaryFile(dir=home.path) as probe:
            probe.write(b"\n")
    except OSError as error:
        raise FailedError(f"{home.path} cannot be written ({error.strerror}): make it writable") from None
    if home.path.stat().st_mode & 0o022:
        raise FailedError(f"{home.path} can be written by others: run  chmod go-w {home.path}")
    return f"{home.path} can be written"


def _keys(home: Home) -> str:
    for file in (home.work_key, home.control_key, home.password_file):
        load_secret(file)
    return "work.key, control.key and redis.password are this user's alone"


def _store(store: Store) -> str:
    # The first checkpoint makes the folder; until then its nearest parent has to be writable.
    folder = next(folder for folder in (store.base, *store.base.parents) if folder.exists())
    try:
        with tempfile.TemporaryFile(dir=folder) as probe:
            probe.write(b"\n")
        space = os.statvfs(folder)
    except OSError as error:
        raise FailedError(f"{store.base} cannot be written ({error.strerror})") from None
    free = space.f_bavail * space.f_frsize
    if free < 100 * 2**20:
        raise FailedError(
            f"{store.base} has only {free / 2**20:.0f} MB free: make room, or name another store"
        )
    return f"{store.base} can be written, {free / 2**30:.1f} GB free"


def _files(config: Config) -> str:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    jobs = sum(int(pool.get("jobs", 1)) for pool in config.pools.values())
    if hard != resource.RLIM_INFINITY and jobs + SPARE_CLIENTS > hard:
        raise FailedError(f"`ulimit -Hn` is {hard}, too few for a server with {jobs} jobs: raise it")
    return f"a process may open {soft} files (ulimit -n)"


def _server(redis: Redis) -> str:
    began = time.perf_counter()
    check(redis)
    answered = (time.perf_counter() - began) * 1000
    with asking(redis):
        major, minor = server_version(redis)
    return f"Redis {major}.{minor} answers in {answered:.1f} ms"


def _append_only(redis: Redis) -> str:
    persistence = _info(redis, "persistence")
    if not persistence.get("aof_enabled"):
        raise FailedError("it is off: a restart of the server would lose all runs; set  appendonly yes")
    if persistence.get("aof_last_write_status") != "ok":
        raise FailedError("the last write failed: is the server's disk full?")
    return "it is on"


def _memory(redis: Redis) -> str:
    memory = _info(redis, "memory")
    used, most = int(memory.get("used_memory", 0)), int(memory.get("maxmemory", 0))
    if most and memory.get("maxmemory_policy") != "noeviction":
        raise FailedError(f"maxmemory-policy is {memory.get('maxmemory_policy')}: set it to noeviction")
    if most and used > 0.9 * most:
        raise FailedError(f"{used / 2**20:.0f} of {most / 2**20:.0f} MB are used: raise maxmemory")
    return f"{used / 2**20:.0f} MB are used" + (f" of {most / 2**20:.0f}" if most else "")


def _connections(broker: Broker) -> str:
    clients = _info(broker.redis, "clients")
    most, used = int(clients.get("maxclients", 0)), int(clients.get("connected_clients", 0))
    jobs = sum(pool.limit for pool in reads.pool_records(broker))
    if most and jobs + SPARE_CLIENTS > most:
        raise FailedError(
            f"the pools may have {jobs} jobs, the server takes {most} connections: raise maxclients"
        )
    return f"{used} are open; the server takes {most or 'an unknown number'}"


def _clock(broker: Broker) -> str:
    before = time.time()
    theirs = reads.now(broker)
    skew = theirs - (before + time.time()) / 2
    if abs(skew) > MOST_SKEW_S:
        raise FailedError(f"this host's clock is {-skew:+.1f} s from the server's: synchronise them (NTP)")
    return f"this host's clock is {abs(skew) * 1000:.0f} ms from the server's"


def _submitter(broker: Broker) -> str:
    leader = intents.leader(broker)
    if leader.alive:
        return f"it is alive on {leader.host}"
    when = "" if leader.last_seen is None else f" for {reads.now(broker) - leader.last_seen:.0f} s"
    raise FailedError(f"it is silent{when}: no new jobs come; `fabric up` starts it")


def _pools(broker: Broker) -> str:
    records = reads.pool_records(broker)
    stuck = [record for record in records if record.circuit]
    if stuck:
        raise FailedError("; ".join(f"{record.name} submits nothing: {record.circuit}" for record in stuck))
    return f"there is {', '.join(record.name for record in records)}" if records else "there is none yet"


def _probe(home: Home, broker: Broker, wait: float) -> Iterator[Check]:
    from .probing import probe  # late, since it imports the schedulers

    try:
        with asking(broker.redis):
            records = reads.pool_records(broker)
        for found in probe(home, broker, records, wait):
            yield Check(f"job of {found.pool}", found.ok, _line_of(found.text))
    except FabricError as error:
        yield Check("jobs", ok=False, text=_line(error))


def _info(redis: Redis, section: str) -> dict[str, Any]:
    found: dict[str, Any] = redis.info(section)
    return found


def _line(error: BaseException) -> str:
    return _line_of(str(error))


def _line_of(text: str) -> str:
    return " ".join(text.split())

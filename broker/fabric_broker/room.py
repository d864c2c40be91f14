"""Room for connections: each job holds one, and each is an open file of the server."""

from __future__ import annotations

import resource
from typing import TYPE_CHECKING

from .config import Config
from .errors import ServerError

if TYPE_CHECKING:
    from redis import Redis

_CLIENTS = 10_000  # connections, unless the pools want more
_SPARE = 64  # connections for clients and the submitter; about as many files of the server itself


def starting_clients(config: Config) -> int:
    """Return `maxclients` for a server to be started; raises ServerError when the config's pools cannot fit."""
    jobs = _configured(config)
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if files == resource.RLIM_INFINITY:
        return max(_CLIENTS, jobs + _SPARE)
    if jobs + 2 * _SPARE > files:
        raise _too_many(jobs, files - 2 * _SPARE, f"this host lets a process open {files} files")
    return min(files - _SPARE, max(_CLIENTS, jobs + _SPARE))


def make_room(client: Redis, config: Config) -> None:
    """Let as many clients connect to a running server as the pools, in its records and in the config, want jobs.

    Raises
    ------
    ServerError
        The server cannot have so many files open.
    """
    from redis.exceptions import ResponseError

    jobs = max(_configured(config), _recorded(client, config.name))
    allowed = int(client.config_get("maxclients")["maxclients"] or 0)
    if jobs + _SPARE <= allowed:
        return
    try:
        client.config_set("maxclients", jobs + _SPARE)
    except ResponseError as error:
        raise _too_many(jobs, allowed - _SPARE, f"the server runs, but {error}") from error


def _configured(config: Config) -> int:
    jobs = [pool.get("jobs", 1) for pool in config.pools.values()]
    return sum(each for each in jobs if isinstance(each, int))


def _recorded(client: Redis, fabric: str) -> int:
    from .broker import Broker  # late, since these import redis
    from .reads import pool_names

    broker = Broker(client, fabric)
    pipe = client.pipeline(transaction=False)
    for name in pool_names(broker):
        pipe.hget(broker.keys.pool(name), "limit")
    return sum(int(limit or 0) for limit in pipe.execute())


def _too_many(jobs: int, room: int, why: str) -> ServerError:
    return ServerError(
        f"the pools want {jobs} jobs, each with a connection of its own, and there is room for {room}: {why}; "
        "raise `ulimit -Hn` and `fabric down` and `up`, or lower the pools' jobs"
    )

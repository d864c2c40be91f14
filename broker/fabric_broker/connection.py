"""Where the fabric's Redis is, and connections to it that time out when they say and hide no retries."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

from .config import Config
from .errors import NotRedisError, SchemaError, UnreachableError, UsageError
from .home import Home
from .records import SCHEMA
from .signing import load_secret
from .trouble import Trouble, as_fabric_error, classify

if TYPE_CHECKING:
    from redis import Redis
    from redis.asyncio import Redis as AsyncRedis

__all__ = [
    "Server",
    "Trouble",
    "address",
    "as_fabric_error",
    "check",
    "check_schema",
    "classify",
    "connect",
    "connect_async",
    "embedded",
    "locate",
    "read_address",
    "server_version",
]

_SCHEMES = ("redis", "rediss", "unix")
_OLDEST = (6, 2)


@dataclass(frozen=True)
class Server:
    """A Redis server: its URL, which holds no password and may be shown, and the password, which may not."""

    url: str
    password: str | None = field(default=None, repr=False)
    guarded: bool = False
    """Whether a server that asks for no password is refused: it cannot be the one that was meant."""

    def __str__(self) -> str:
        return self.url

    @classmethod
    def parse(cls, url: str, password: str | None = None) -> Server:
        """Take a URL apart; a password in it is moved out of it and wins over `password`. Raises UsageError."""
        try:
            parts = urlsplit(url)
            place = parts.path.strip("/") if parts.scheme == "unix" else parts.hostname
            usable = parts.scheme in _SCHEMES and "://" in url and bool(place) and parts.port != 0
        except ValueError:
            usable = False
        if not usable:
            # The URL may hold a password, so it is not repeated here.
            raise UsageError("a Redis URL looks like redis://HOST:PORT, rediss://HOST:PORT or unix:///PATH")
        user, secret = parts.username or "", unquote(parts.password or "")
        options = []
        for name, value in parse_qsl(parts.query):
            if name == "password":
                secret = value
            elif name == "username":
                user = quote(value, safe="")
            else:
                options.append((name, value))
        host = parts.netloc.rpartition("@")[2]
        # Not urlunsplit: it takes unix:///path for unix:/path.
        shown = f"{parts.scheme}://{user}{'@' if user else ''}{host}{parts.path}"
        return cls(f"{shown}?{urlencode(options)}" if options else shown, secret or password)


def locate(home: Home, config: Config, url: str | None = None) -> Server:
    """Return the server to use: `url`, else the configured one, else the home's embedded server.

    The password is that in the URL, else that in the configured password file, else the home's; the embedded server
    has the home's.

    Raises
    ------
    UnreachableError
        No server is named, and the home has had none yet.
    KeyFileError
        The password file is missing, malformed or open to others.
    UsageError
        The URL is none.
    """
    named = url or config.url
    if not named:
        return embedded(home)
    server = Server.parse(named)
    if server.password is not None:
        return server
    if config.password_file is not None:
        return Server(server.url, load_secret(config.password_file))
    if home.password_file.exists():
        return Server(server.url, load_secret(home.password_file))
    return server


def embedded(home: Home) -> Server:
    """Return the home's embedded server, whatever else is configured; raises UnreachableError, KeyFileError."""
    return Server(_embedded_url(home), load_secret(home.password_file), guarded=True)


def _embedded_url(home: Home) -> str:
    url = read_address(home).get("url")
    if not url:
        raise UnreachableError(f"no Redis server is named, and {home.path} has none; `fabric up` starts one")
    return str(url)


def read_address(home: Home) -> dict[str, object]:
    """Return what server.json tells of the embedded server: url, name, schema, host, run_dir; nothing if there is none.

    The file is replaced as a whole, so it is never seen half-written. Raises UnreachableError for one that is no use.
    """
    try:
        record = json.loads(home.server_file.read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (OSError, ValueError) as error:
        raise UnreachableError(f"cannot tell from {home.server_file} where the server is: {error}") from error
    return record if isinstance(record, dict) else {}


def connect(server: Server, *, timeout: float = 5.0) -> Redis:
    """Return a client, which connects at its first command. It answers bytes and may be shared by threads.

    `timeout` (s) bounds connecting and each answer; nothing is retried, so a command can take twice that at most.
    """
    from redis import ConnectionPool, Redis
    from redis.backoff import NoBackoff
    from redis.retry import Retry

    return Redis.from_pool(_pool(ConnectionPool, server, timeout, retry=Retry(NoBackoff(), 0)))


def connect_async(server: Server, *, timeout: float = 5.0) -> AsyncRedis:
    """Return an asyncio client with exactly one connection, made at its first command; else as `connect`.

    Commands and pipelines of several tasks wait for one another, `timeout` s at most.
    """
    from redis.asyncio import BlockingConnectionPool, Redis
    from redis.asyncio.retry import Retry
    from redis.backoff import NoBackoff

    # Not redis-py's `single_connection_client`: its pipelines open a second connection.
    options = {"max_connections": 1, "timeout": timeout, "retry": Retry(NoBackoff(), 0)}
    return Redis.from_pool(_pool(BlockingConnectionPool, server, timeout, **options))


def _pool(kind: Any, server: Server, answer: float, **options: Any) -> Any:
    # `options` has a `retry` that does not: redis-py's own default for a client is to try again, with back-off.
    # AUTH with a user's name also satisfies a server that asks for no password; without one such a server refuses.
    without = server.guarded or server.password is None or urlsplit(server.url).username
    user = {} if without else {"username": "default"}
    try:
        return kind.from_url(
            server.url,
            password=server.password,
            socket_timeout=answer,
            socket_connect_timeout=answer,
            protocol=2,
            driver_info=None,  # no CLIENT SETINFO: Redis < 7.2 does not know it, and ACLs refuse it
            **user,
            **options,
        )
    except (ValueError, TypeError) as error:
        raise UsageError(f"{server.url} is no URL for Redis: {error}") from error


def address(client: Redis | AsyncRedis) -> str:
    """Return where a client connects to, as a URL without user and password."""
    options = client.connection_pool.connection_kwargs
    if "path" in options:
        return f"unix://{options['path']}"
    host = options.get("host", "localhost")
    host = f"[{host}]" if ":" in host else host
    scheme = "rediss" if "SSL" in client.connection_pool.connection_class.__name__ else "redis"
    return f"{scheme}://{host}:{options.get('port', 6379)}"


def check(client: Redis) -> None:
    """Ask the server who it is.

    Raises
    ------
    UnreachableError
        Nobody answers, or not in time.
    WrongPasswordError
        The password is wrong or missing.
    NotRedisError
        What answers is no Redis, or one older than 6.2.
    """
    from redis.exceptions import NoPermissionError, RedisError

    where = address(client)
    version = _OLDEST
    try:
        if not client.ping():
            raise NotRedisError(f"what answers at {where} is not a Redis server")
        # An ACL may hide INFO; then the version has to be believed.
        with suppress(NoPermissionError):
            version = server_version(client)
    except (RedisError, OSError) as error:
        raise as_fabric_error(error, where) or error from error
    if version < _OLDEST:
        raise NotRedisError(
            f"the server at {where} is Redis {version[0]}.{version[1]}; the fabric needs Redis ≥ 6.2 or Valkey"
        )


def server_version(client: Redis) -> tuple[int, int]:
    """Return the major and minor version of Redis that the server says it is (Valkey says 7.2)."""
    info: dict[str, Any] = client.info("server")
    major, minor, *_ = str(info.get("redis_version", "0.0")).split(".")
    return int(major), int(minor)


class HasMeta(Protocol):
    """Names the hash that holds the schema's number."""

    meta: str


def check_schema(client: Redis, keys: HasMeta) -> None:
    """Check that the fabric's records are of this release; an empty fabric is marked as such.

    Raises
    ------
    SchemaError
        Another release wrote them.
    """
    found = client.hget(keys.meta, "schema")
    if found is None:
        client.hsetnx(keys.meta, "schema", str(SCHEMA))
        found = client.hget(keys.meta, "schema")
    if found != str(SCHEMA).encode():
        number = found.decode(errors="replace") if isinstance(found, bytes) else found
        raise SchemaError(
            f"the records at {address(client)} have schema {number}, this release reads {SCHEMA}: "
            "use the release that wrote them, or another fabric name"
        )

"""A probe: it looks at what an agent and its slots would need on this node, and phones home."""

from __future__ import annotations

import importlib
import os
import platform
import sys
from collections.abc import Iterator, Mapping

from redis.exceptions import RedisError

from fabric_broker.broker import Broker
from fabric_broker.config import Config
from fabric_broker.connection import as_fabric_error, check, check_schema, connect, locate
from fabric_broker.errors import FabricError, UnreachableError
from fabric_broker.home import Home
from fabric_broker.probes import Report, phone_home
from fabric_broker.signing import load_key

from .scheduled import identity

NEEDED = ("cloudpickle", "adaptive")
"""What every slot imports."""


def probe(home: Home, job: str, env: Mapping[str, str]) -> int:
    """Look, tell the log, phone home; answers the exit code.

    Raises
    ------
    FabricError
        The home's settings cannot be used, or nobody answers where the server should be.
    """
    me = identity(job, env)
    python = f"{sys.executable} ({platform.python_version()})"
    troubles = tuple(_troubles(home))
    for line in troubles:
        sys.stderr.write(f"probe on {me.node}: {line}\n")
    config = Config.load(home, env)
    server = locate(home, config)
    with connect(server) as redis:
        try:
            check(redis)
            broker = Broker(redis, config.name)
            check_schema(redis, broker.keys)
            phone_home(broker, job, Report(me.node, python, troubles))
        except (FabricError, RedisError, OSError) as error:
            known = error if isinstance(error, FabricError) else as_fabric_error(error, server.url)
            kind = UnreachableError if known is None else type(known)
            raise kind(f"node {me.node} cannot use the server: {known or error}") from error
    return 1 if troubles else 0


def _troubles(home: Home) -> Iterator[str]:
    """What is wrong here, apart from the server."""
    try:
        load_key(home.work_key)
    except FabricError as error:
        yield str(error)
    for folder in (home.logs, home.store):
        if not os.access(folder, os.W_OK | os.X_OK):
            yield f"{folder} cannot be written"
    for name in NEEDED:
        try:
            importlib.import_module(name)
        except Exception as error:  # noqa: BLE001 - a package that is half there fails in whatever way it likes
            yield f"cannot import {name}: {type(error).__name__}: {error}"

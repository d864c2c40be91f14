"""Embedded servers as tests see them: which processes they are, and a key in one."""

from __future__ import annotations

import signal
from pathlib import Path

from fabric_broker.connection import Server, connect
from fabric_broker.home import Home
from fabric_broker.lock import ProcessId
from fabric_broker.server import EmbeddedServer


def servers_of(home: Home) -> list[int]:
    """The pids of all redis-servers that carry this home in their environment, known to a lock or not."""
    mark = f"FABRIC_HOME={home.path}".encode()
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            is_server = b"redis.conf" in (folder / "cmdline").read_bytes()
            is_ours = mark in (folder / "environ").read_bytes().split(b"\0")
        except OSError:  # it has ended, or is another user's
            continue
        if is_server and is_ours:
            found.append(int(folder.name))
    return found


def kill_servers_of(home: Home) -> None:
    """End them all."""
    for pid in servers_of(home):
        process = ProcessId.of(pid)
        if process is not None:
            process.send(signal.SIGKILL)
            assert process.wait(20)


def process_of(server: EmbeddedServer) -> ProcessId:
    """The process of a server that runs."""
    process = server.process()
    assert process is not None
    return process


def put(server: Server, key: str, value: str) -> None:
    """Write a key."""
    with connect(server) as client:
        client.set(key, value)


def get(server: Server, key: str) -> bytes | None:
    """Read a key."""
    with connect(server) as client:
        value = client.get(key)
        assert value is None or isinstance(value, bytes)
        return value

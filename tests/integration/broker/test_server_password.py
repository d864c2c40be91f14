"""A server that other machines reach is never open: it always has a password."""

from __future__ import annotations

import socket
from urllib.parse import urlsplit

import pytest
from redis.exceptions import AuthenticationError
from tests.servers import servers_of

from fabric_broker.connection import Server, connect
from fabric_broker.errors import KeyFileError, UsageError


@pytest.mark.parametrize("bind", ["auto", "0.0.0.0"])
def test_other_machines_need_the_homes_password(home, embedded, bind):
    try:
        found = embedded().up(bind=bind)
    except UsageError:
        pytest.skip("this host has no address but loopback")
    place = urlsplit(found.url)
    assert place.hostname not in ("127.0.0.1", "0.0.0.0")
    with socket.create_connection((place.hostname, place.port), timeout=10) as raw:
        raw.sendall(b"PING\r\n")
        assert raw.recv(100).startswith(b"-NOAUTH")
    with connect(Server(found.url, "")) as stranger, pytest.raises(AuthenticationError):
        stranger.ping()
    with connect(found) as client:
        assert client.ping()
        assert len(client.config_get("requirepass")["requirepass"]) >= 32


@pytest.mark.parametrize("text", ["", "\n"])
def test_a_wide_address_is_refused_without_a_password(home, embedded, text):
    home.password_file.write_text(text)
    with pytest.raises(KeyFileError, match=r"redis\.password"):
        embedded().up(bind="0.0.0.0")
    assert servers_of(home) == []
    assert not home.server_file.exists()

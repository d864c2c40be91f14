"""Where the embedded server listens: a socket, loopback, or an address that compute nodes reach."""

from __future__ import annotations

import re
import socket
from dataclasses import replace
from pathlib import Path

import pytest
from tests.servers import get, put, servers_of

from fabric_broker.connection import connect
from fabric_broker.errors import ServerError, UsageError
from fabric_broker.home import Home
from fabric_broker.listen import LONGEST_SOCKET_PATH, Listen, choose, outside_address


def test_a_socket_path_that_is_too_long_gives_way_to_a_loopback_port(tmp_path, home, embedded):
    for length, scheme in ((LONGEST_SOCKET_PATH, "unix"), (LONGEST_SOCKET_PATH + 1, "redis")):
        base = f"{home.path}/run/redis.sock"
        longer = Home(f"{home.path.parent}/{'x' * (length - len(base))}{home.path.name}")
        assert len(str(longer.run_dir() / "redis.sock")) == length
        server = embedded(longer)
        found = server.up()
        assert found.url.startswith(f"{scheme}://")
        if scheme == "redis":
            assert found.url.startswith("redis://127.0.0.1:")
        put(found, "key", "value")
        server.down()


def test_a_server_for_compute_nodes_keeps_its_port_over_a_restart(home, embedded):
    server = embedded()
    found = server.up(bind="127.0.0.1")
    put(found, "key", "value")
    assert server.up(bind="127.0.0.1") == found
    server.down()
    assert server.up(bind="127.0.0.1") == found
    assert get(found, "key") == b"value"


def test_a_server_bound_to_an_address_listens_there_and_on_loopback_and_nowhere_else(home, embedded):
    try:
        found = embedded().up(bind="auto")
    except UsageError:
        pytest.skip("this host has no address but loopback")
    with connect(found) as client:
        host = re.fullmatch(r"redis://(.+):\d+", found.url)
        assert host is not None
        assert client.config_get("bind") == {"bind": f"{host[1]} 127.0.0.1"}
        assert client.config_get("requirepass") == {"requirepass": found.password}


def test_moving_a_server_that_runs_is_refused_and_leaves_it_running(home, embedded):
    found = embedded().up()
    with pytest.raises(ServerError, match="`fabric down` first"):
        embedded().up(bind="127.0.0.1")
    assert get(found, "key") is None


@pytest.mark.parametrize("bind", ["192.0.2.77", "no-such-host.invalid", "", "a" * 70, "127.0.0.1:6379"])
def test_an_address_that_is_not_this_hosts_is_a_usage_error_and_starts_nothing(home, embedded, bind):
    with pytest.raises(UsageError, match="no address of this host"):
        embedded().up(bind=bind)
    assert servers_of(home) == []
    assert not embedded().alive()


def test_a_port_that_is_taken_on_loopback_alone_is_not_chosen(tmp_path):
    outside = outside_address()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        listen = choose(tmp_path, "auto", f"redis://{outside}:{port}")
    assert listen.addresses == (outside, "127.0.0.1")
    assert listen.port not in (0, port)


@pytest.mark.parametrize("same_password", [False, True])
def test_a_port_that_somebody_takes_first_is_left_to_them(
    home, embedded, private_redis, monkeypatch, same_password
):
    if same_password:
        with private_redis.client() as client:
            client.config_set("requirepass", home.password_file.read_text().strip())
    ports: list[int] = []

    def late(run_dir: Path, bind: str | None, last_url: str | None = None) -> Listen:
        listen = choose(run_dir, bind, None)
        ports.append(listen.port if ports else private_redis.port)
        return replace(listen, port=ports[-1])

    monkeypatch.setattr("fabric_broker.server.choose", late)
    found = embedded().up(bind="127.0.0.1")
    assert len(ports) == 2
    assert found.url == f"redis://127.0.0.1:{ports[1]}"

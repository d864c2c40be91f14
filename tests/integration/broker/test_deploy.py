"""What a site starts from: the redis.conf and users.acl of deploy/ serve a fabric, and keep jobs in bounds."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from redis import Redis
from redis.exceptions import BusyLoadingError, ResponseError
from tests.redis_process import RedisProcess

from fabric_broker import calls
from fabric_broker.broker import Broker
from fabric_broker.connection import Server, check, connect
from fabric_broker.errors import WrongPasswordError
from fabric_broker.trouble import Trouble, classify

DEPLOY = Path(__file__).parents[3] / "deploy"
NOBODY = "0" * 64


def a_site(tmp_path: Path, acl: str) -> RedisProcess:
    users, conf = tmp_path / "users.acl", tmp_path / "redis.conf"
    users.write_text(acl)
    # The folder is the one line that Redis acts upon before it sees that the command line names another.
    conf.write_text((DEPLOY / "redis.conf").read_text().replace("dir /var/lib/fabric", f"dir {tmp_path}"))
    return RedisProcess("--aclfile", str(users), conf=conf)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[RedisProcess]:
    """A server from deploy/ where each user's password is its name."""
    lines = (DEPLOY / "users.acl").read_text().splitlines(keepends=True)
    filled = [line.replace(NOBODY, hashlib.sha256(line.split()[1].encode()).hexdigest()) for line in lines]
    process = a_site(tmp_path, "".join(filled))
    try:
        process.start()
        yield process
    finally:
        process.close()


def as_user(site: RedisProcess, user: str) -> Redis:
    return connect(Server(site.tcp_url.replace("//", f"//{user}@"), user))


def refused(client: Any, *command: object) -> bool:
    with pytest.raises(ResponseError) as raised:
        client.execute_command(*command)
    return classify(raised.value) is Trouble.FORBIDDEN


def test_as_shipped_nobody_can_log_in(tmp_path):
    process = a_site(tmp_path, (DEPLOY / "users.acl").read_text())
    try:
        process.start()
        for user in ("fabric", "agent", "default"):
            for password in ("", "0", NOBODY, user):
                with (
                    pytest.raises(WrongPasswordError),
                    connect(Server(process.tcp_url.replace("//", f"//{user}@"), password)) as client,
                ):
                    check(client)
        with pytest.raises(WrongPasswordError), connect(Server(process.tcp_url)) as client:
            check(client)
    finally:
        process.close()


def test_it_keeps_what_it_acknowledged_and_evicts_nothing(site):
    text = (DEPLOY / "redis.conf").read_text().splitlines()
    assert {"appendonly yes", "appendfsync everysec", "maxmemory-policy noeviction"} <= set(text)
    with as_user(site, "fabric") as client:
        client.set("fabric:{f}:x", "kept")
        site.kill()
        site.start()
        while is_loading(client):  # it asks for a password before it says so; bounded by the test's time-out
            pass
        assert client.get("fabric:{f}:x") == b"kept"


def is_loading(client: Redis) -> bool:
    try:
        client.ping()
    except BusyLoadingError:
        return True
    return False


@pytest.mark.parametrize("user", ["fabric", "agent"])
def test_both_users_can_run_the_fabrics_scripts(site, user):
    with as_user(site, user) as client:
        check(client)
        broker = Broker(client, "f")
        broker.do(calls.define_pool("p", spec={}, kind="local", limit=1, slots=1, ttl=30.0))
        assert client.hgetall(broker.keys.pool("p"))
        assert client.time()


def test_a_job_cannot_touch_the_control_plane(site):
    key = "fabric-rq:{f}:queue:control"
    with as_user(site, "fabric") as client:
        client.rpush(key, "task")
        client.publish("fabric-rq:{f}:pubsub:w", "stop")
        client.client_setname("worker")
        client.client_list()
    with as_user(site, "agent") as agent:
        assert refused(agent, "RPUSH", key, "forged")
        assert refused(agent, "LRANGE", key, 0, -1)
        assert refused(agent, "EVAL", "return redis.call('RPUSH', KEYS[1], 'forged')", 1, key)
        assert refused(agent, "EVAL", f"return redis.call('RPUSH', '{key}', 'forged')", 0)
        assert refused(agent, "PUBLISH", "fabric-rq:{f}:pubsub:w", "stop")
    with as_user(site, "fabric") as client:
        assert client.lrange(key, 0, -1) == [b"task"]


@pytest.mark.parametrize("user", ["fabric", "agent"])
@pytest.mark.parametrize(
    "command",
    [
        "FLUSHALL",
        "KEYS *",
        "CONFIG GET *",
        "SHUTDOWN",
        "ACL LIST",
        "MONITOR",
        "REPLICAOF NO ONE",
        "GET other:key",
    ],
)
def test_neither_user_can_harm_the_server_or_other_keys(site, user, command):
    with as_user(site, user) as client:
        assert refused(client, *command.split())

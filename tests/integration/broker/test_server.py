"""The embedded server: one for a home, whoever starts it and however that goes; its data stay."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from tests.servers import get, process_of, put, servers_of

from fabric_broker.connection import Server, check, connect
from fabric_broker.errors import KeyFileError, LockedError
from fabric_broker.home import Home
from fabric_broker.lock import ProcessId, UpLock

UP = """
import json, sys
from fabric_broker import calls
from fabric_broker.broker import Broker
from fabric_broker.config import Config
from fabric_broker.home import Home
from fabric_broker.server import EmbeddedServer
server = EmbeddedServer(Home(sys.argv[1]), Config())
sys.stdin.readline()
url = server.up().url
print(json.dumps([url, server.process().pid]), flush=True)
"""


def up_in_another_process(home: Home, program: str = UP) -> subprocess.Popen[str]:
    """A process that runs `up` once it is told to go, in its own session so that it can be ended with its group."""
    return subprocess.Popen(
        [sys.executable, "-c", program, home.path],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def go(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.write("go\n")
    process.stdin.flush()


def test_up_starts_a_server_that_answers_with_the_homes_password_only(home, embedded):
    server = embedded()
    assert not server.alive()
    found = server.up()
    assert server.alive()
    with connect(found) as client:
        check(client)
        assert client.config_get("appendonly") == {"appendonly": "yes"}
        assert client.config_get("appendfsync") == {"appendfsync": "everysec"}
        assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
    with pytest.raises(Exception, match="refused the password"), connect(Server(found.url)) as client:
        check(client)
    assert servers_of(home) == [process_of(server).pid]


def test_up_again_finds_the_same_server(home, embedded):
    first = embedded().up()
    pid = process_of(embedded()).pid
    put(first, "key", "value")
    assert embedded().up() == first
    assert process_of(embedded()).pid == pid
    assert get(embedded().up(), "key") == b"value"


def test_down_then_up_keeps_the_data(home, embedded):
    server = embedded()
    put(server.up(), "key", "value")
    process = process_of(server)
    assert server.down()
    assert not process.alive()
    assert not server.alive()
    assert not home.server_lock.exists()
    assert get(server.up(), "key") == b"value"


def test_down_is_idempotent_and_makes_nothing(tmp_path, embedded, home):
    assert not embedded().down()
    nowhere = Home(tmp_path / "nowhere")
    assert not embedded(nowhere).down()
    assert not nowhere.path.exists()


def test_a_killed_server_is_started_again_with_what_it_had_acknowledged(home, embedded):
    server = embedded()
    found = server.up()
    put(found, "key", "value")
    process = process_of(server)
    assert process.send(signal.SIGKILL)
    assert process.wait(20)
    assert not server.alive()
    assert server.process() is None
    assert get(server.up(), "key") == b"value"
    assert process_of(server) != process


def test_two_ups_at_once_in_two_processes_start_one_server(home, embedded):
    embedded()  # for its clean-up
    racers = [up_in_another_process(home) for _ in range(3)]
    for racer in racers:
        go(racer)
    told = {racer.communicate(timeout=60)[0] for racer in racers}
    assert [racer.returncode for racer in racers] == [0, 0, 0]
    assert len(told) == 1
    assert servers_of(home) == [json.loads(told.pop())[1]]


def test_the_server_survives_the_process_that_started_it_and_its_whole_group(home, embedded):
    starter = up_in_another_process(home, UP + "sys.stdin.read()\n")
    go(starter)
    assert starter.stdout is not None
    url, pid = json.loads(starter.stdout.readline())
    os.killpg(starter.pid, signal.SIGKILL)
    starter.communicate(timeout=20)
    server = embedded()
    assert server.alive()
    assert server.up().url == url
    assert os.getpgid(pid) == os.getsid(pid) != starter.pid


# Dies as soon as the server runs, before its pid is written down: the lock still names the dead starter.
UP_AND_DIE = UP.replace(
    "server = ",
    "import os, signal\n"
    "EmbeddedServer._write_lock = lambda self, pid: os.kill(os.getpid(), signal.SIGKILL)\n"
    "server = ",
)


def test_a_server_whose_starter_was_killed_half_way_is_found_not_doubled(home, embedded):
    starter = up_in_another_process(home, UP_AND_DIE)
    go(starter)
    starter.communicate(timeout=60)
    assert starter.returncode == -signal.SIGKILL
    (pid,) = servers_of(home)
    server = embedded()
    server.up()
    assert servers_of(home) == [pid]
    assert process_of(server).pid == pid
    assert server.down()
    assert servers_of(home) == []


def test_down_also_stops_a_server_that_nobody_wrote_down(home, embedded):
    server = embedded()
    server.up()
    home.server_lock.unlink()
    assert server.down()
    assert servers_of(home) == []


def test_a_stale_lock_of_a_dead_process_or_an_earlier_boot_is_taken_over(home, embedded):
    server = embedded()
    current = UpLock.of(ProcessId.current(), server.run_dir)
    for stale in (
        replace(current, pid=2**22 + 1),
        replace(current, start=1),
        replace(current, boot_id="old"),
    ):
        stale.write(home.server_lock)
        server.up()
        lock = UpLock.read(home.server_lock)
        assert lock is not None
        assert lock.alive()
        assert lock.pid == process_of(server).pid
        server.down()


def test_another_hosts_lock_is_respected_until_it_is_taken_over(home, embedded):
    server = embedded()
    elsewhere = replace(UpLock.of(ProcessId.current(), Path("/their/data")), host="node-17")
    elsewhere.write(home.server_lock)
    for act in (server.up, server.down):
        with pytest.raises(LockedError, match=r"node-17.*/their/data.*--take-over"):
            act()
    assert UpLock.read(home.server_lock) == elsewhere
    assert servers_of(home) == []
    server.up(take_over=True)
    lock = UpLock.read(home.server_lock)
    assert lock is not None
    assert not lock.is_elsewhere()


def test_a_lock_that_cannot_be_read_needs_take_over_too(home, embedded):
    home.server_lock.write_text("{")
    with pytest.raises(LockedError, match="remove that file"):
        embedded().up()
    embedded().up(take_over=True)
    assert embedded().alive()


def test_take_over_does_not_double_a_server_that_runs_here(home, embedded):
    server = embedded()
    server.up()
    pid = process_of(server).pid
    replace(UpLock.of(ProcessId.current(), server.run_dir), host="node-17").write(home.server_lock)
    server.up(take_over=True)
    assert servers_of(home) == [pid]


def test_the_password_is_in_no_command_line_no_public_file_and_no_repr(home, embedded):
    server = embedded()
    found = server.up(bind="127.0.0.1")
    password = home.password_file.read_text().strip()
    assert found.password == password
    pid = process_of(server).pid
    shown = [Path(f"/proc/{pid}/{name}").read_text(errors="replace") for name in ("cmdline", "environ")]
    shown += [repr(found), str(found), repr(server.config), home.server_file.read_text()]
    shown += [home.redis_log.read_text(), home.server_lock.read_text()]
    assert all(password not in text for text in shown)
    holding = {
        path
        for path in home.path.rglob("*")
        if path.is_file() and password in path.read_text(errors="replace")
    }
    assert holding == {home.password_file, server.run_dir / "redis.conf"}
    assert {path.stat().st_mode & 0o777 for path in holding} == {0o600}
    assert server.run_dir.stat().st_mode & 0o777 == 0o700


def test_a_password_open_to_the_group_is_refused_before_anything_starts(home, embedded):
    home.password_file.chmod(0o640)
    with pytest.raises(KeyFileError, match="chmod 600"):
        embedded().up()
    assert servers_of(home) == []


def test_the_servers_environment_names_the_home_and_no_job(home, embedded, monkeypatch):
    # The keeper of a job ends all that carries the job's tag; a server started within a job outlives it.
    monkeypatch.setenv("FABRIC_JOB", "i1.0")
    monkeypatch.setenv("FABRIC_JOB_TAG", "tag")
    embedded().up()
    environment = Path(f"/proc/{process_of(embedded()).pid}/environ").read_text().split("\0")
    assert {word for word in environment if word.startswith("FABRIC_")} == {f"FABRIC_HOME={home.path}"}

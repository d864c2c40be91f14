"""Processes told apart by start time, the record of who is the server, and locks that end with their holder."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from fabric_broker.errors import HomeError, LockedError
from fabric_broker.lock import ProcessId, UpLock, boot_id, exclusive, take_flock, write_json

SLEEP = "import sys; print('ready', flush=True); sys.stdin.read()"


@contextmanager
def child(
    program: str = SLEEP, *arguments: object, argv0: str = sys.executable
) -> Iterator[subprocess.Popen[str]]:
    """A process that says it is ready and then waits; ended and reaped here."""
    process = subprocess.Popen(
        [argv0, "-c", program, *map(str, arguments)],
        executable=sys.executable,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        yield process
    finally:
        process.kill()
        process.communicate(timeout=20)


def test_a_running_process_is_alive_and_a_reaped_one_is_not():
    with child() as process:
        known = ProcessId.of(process.pid)
        assert known is not None
        assert known.alive()
        assert not known.wait(0)
    assert not known.alive()
    assert known.wait(0)
    assert ProcessId.of(process.pid) is None


def test_a_zombie_is_dead():
    with child() as process:
        known = ProcessId.of(process.pid)
        assert known is not None
        process.kill()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        assert Path(f"/proc/{process.pid}").exists(), "it is a zombie still"
        assert not known.alive()
        assert known.wait(0)
        assert ProcessId.of(process.pid) is None


def test_a_later_process_with_the_same_pid_is_another_and_gets_no_signal():
    with child() as process:
        known = ProcessId.of(process.pid)
        assert known is not None
        earlier = replace(known, start=known.start - 1)
        assert not earlier.alive()
        assert not earlier.send(signal.SIGKILL)
        assert known.alive()
        assert known.send(signal.SIGKILL)
        assert known.wait(20)
        assert not known.send(signal.SIGKILL)


def test_a_program_name_with_blanks_and_parentheses_does_not_confuse():
    program = "import ctypes; ctypes.CDLL(None).prctl(15, b'a) Z 1 (b', 0, 0, 0)\n" + SLEEP
    with child(program) as process:
        assert "a) Z 1 (b" in Path(f"/proc/{process.pid}/stat").read_text()
        known = ProcessId.of(process.pid)
        assert known is not None
        assert known.alive()


def test_a_frozen_process_is_alive():
    with child() as process:
        known = ProcessId.of(process.pid)
        process.send_signal(signal.SIGSTOP)
        assert known is not None
        assert known.alive()


def test_the_current_process_is_itself():
    assert ProcessId.current() == ProcessId.of(os.getpid())


@pytest.fixture
def lock(tmp_path: Path) -> UpLock:
    return UpLock.of(ProcessId.current(), tmp_path / "run")


def test_a_lock_is_read_as_it_was_written(lock, tmp_path):
    lock.write(tmp_path / "l")
    assert UpLock.read(tmp_path / "l") == lock
    assert (lock.host, lock.boot_id, lock.pid) == (socket.gethostname(), boot_id(), os.getpid())
    assert lock.alive()
    assert not lock.is_elsewhere()
    assert UpLock.read(tmp_path / "none") is None


def test_a_lock_of_another_boot_or_of_a_dead_process_is_stale_and_one_of_another_host_is_not_ours(lock):
    for stale in (replace(lock, boot_id="another"), replace(lock, start=1), replace(lock, pid=2**22 + 1)):
        assert not stale.alive()
        assert not stale.is_elsewhere()
    elsewhere = replace(lock, host="another")
    assert elsewhere.is_elsewhere()
    assert not elsewhere.alive()


@pytest.mark.parametrize("written", ["", "{", "[]", "{}", '{"host": "x"}', '"text"'])
def test_a_lock_that_cannot_be_read_is_not_taken_for_none(tmp_path, written):
    (tmp_path / "l").write_text(written)
    with pytest.raises(LockedError, match="remove that file"):
        UpLock.read(tmp_path / "l")


def test_a_record_is_replaced_whole_or_not_at_all(tmp_path):
    path = tmp_path / "r"
    write_json(path, {"a": 1})
    with pytest.raises(TypeError):
        write_json(path, {"a": object()})
    assert path.read_text() == '{"a": 1}\n'
    assert [each.name for each in tmp_path.iterdir()] == ["r"]


def test_a_record_that_cannot_be_written_is_a_home_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(HomeError, match="cannot write"):
        write_json(tmp_path / "file" / "r", {})
    with pytest.raises(HomeError, match="cannot lock"), exclusive(tmp_path / "file" / "l", 0):
        pass


HOLD = f"""
import sys, pathlib
from fabric_broker.lock import exclusive
with exclusive(pathlib.Path(sys.argv[1]), 0):
    exec({SLEEP!r})
"""


def test_a_lock_excludes_other_processes_until_its_holder_is_killed(tmp_path):
    path = tmp_path / "l"
    with child(HOLD, path) as holder:
        begun = time.monotonic()
        with pytest.raises(LockedError, match=str(tmp_path)), exclusive(path, 0.1):
            pass
        assert time.monotonic() - begun >= 0.1, "it waited"
        holder.kill()
        holder.wait(timeout=20)
        with exclusive(path, 20):
            pass


def test_a_lock_lives_as_long_as_any_copy_of_its_descriptor(tmp_path):
    path = tmp_path / "l"
    descriptor = take_flock(path)
    assert descriptor is not None
    heir = subprocess.Popen(
        [sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE, pass_fds=[descriptor]
    )
    os.close(descriptor)
    assert take_flock(path) is None
    heir.communicate(timeout=20)
    descriptor = take_flock(path)
    assert descriptor is not None
    os.close(descriptor)

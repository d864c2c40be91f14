"""Homes whose jobs end with the test, a stand-in for the agent, and waiting for what takes its time."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

# rq reads its key prefix when it is imported: here is before the first test that does so.
os.environ["RQ_KEY_PREFIX"] = "fabric-rq:{default}"

from fabric_broker.home import Home
from fabric_broker.lock import ProcessId
from fabric_submitter.processes import job_processes

PATIENCE_S = 30.0


def wait_for(condition: Callable[[], object], what: str = "", timeout: float = PATIENCE_S) -> None:
    """Wait until a condition holds."""
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, f"waited {timeout:.0f} s in vain: {what or condition}"
        time.sleep(0.02)


@pytest.fixture
def jobs_home(home: Home) -> Iterator[Home]:
    """A home; whatever carries one of its jobs is killed after the test."""
    yield home
    for _ in range(100):
        left = list(job_processes(home))
        for each in left:
            each.process.send(signal.SIGKILL)
        if not left:
            return
        time.sleep(0.02)
    raise AssertionError(f"{left} cannot be killed")


@pytest.fixture
def fake_agent(tmp_path: Path) -> str:
    """Path of a program that takes the agent's arguments."""
    path = tmp_path / "fake-python"
    script = Path(__file__).with_name("fake_agent.py")
    path.write_text(f'#!/bin/sh\nexec {sys.executable} {script} "$@"\n')
    path.chmod(0o700)
    return str(path)


def dead(process: ProcessId | None) -> bool:
    """Whether a process is gone; a zombie is."""
    return process is None or not process.alive()

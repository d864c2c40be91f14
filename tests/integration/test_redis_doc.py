"""docs/redis.md: every line that it tells to type is typed, and shows what it says."""

from __future__ import annotations

import re
import shlex
import subprocess
from pathlib import Path

import pytest
from redis import Redis
from tests.redis_process import RedisProcess

from fabric_broker import calls
from fabric_broker.broker import Broker
from fabric_broker.journal import Batch
from fabric_broker.records import SCHEMA, Holder, Pointer, RunSettings

DOC = Path(__file__).parents[2] / "docs" / "redis.md"
RUN, JOB, NONCE = "r1abcdefg", "i1abcdefghi.0", "00c0ffee00c0ffee"


@pytest.fixture
def fabric(redis: Redis) -> Broker:
    """One run: a learner done, one leased, one failed, one queued."""
    broker = Broker(redis, "default")
    redis.hset(broker.keys.meta, "schema", SCHEMA)
    broker.do(calls.define_pool("local", spec={"slots": 1}, kind="local", limit=2, slots=1, ttl=30.0))
    settings = RunSettings(RUN, "sweep", "local", "/store", "npoints >= 100")
    broker.do(calls.define_run(settings, b"signed"))
    learners = [(f"a=0.{i + 1}", b"signed") for i in range(4)]
    broker.do(calls.add(RUN, 0, learners, last=True))
    redis.hset(broker.keys.job(JOB), mapping={"pool": "local", "state": "submitting"})
    broker.do(calls.claim(JOB, nonce=NONCE, restart=0, node="n1", pid=1))
    holder = Holder(JOB, NONCE, 0)

    def lease(request: str) -> tuple[str, int]:
        (lease,) = broker.do(calls.acquire(JOB, NONCE, request=request, slots=[0], ttl=30.0)).leases
        return lease.learner, lease.token

    done, token = lease("q1")
    broker.do(calls.commit(holder, done, Pointer(token, 1, 100, 2048, "ab"), npoints=100, loss=0.25))
    broker.do(calls.complete(holder, done, token, npoints=100, loss=0.25))
    leased, token = lease("q2")
    broker.do(calls.journal(holder, leased, Batch(token, 1, 12, b"signed"), points=12))
    failed, token = lease("q3")
    redis.hset(broker.keys.run(RUN), "attempts", 1)
    problem = {"type": "ZeroDivisionError", "text": "float division by zero", "point": "0.0", "node": "n1"}
    broker.do(calls.fail(holder, failed, token, problem))
    redis.hset(broker.keys.run(RUN), "attempts", 3)
    return broker


def sessions() -> list[tuple[str, str]]:
    """(command line, what the document says it shows), in order."""
    found = []
    for block in re.findall(r"```console\n(.*?)```", DOC.read_text(encoding="utf-8"), re.DOTALL):
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, _, shown = part.partition("\n")
            found.append((command, shown))
    return found


def without_times(text: str) -> str:
    """Times and tokens differ from run to run."""
    return re.sub(r"\b\d{13}\b(-\d)?", "<time>", text)


def test_each_line_of_the_document_shows_what_it_says(fabric: Broker, redis_process: RedisProcess) -> None:
    lines = sessions()
    assert len(lines) >= 15
    for command, shown in lines:
        program, *arguments = shlex.split(command)
        assert program == "redis-cli"
        typed = [
            str(redis_process.program.path.with_name("redis-cli")),
            "-s",
            str(redis_process.socket),
            "--no-raw",
            *arguments,
        ]
        answer = subprocess.run(typed, capture_output=True, text=True, timeout=10, check=True)
        assert without_times(answer.stdout) == without_times(shown), command

"""An agent that cannot work ends its job in the fabric, and no other copy's."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
import redis as redis_py
from tests.redis_process import RedisProcess

from fabric_broker import calls, reads
from fabric_broker.broker import Broker
from fabric_broker.home import Home
from fabric_broker.records import JobRecord, Outcome
from fabric_jobs.failing import REASON_CHARS, end_unable

JOB = "i1.0"


@pytest.fixture
def broker(redis: redis_py.Redis) -> Broker:
    broker = Broker(redis, "default")
    broker.do(calls.define_pool("p", spec={}, kind="local", limit=1, slots=1, ttl=30.0))
    redis.hset(broker.keys.job(JOB), mapping={"pool": "p", "state": "pending"})
    redis.zadd(broker.keys.jobs, {JOB: 1})
    return broker


@pytest.fixture
def env(redis_process: RedisProcess) -> Mapping[str, str]:
    return {"FABRIC_URL": redis_process.url}


def record(broker: Broker) -> JobRecord:
    (found,) = reads.job_records(broker)
    return found


def test_the_job_ends_with_the_reason_and_the_node(
    home: Home, broker: Broker, env: Mapping[str, str]
) -> None:
    env = {**env, "SLURMD_NODENAME": "n7"}
    assert end_unable(home, JOB, env, "its key cannot be read " + "x" * 999) == "the fabric was told"
    ended = record(broker)
    assert (ended.state, ended.node) == ("ended", "n7")
    assert ended.reason is not None
    assert ended.reason.startswith("its agent cannot work on n7: its key cannot be read")
    assert len(ended.reason) == REASON_CHARS


def test_a_copy_that_works_is_left_alone(home: Home, broker: Broker, env: Mapping[str, str]) -> None:
    broker.do(calls.claim(JOB, nonce="works", restart=0, node="n1", pid=1))
    assert "another copy" in end_unable(home, JOB, env, "no key")
    assert record(broker).state == "running"
    note = calls.note_job(JOB, "works", "cannot import on n1: m")
    assert broker.do(calls.note_job(JOB, "other", "no")) is Outcome.FENCED
    assert record(broker).reason is None
    assert broker.do(note) is Outcome.OK
    assert record(broker).reason == "cannot import on n1: m"
    broker.do(calls.end_job(JOB, "works", "idle"))
    assert broker.do(note) is Outcome.FENCED
    assert record(broker).reason == "idle"


def test_a_fabric_that_cannot_be_told_is_no_further_error(home: Home) -> None:
    told = end_unable(home, JOB, {"FABRIC_URL": "redis://127.0.0.1:1"}, "no key")
    assert told.startswith("the fabric cannot be told: ")
    assert end_unable(home, JOB, {}, "no key").startswith(
        "the fabric cannot be told: no Redis server is named"
    )

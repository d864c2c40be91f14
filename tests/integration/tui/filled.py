"""Fills a Redis through the broker's calls with a fabric in which a bit of everything has happened."""

from __future__ import annotations

import base64
import math
import zlib
from typing import Any

from fabric_broker import calls
from fabric_broker.broker import Broker
from fabric_broker.control_plane import rq_prefix
from fabric_broker.events import log_fields
from fabric_broker.journal import Batch
from fabric_broker.records import Holder, Lease, Pointer, RunSettings

TTL = 30.0
NONCE = "0123456789abcdef"


def broker_of(redis: Any, name: str = "default") -> Broker:
    return Broker(redis, name)


def now_ms(broker: Broker) -> int:
    """The broker's clock: that of the test, if it has one, else Redis TIME."""
    return int(broker.redis.get("test:clock") or broker.redis.time()[0] * 1000)


def add_run(
    broker: Broker, run: str, learners: int, *, name: str = "sweep", pool: str = "local", **more: Any
) -> None:
    """A pool, if it is not there yet, and a run of that many learners."""
    if not broker.redis.exists(broker.keys.pool(pool)):
        broker.do(calls.define_pool(pool, spec={"slots": 4}, kind="local", limit=2, slots=4, ttl=TTL))
    settings = RunSettings(run, name, pool, "/store", "loss <= 0.01", **more)
    assert broker.do(calls.define_run(settings, b"signed")) == "ok"
    for first in range(0, learners, 400):
        page = [(f"{name}-{first + i}", None) for i in range(min(400, learners - first))]
        broker.do(calls.add(run, first, page, last=first + 400 >= learners))


def add_job(broker: Broker, job: str, *, pool: str = "local", node: str = "n1", **fields: str) -> None:
    """A job that runs."""
    record = {"pool": pool, "state": "submitting", "slots": "4", "intent": job.partition(".")[0]}
    broker.redis.hset(broker.keys.job(job), mapping=record | fields)
    broker.redis.zadd(broker.keys.jobs, {job: now_ms(broker)})
    broker.do(
        calls.claim(
            job,
            nonce=NONCE,
            restart=0,
            node=node,
            pid=7,
            scheduler_id=str(1000 + zlib.crc32(job.encode()) % 9000),
        )
    )


def lease(broker: Broker, job: str, slot: int) -> Lease:
    """The next queued learner."""
    call = calls.acquire(
        job, NONCE, request=f"q{slot}-{broker.redis.incr('test:requests')}", slots=[slot], ttl=TTL
    )
    (granted,) = broker.do(call).leases
    return granted


def advance(broker: Broker, job: str, lease: Lease, points: int, loss: float, seq: int) -> None:
    """Some points, journaled."""
    holder = Holder(job, NONCE, lease.slot)
    batch = Batch(lease.token, seq + 1, seq + points, b"x" * 40)
    broker.do(calls.journal(holder, lease.learner, batch, points=points, loss=loss))


def finish(broker: Broker, job: str, lease: Lease, points: int, loss: float = 0.009) -> None:
    """To the goal."""
    holder = Holder(job, NONCE, lease.slot)
    advance(broker, job, lease, points, loss, lease.seq)
    pointer = Pointer(lease.token, 1, lease.seq + points, 4200, "0" * 64)
    broker.do(calls.commit(holder, lease.learner, pointer, npoints=points, loss=loss))
    broker.do(calls.complete(holder, lease.learner, lease.token, npoints=points, loss=loss))


def fail(broker: Broker, job: str, lease: Lease, *, times: int = 1) -> None:
    """Its function raises."""
    holder = Holder(job, NONCE, lease.slot)
    problem = {
        "type": "ValueError",
        "text": "x must not be negative",
        "point": "-0.25",
        "node": "n1",
        "traceback": 'Traceback (most recent call last):\n  File "model.py", line 12, in f\n    return sqrt(x)\n'
        "ValueError: x must not be negative",
    }
    broker.do(calls.fail(holder, lease.learner, lease.token, problem))


def small_fabric(broker: Broker, *, learners: int = 40) -> None:
    """Two runs, two jobs, and learners in every state but waiting."""
    broker.redis.hset(broker.keys.meta, "schema", "1")
    add_run(broker, "rdemo", learners, attempts=1)
    add_run(broker, "rother", 6, name="scan", attempts=3, backoff=3600.0)
    add_job(broker, "i1.0", node="n1")
    add_job(broker, "i2.0", node="n12")
    for n in range(6):
        finish(broker, "i1.0", lease(broker, "i1.0", 0), 20 + n)
    for _ in range(3):
        fail(broker, "i1.0", lease(broker, "i1.0", 1))
    for slot in range(4):
        for job in ("i1.0", "i2.0"):
            held = lease(broker, job, slot)
            seq = 0
            for step in range(1, 6 + slot):
                advance(broker, job, held, 5, 2.0 * math.exp(-0.4 * step), seq)
                seq += 5
    broker.do(calls.act("pause", [f"rdemo.{learners - 1}", f"rdemo.{learners - 2}"]))
    broker.do(calls.act("cancel", [f"rdemo.{learners - 3}"]))
    for text in ("slot 0 ready", "leased rdemo.9", "checkpoint 1 of rdemo.9: 4.2 kB"):
        broker.redis.xadd(broker.keys.log("i1.0"), log_fields("rdemo.9" if "rdemo" in text else None, text))


def lead(broker: Broker, seconds: float = 10**6) -> None:
    """A submitter is alive."""
    now = now_ms(broker)
    told = {
        "nonce": "n",
        "epoch": "1",
        "host": "login1",
        "seen": str(now),
        "until": str(int(now + seconds * 1000)),
    }
    broker.redis.hset(broker.keys.leader, mapping=told)


def add_tasks(broker: Broker) -> None:
    """A control plane with a task of each kind, as RQ writes them."""
    prefix, redis = rq_prefix(broker.keys.name), broker.redis
    redis.sadd(f"{prefix}:queues", f"{prefix}:queue:control")
    redis.rpush(f"{prefix}:queue:control", "t-waiting")
    redis.zadd(f"{prefix}:wip:control", {"t-running:e1": 9e9})
    redis.zadd(f"{prefix}:failed:control", {"t-failed": 9e9})
    for id, status in (("t-waiting", "queued"), ("t-running", "started"), ("t-failed", "failed")):
        fields = {
            "status": status,
            "description": f"submit('{id}')",
            "created_at": "2026-01-31T12:00:00.000000Z",
        }
        redis.hset(f"{prefix}:job:{id}", mapping=fields)
    trace = "Traceback (most recent call last):\nSchedulerError: sbatch: error: invalid partition"
    redis.xadd(f"{prefix}:results:t-failed", {"exc_string": base64.b64encode(zlib.compress(trace.encode()))})

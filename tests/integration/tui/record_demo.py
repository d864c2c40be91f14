"""Writes the recording that snapshots and screenshots are made from: `python -m tests.integration.tui.record_demo F`.

A Redis of its own is filled through the broker's calls; then the app's own source and recorder look at it.
"""

from __future__ import annotations

import math
import random
import sys
from pathlib import Path
from typing import Any

from tests.integration.tui.filled import (
    NONCE,
    TTL,
    add_job,
    add_run,
    add_tasks,
    fail,
    finish,
    lead,
    lease,
    now_ms,
)
from tests.redis_process import RedisProcess

from fabric_broker import calls, watch
from fabric_broker.broker import Broker
from fabric_broker.control_plane import inspect_tasks
from fabric_broker.events import log_fields
from fabric_broker.journal import Batch
from fabric_broker.records import Holder
from fabric_broker.view import decode
from fabric_tui.live import log_text
from fabric_tui.recording import Recorder
from fabric_tui.updates import LogLines, Names, Seen, Snapshot

DETAILS = ("rsweep0.61", "rsweep0.60", "rbands0.0", "rsweep0.100")
"""Learners whose detail is in the recording: one that runs, two that failed, one that is queued."""


CLOCK = "local function read_clock() return tonumber(redis.call('GET', 'test:clock')) end"
BEGAN = 1_769_860_800_000  # ms: the last day of January 2026, noon


def step(broker: Broker, seconds: float) -> None:
    """The clock goes on."""
    broker.redis.incrby("test:clock", int(seconds * 1000))


def fill(broker: Broker) -> None:
    """A sweep that is half done, a second run, three pools, four jobs."""
    chance = random.Random(1)
    broker.redis.set("test:clock", BEGAN)
    broker.redis.hset(broker.keys.meta, "schema", "1")
    broker.do(calls.define_pool("gpu", spec={}, kind="slurm", limit=4, slots=2, ttl=30.0))
    add_run(broker, "rsweep0", 160, name="sweep", attempts=2, backoff=3600.0)
    add_run(broker, "rbands0", 40, name="bands", pool="gpu", attempts=1)
    for job, node, pool in (("i3k.0", "n12", "local"), ("i3k.1", "n13", "local"), ("i7q.0", "gpu2", "gpu")):
        add_job(broker, job, node=node, pool=pool)
    for _ in range(60):
        held = lease(broker, "i3k.0", 0)
        step(broker, chance.uniform(4, 12))
        finish(broker, "i3k.0", held, chance.randrange(90, 240))
    fail(broker, "i3k.1", lease(broker, "i3k.1", 0))
    for _ in range(5):
        step(broker, 20)
        fail(broker, "i7q.0", lease(broker, "i7q.0", 0))
    for slot in range(4):
        for job in ("i3k.0", "i3k.1", "i7q.0")[: 3 if slot < 2 else 2]:
            lease(broker, job, slot)
            step(broker, 0.2)
    broker.do(calls.act("pause", [f"rsweep0.{n}" for n in range(150, 160)]))
    now = now_ms(broker)
    for n, text in enumerate(
        ("slot 0 ready", "leased rsweep0.61", "checkpoint 1 of rsweep0.61: 4.2 kB, 60 points")
    ):
        owner = "rsweep0.61" if "rsweep0" in text else None
        broker.redis.xadd(broker.keys.log("i3k.0"), log_fields(owner, text), id=f"{now + 900 * n}-0")
    pending = {"pool": "gpu", "state": "pending", "slots": "2", "scheduler_id": "4712", "reason": "Resources"}
    broker.redis.hset(broker.keys.job("i7q.1"), mapping=pending)
    broker.redis.zadd(broker.keys.jobs, {"i7q.1": now})
    circuit = {"deaths": "5", "circuit": "sbatch: error: Batch job submission failed: Invalid account"}
    broker.do(calls.define_pool("big", spec={}, kind="slurm", limit=8, slots=2, ttl=30.0))
    broker.redis.hset(broker.keys.pool("big"), mapping=circuit)
    for pool, wanted in (("local", "2"), ("gpu", "2")):
        broker.redis.hset(broker.keys.pool(pool), "wanted", wanted)
    lead(broker)
    add_tasks(broker)


def record(broker: Broker, recorder: Recorder) -> None:
    """Look, let learners get on, look again."""
    head = broker.do(watch.watch(None, count=1000))
    packed = broker.redis.hgetall(broker.keys.view)
    views = {id.decode(): decode(id.decode(), each) for id, each in packed.items()}
    assert head.board is not None
    recorder.note(
        [
            Snapshot(
                head.now,
                "unix:///run/fabric/redis.sock",
                "default",
                views,
                head.board,
                head.events,
                head.last,
            ),
            Names({id: f"{'sweep' if 'sweep' in id else 'bands'}-{id.partition('.')[2]}" for id in views}),
        ]
    )
    held = [id.decode() for id in broker.redis.zrange(broker.keys.leases, 0, -1)]
    last = head.last
    for turn in range(1, 37):
        step(broker, 5)
        for id in held:
            progress(broker, id, turn)
        for job in ("i3k.0", "i3k.1", "i7q.0"):
            holds = [hold_of(broker, id) for id in held if holder_of(broker, id)[0] == job]
            broker.do(calls.renew(job, NONCE, ttl=TTL, holds=holds))
        watched = broker.do(watch.watch(last, count=1000, seen=held))
        last = watched.last
        recorder.note([watched])
    for learner in DETAILS:
        recorder.note([Seen(learner, broker.do(watch.inspect(learner)))])
    rows: Any = broker.redis.xrange(broker.keys.log("i3k.0"))
    recorder.note([LogLines("i3k.0", tuple(log_text(*row) for row in rows), fresh=True)])
    recorder.note([broker.do(inspect_tasks("default"))])


def holder_of(broker: Broker, learner: str) -> tuple[str, int, int]:
    """Job, slot and token."""
    fields = broker.redis.hgetall(broker.keys.learner(learner))
    job, _, slot = fields[b"holder"].decode().split(":")
    return job, int(slot), int(fields[b"token"])


def hold_of(broker: Broker, learner: str) -> calls.Hold:
    """As an agent would renew it."""
    _, slot, token = holder_of(broker, learner)
    return calls.Hold(learner, token, slot)


def progress(broker: Broker, learner: str, turn: int) -> None:
    """Five more points of a learner that runs."""
    job, slot, token = holder_of(broker, learner)
    seq = int(broker.redis.hget(broker.keys.learner(learner), "seq") or 0)
    loss = 2.0 * math.exp(-0.12 * turn) * (1 + 0.2 * math.sin(turn + slot))
    batch = Batch(token, seq + 1, seq + 5, b"x" * 40)
    broker.do(calls.journal(Holder(job, NONCE, slot), learner, batch, points=5, loss=loss))


def main() -> None:
    """Write FILE."""
    process = RedisProcess()
    recorder = Recorder(Path(sys.argv[1]))
    try:
        process.start()
        broker = Broker(process.client(), "default", clock=CLOCK)
        fill(broker)
        record(broker, recorder)
    finally:
        recorder.close()
        process.close()


if __name__ == "__main__":
    main()

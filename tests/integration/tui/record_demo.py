"""Writes the recording that snapshots and screenshots are made from: `python -m tests.integration.tui.record_demo F`.

A Redis of its own is filled through the broker's calls; then the app's own source and recorder look at it.
"""

from __future__ import annotations

import asyncio
import math
import random
import sys
from pathlib import Path

from tests.integration.tui.filled import NONCE, add_job, add_run, add_tasks, fail, finish, lead, lease
from tests.redis_process import RedisProcess

from fabric_broker import calls
from fabric_broker.broker import Broker
from fabric_broker.connection import Server
from fabric_broker.events import log_fields
from fabric_broker.journal import Batch
from fabric_broker.records import Holder
from fabric_tui.asking import Ask
from fabric_tui.live import LiveSource
from fabric_tui.recording import Recorder

DETAILS = ("rsweep0.60", "rsweep0.61", "rsweep0.100")
"""Learners whose detail is in the recording: one that runs, one that failed, one that is queued."""


def fill(broker: Broker) -> None:
    """A sweep that is half done, a second run, two pools, four jobs."""
    chance = random.Random(1)
    broker.redis.hset(broker.keys.meta, "schema", "1")
    broker.do(calls.define_pool("gpu", spec={}, kind="slurm", limit=4, slots=1, ttl=30.0))
    add_run(broker, "rsweep0", 160, name="sweep", attempts=2, backoff=3600.0)
    add_run(broker, "rbands0", 40, name="bands", pool="gpu", attempts=1)
    for job, node, pool in (("i3k.0", "n12", "local"), ("i3k.1", "n13", "local"), ("i7q.0", "gpu2", "gpu")):
        add_job(broker, job, node=node, pool=pool)
    pending = {"pool": "gpu", "state": "pending", "slots": "1", "scheduler_id": "4712", "reason": "Resources"}
    broker.redis.hset(broker.keys.job("i7q.1"), mapping=pending)
    broker.redis.zadd(broker.keys.jobs, {"i7q.1": broker.redis.time()[0] * 1000})
    circuit = {"deaths": "5", "circuit": "sbatch: error: Batch job submission failed: Invalid account"}
    broker.do(calls.define_pool("big", spec={}, kind="slurm", limit=8, slots=2, ttl=30.0))
    broker.redis.hset(broker.keys.pool("big"), mapping=circuit)
    for _ in range(60):
        finish(broker, "i3k.0", lease(broker, "i3k.0", 0), chance.randrange(90, 240))
    for slot in range(4):
        for job in ("i3k.0", "i3k.1"):
            held = lease(broker, job, slot)
            if held.learner == "rsweep0.61":
                fail(broker, job, held)
                broker.do(calls.act("cancel", ["rsweep0.61"]))
                broker.do(calls.act("retry", ["rsweep0.61"]))
    for _ in range(5):
        fail(broker, "i7q.0", lease(broker, "i7q.0", 0))
    lease(broker, "i7q.0", 0)
    broker.do(calls.act("pause", [f"rsweep0.{n}" for n in range(150, 160)]))
    for text in ("slot 0 ready", "leased rsweep0.60", "checkpoint 1 of rsweep0.60: 4.2 kB, 60 points"):
        owner = "rsweep0.60" if "rsweep0" in text else None
        broker.redis.xadd(broker.keys.log("i3k.0"), log_fields(owner, text))
    lead(broker)
    add_tasks(broker)


async def record(url: str, broker: Broker, path: Path) -> None:
    """Look, let learners get on, look again."""
    source, recorder = LiveSource(Server(url), "default"), Recorder(path)
    try:
        recorder.note(await source.snapshot())
        held = [id.decode() for id in broker.redis.zrange(broker.keys.leases, 0, -1)]
        for step in range(1, 25):
            for id in held:
                await asyncio.to_thread(progress, broker, id, step)
            recorder.note(await source.tick(Ask(seen=tuple(held))) or [])
        for learner in DETAILS:
            recorder.note(await source.tick(Ask(learner=learner, log="i3k.0")) or [])
        recorder.note(await source.tick(Ask(control=True)) or [])
    finally:
        await source.close()
        recorder.close()


def progress(broker: Broker, learner: str, step: int) -> None:
    """Five more points of a learner that runs."""
    fields = broker.redis.hgetall(broker.keys.learner(learner))
    job, _, slot = fields[b"holder"].decode().split(":")
    seq, token = int(fields.get(b"seq", 0)), int(fields[b"token"])
    loss = 2.0 * math.exp(-0.18 * step) * (1 + 0.2 * math.sin(step + int(slot)))
    batch = Batch(token, seq + 1, seq + 5, b"x" * 40)
    broker.do(calls.journal(Holder(job, NONCE, int(slot)), learner, batch, points=5, loss=loss))


def main() -> None:
    """Write FILE."""
    process = RedisProcess()
    try:
        process.start()
        broker = Broker(process.client(), "default")
        fill(broker)
        asyncio.run(record(process.url, broker, Path(sys.argv[1])))
    finally:
        process.close()


if __name__ == "__main__":
    main()

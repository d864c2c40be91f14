"""`python -m benchmarks.tui_app N`: fill a fabric with N learners, watch it without a terminal, print what that costs.

$FABRIC_BENCH_URL names the Redis. The filling happens in a child, so that its memory is not counted.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from typing import Any, cast

import psutil

from fabric_broker import calls
from fabric_broker.broker import Broker
from fabric_broker.connection import Server, connect
from fabric_broker.records import RunSettings

RUN = "rbench00"
CHANGES = 1000
TICKS = 5
KEYS = 60
IDLE = 20.0  # s
AN_HOUR = 3_600_000  # ms


@contextlib.contextmanager
def broker_at(url: str, learners: int) -> Iterator[Broker]:
    """A fabric of its own name."""
    with contextlib.closing(connect(Server.parse(url), timeout=60.0)) as redis:
        yield Broker(redis, f"tui-{learners}")


def fill(broker: Broker, learners: int) -> None:
    """All queued, for an hour already: fresh ages would be painted every few seconds."""
    for key in broker.redis.scan_iter(f"{broker.keys.prefix}:*", count=10_000):
        broker.redis.delete(key)
    broker.do(calls.define_pool("local", spec={}, kind="local", limit=0, slots=1, ttl=30.0))
    broker.do(calls.define_run(RunSettings(RUN, "bench", "local", "/nowhere", "never"), b"signed"))
    for first in range(0, learners, calls.PAGE):
        page = [(f"learner-{first + i}", None) for i in range(calls.PAGE)]
        broker.do(calls.add(RUN, first, page, last=first + calls.PAGE >= learners))
    old = cast("dict[bytes, bytes]", broker.redis.hgetall(broker.keys.view))
    broker.redis.hset(broker.keys.view, mapping={id: _older(packed) for id, packed in old.items()})


def _older(packed: bytes) -> bytes:
    rest, _, since = packed.rpartition(b" ")
    return rest + b" %d" % (int(since) - AN_HOUR)


async def watch(url: str, broker: Broker, learners: int) -> dict[str, float]:
    """First paint, idle, ticks, keys, memory."""
    from fabric_tui.app import FabricApp, Options
    from fabric_tui.live import LiveSource

    process, began = psutil.Process(), time.perf_counter()
    app = FabricApp(lambda: LiveSource(Server.parse(url), broker.keys.name, timeout=60.0), Options())
    painted: asyncio.Future[float] = asyncio.get_running_loop().create_future()
    deliver = app.feed._deliver

    def first(updates: Sequence[Any]) -> None:
        deliver(updates)
        app.feed._deliver = deliver
        app.call_after_refresh(lambda: painted.set_result(time.perf_counter() - began))

    app.feed._deliver = first
    async with app.run_test(size=(140, 40)):
        first_paint = await painted
        app.action_screen("learners")
        while app.model.nameless(1) or app.model.events.may_grow_back:  # noqa: ASYNC110
            await asyncio.sleep(0.2)
        await asyncio.sleep(17)  # until it takes its time between two looks
        spent, at = process.cpu_times(), time.perf_counter()
        await asyncio.sleep(IDLE)
        now = process.cpu_times()
        idle = (now.user + now.system - spent.user - spent.system) / (time.perf_counter() - at)
        ticks, keys = await _busy(app, broker)
        return {
            "first_paint_ms": first_paint * 1e3,
            "idle_cpu": idle * 100,
            "tick_ms": sorted(ticks)[len(ticks) // 2] * 1e3,
            "key_p95_ms": sorted(keys)[int(len(keys) * 0.95)] * 1e3,
            "rss_mb": process.memory_info().rss / 1e6,
        }


async def _busy(app: Any, broker: Broker) -> tuple[list[float], list[float]]:
    """CPU time of the UI thread from a thousand changes that were read to their frame; then how long keys take."""
    spent: list[float] = []
    deliver = app.feed._deliver

    def timed(updates: Sequence[Any]) -> None:
        began = time.thread_time()
        deliver(updates)
        app.call_after_refresh(lambda: spent.append(time.thread_time() - began))

    app.feed._deliver = timed
    ticks: list[float] = []
    for number in range(TICKS):
        await asyncio.sleep(1.5)
        spent.clear()
        await asyncio.to_thread(_change, broker, number)
        while app.model.counts["paused"] != (0 if number % 2 else CHANGES):  # noqa: ASYNC110
            await asyncio.sleep(0.05)
        await asyncio.sleep(0.2)
        ticks.append(sum(spent))
    going = asyncio.create_task(_keep_changing(broker))
    keys = [await _echo(app, "j" if number % 20 < 15 else "k") for number in range(KEYS)]
    going.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await going
    return ticks, keys


async def _keep_changing(broker: Broker) -> None:
    for number in range(TICKS % 2, 1000):
        await asyncio.to_thread(_change, broker, number)
        await asyncio.sleep(1.0)


def _change(broker: Broker, number: int) -> None:
    verb = "resume" if number % 2 else "pause"
    for first in range(0, CHANGES, calls.PAGE):
        broker.do(calls.act(verb, [f"{RUN}.{first + i}" for i in range(calls.PAGE)]))  # type: ignore[arg-type]


async def _echo(app: Any, key: str) -> float:
    """Seconds from a key to the frame that shows what it did."""
    from textual import events

    grid = app.learners.grid
    await asyncio.sleep(0.05)
    before, began = grid.cursor, time.perf_counter()
    app.post_message(events.Key(key, key))
    while grid.cursor == before:
        await asyncio.sleep(0.001)
        assert time.perf_counter() - began < 10
    painted: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    app.call_after_refresh(lambda: painted.set_result(None))
    await painted
    return time.perf_counter() - began


def main() -> None:
    """Fill, watch, print one JSON object."""
    url, learners = os.environ["FABRIC_BENCH_URL"], int(sys.argv[1])
    with broker_at(url, learners) as broker:
        if sys.argv[2:] == ["fill"]:
            fill(broker, learners)
            return
        subprocess.run(
            [sys.executable, "-m", "benchmarks.tui_app", str(learners), "fill"], check=True, timeout=200
        )
        print(json.dumps(asyncio.run(watch(url, broker, learners))))


if __name__ == "__main__":
    main()

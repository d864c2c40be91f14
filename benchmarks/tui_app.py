"""`python -m benchmarks.tui_app N fill`: make a fabric of N learners. Without `fill`: watch it without a terminal, and
print what that costs.

$FABRIC_BENCH_URL names the Redis.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
import time
from collections.abc import Iterator, Sequence
from typing import Any, cast

from fabric_broker import calls
from fabric_broker.broker import Broker
from fabric_broker.connection import Server, connect
from fabric_broker.records import RunSettings

RUN = "rbench00"
CHANGES = 1000
TICKS = 5
KEYS = 60
AN_HOUR = 3_600_000  # ms


@contextlib.contextmanager
def broker_at(url: str, learners: int) -> Iterator[Broker]:
    """A fabric of its own name."""
    with contextlib.closing(connect(Server.parse(url), timeout=60.0)) as redis:
        yield Broker(redis, name_of(learners))


def name_of(learners: int) -> str:
    """The fabric of so many learners."""
    return f"tui-{learners}"


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


async def watch(url: str, broker: Broker) -> dict[str, float]:
    """First paint, then ticks and keys on the screen of the learners."""
    from fabric_tui.app import FabricApp, Options
    from fabric_tui.cli import collect_rarely
    from fabric_tui.live import LiveSource

    collect_rarely()
    began, spent = time.perf_counter(), time.thread_time()
    app = FabricApp(lambda: LiveSource(Server.parse(url), broker.keys.name, timeout=60.0), Options())
    painted: asyncio.Future[tuple[float, float]] = asyncio.get_running_loop().create_future()
    deliver = app.feed._deliver

    def at_first(updates: Sequence[Any]) -> None:
        deliver(updates)
        app.feed._deliver = deliver
        app.call_after_refresh(
            lambda: painted.set_result((time.perf_counter() - began, time.thread_time() - spent))
        )

    app.feed._deliver = at_first
    async with app.run_test(size=(140, 40)):
        first_paint, first_cpu = await painted
        app.action_screen("learners")
        while app.model.nameless(1) or app.model.events.may_grow_back:  # noqa: ASYNC110
            await asyncio.sleep(0.2)
        ticks = await _ticks(app, broker)
        keys = await _keys(app, broker)
        return {
            "first_paint_ms": first_paint * 1e3,
            "first_cpu_ms": first_cpu * 1e3,
            "tick_ms": sorted(ticks)[len(ticks) // 2] * 1e3,
            "key_p95_ms": sorted(each for each, _ in keys)[int(len(keys) * 0.95)] * 1e3,
            "key_cpu_ms": sorted(cpu for _, cpu in keys)[len(keys) // 2] * 1e3,
        }


async def _ticks(app: Any, broker: Broker) -> list[float]:
    """CPU time of the UI thread for a thousand changes: to ask, to read the answer, to take it in, to paint."""
    spent: list[float] = []
    began = 0.0
    source, deliver = app.feed._source, app.feed._deliver
    tick = source.tick

    async def timed_tick(ask: Any) -> Any:
        nonlocal began
        began = time.thread_time()
        return await tick(ask)

    def timed(updates: Sequence[Any]) -> None:
        deliver(updates)
        app.call_after_refresh(lambda: spent.append(time.thread_time() - began))

    source.tick, app.feed._deliver = timed_tick, timed
    ticks: list[float] = []
    for number in range(TICKS):
        await asyncio.sleep(1.5)
        spent.clear()
        await asyncio.to_thread(_change, broker, number)
        while app.model.counts["paused"] != (0 if number % 2 else CHANGES):  # noqa: ASYNC110
            await asyncio.sleep(0.05)
        await asyncio.sleep(0.2)
        ticks.append(sum(spent))
    source.tick, app.feed._deliver = tick, deliver
    return ticks


async def _keys(app: Any, broker: Broker) -> list[tuple[float, float]]:
    """Seconds from a key to the frame that shows what it did, and CPU seconds of the UI thread; during ticks."""
    going = asyncio.create_task(_keep_changing(broker))
    keys = [await _echo(app, "j" if number % 20 < 15 else "k") for number in range(KEYS)]
    going.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await going
    return keys


async def _keep_changing(broker: Broker) -> None:
    for number in range(TICKS % 2, 1000):
        await asyncio.to_thread(_change, broker, number)
        await asyncio.sleep(1.0)


def _change(broker: Broker, number: int) -> None:
    verb = "resume" if number % 2 else "pause"
    for first in range(0, CHANGES, calls.PAGE):
        broker.do(calls.act(verb, [f"{RUN}.{first + i}" for i in range(calls.PAGE)]))  # type: ignore[arg-type]


async def _echo(app: Any, key: str) -> tuple[float, float]:
    from textual import events

    grid = app.learners.grid
    await asyncio.sleep(0.05)
    before, began, spent = grid.cursor, time.perf_counter(), time.thread_time()
    app.post_message(events.Key(key, key))
    while grid.cursor == before:
        await asyncio.sleep(0.001)
        assert time.perf_counter() - began < 10
    painted: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    app.call_after_refresh(lambda: painted.set_result(None))
    await painted
    return time.perf_counter() - began, time.thread_time() - spent


def main() -> None:
    """Fill, or watch and print one JSON object."""
    url, learners = os.environ["FABRIC_BENCH_URL"], int(sys.argv[1])
    with broker_at(url, learners) as broker:
        if sys.argv[2:] == ["fill"]:
            fill(broker, learners)
        else:
            print(json.dumps(asyncio.run(watch(url, broker))))


if __name__ == "__main__":
    main()

"""`python -m benchmarks.tui_app N fill`: make a fabric of N learners. Without `fill`: watch it without a terminal, and
print what that costs.

$FABRIC_BENCH_URL names the Redis.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, cast

from benchmarks.unit import Unit, unit
from fabric_broker import calls
from fabric_broker.broker import Broker
from fabric_broker.connection import Server, connect
from fabric_broker.records import RunSettings

RUN = "rbench00"
CHANGES = 1000
TICKS = 5
KEYS = 60
PATIENCE = 120.0  # s
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
    """All queued, each with points and a loss of its own, for an hour already: fresh ages would be painted every
    few seconds.
    """
    for key in broker.redis.scan_iter(f"{broker.keys.prefix}:*", count=10_000):
        broker.redis.delete(key)
    broker.do(calls.define_pool("local", spec={}, kind="local", limit=0, slots=1, ttl=30.0))
    broker.do(calls.define_run(RunSettings(RUN, "bench", "local", "/nowhere", "never"), b"signed"))
    for first in range(0, learners, calls.PAGE):
        page = [(f"learner-{first + i}", None) for i in range(calls.PAGE)]
        broker.do(calls.add(RUN, first, page, last=first + calls.PAGE >= learners))
    old = cast("dict[bytes, bytes]", broker.redis.hgetall(broker.keys.view))
    broker.redis.hset(
        broker.keys.view, mapping={id: _older(n, packed) for n, (id, packed) in enumerate(old.items(), 1)}
    )


def _older(n: int, packed: bytes) -> bytes:
    state, run, pool, priority, _points, _loss, *rest, since = packed.split(b" ")
    told = [state, run, pool, priority, b"%d" % (n % 997), b"%.6g" % (1 / n), *rest]
    return b" ".join([*told, b"%d" % (int(since) - AN_HOUR)])


async def watch(url: str, broker: Broker) -> dict[str, float]:
    """First paint, then ticks and keys on the screen of the learners, each in milliseconds and in units."""
    from fabric_tui.app import FabricApp, Options
    from fabric_tui.cli import collect_rarely
    from fabric_tui.live import LiveSource

    collect_rarely()
    units = [unit() for _ in range(3)]
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
        whole = await _until(lambda: len(app.model.learners) == app.model.counts.total(), began)
        units += [unit() for _ in range(3)]
        wall = statistics.median(each.wall for each in units)
        app.action_screen("learners")
        await _until(lambda: not app.model.nameless(1) and not app.model.events.may_grow_back, began)
        ticks = await _ticks(app, broker)
        keys = await _keys(app, broker)
        return {
            "unit_ms": wall * 1e3,
            "unit_cpu_ms": statistics.median(each.cpu for each in units) * 1e3,
            "first_paint_ms": first_paint * 1e3,
            "first_paint_units": first_paint / wall,
            "first_cpu_ms": first_cpu * 1e3,
            "whole_ms": whole * 1e3,
            "tick_ms": statistics.median(cpu for cpu, _ in ticks) * 1e3,
            "tick_units": statistics.median(cpu / one.cpu for cpu, one in ticks),
            "key_p95_ms": _p95([wall for wall, _, _ in keys]) * 1e3,
            "key_p95_units": _p95([wall / one.wall for wall, _, one in keys]),
            "key_cpu_ms": statistics.median(cpu for _, cpu, _ in keys) * 1e3,
        }


def _p95(values: Sequence[float]) -> float:
    return sorted(values)[int(len(values) * 0.95)]


async def _until(condition: Callable[[], bool], began: float) -> float:
    """Wait for it; the seconds since ``began``."""
    while not condition():
        await asyncio.sleep(0.01)
        assert time.perf_counter() - began < PATIENCE
    return time.perf_counter() - began


async def _ticks(app: Any, broker: Broker) -> list[tuple[float, Unit]]:
    """CPU time of the UI thread for a thousand changes: to ask, to read the answer, to take it in, to paint.

    With each, the fixed work load just afterwards.
    """
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
    ticks: list[tuple[float, Unit]] = []
    for number in range(TICKS):
        await asyncio.sleep(1.5)
        spent.clear()
        await asyncio.to_thread(_change, broker, number)
        paused = 0 if number % 2 else CHANGES
        await _until(lambda: app.model.counts["paused"] == paused, time.perf_counter())  # noqa: B023
        await asyncio.sleep(0.2)
        ticks.append((sum(spent), unit()))
    source.tick, app.feed._deliver = tick, deliver
    return ticks


async def _keys(app: Any, broker: Broker) -> list[tuple[float, float, Unit]]:
    """Seconds from a key to the frame that shows what it did, CPU seconds of the UI thread, and the fixed work load.

    Meanwhile a thousand learners change each second.
    """
    going = asyncio.create_task(_keep_changing(broker))
    keys: list[tuple[float, float, Unit]] = []
    for number in range(KEYS):
        if number % 10 == 0:
            beside = unit()
        keys.append((*await _echo(app, "j" if number % 20 < 15 else "k"), beside))
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

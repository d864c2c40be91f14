"""Fifty thousand learners: all of them are there, and keys, filter, sort and changes still do what they say."""

from __future__ import annotations

import asyncio

import pytest
import redis as redis_py
from tests.integration.tui.driving import Driver, drive, live_app, screen_text
from tests.integration.tui.filled import add_run
from tests.redis_process import RedisProcess

from fabric_broker import calls
from fabric_broker.broker import Broker
from fabric_broker.connection import Server
from fabric_broker.view import LearnerView, decode
from fabric_tui import live
from fabric_tui.asking import Ask
from fabric_tui.updates import Resync

MANY = 50_000


def change(broker: Broker, verb: calls.Verb, first: int, count: int) -> None:
    for start in range(first, first + count, calls.PAGE):
        broker.do(calls.act(verb, [f"rmany.{n}" for n in range(start, start + calls.PAGE)]))


@pytest.mark.long
@pytest.mark.timeout(400)
def test_fifty_thousand_learners_are_seen_found_sorted_and_followed(
    redis: redis_py.Redis, redis_process: RedisProcess
) -> None:
    broker = Broker(redis, "default")
    add_run(broker, "rmany", MANY)

    async def script(driver: Driver) -> None:
        driver.patience = 100  # names come 2,000 a second
        app, grid = driver.app, driver.app.learners.grid
        await driver.see("● live", "queued 50,000")
        await driver.press("2")
        await driver.see("50,000 learners", "sweep-0 ")
        await driver.press("G")
        await driver.see("sweep-49999")
        assert grid.cursor == "rmany.49999"
        await driver.until(lambda: not app.model.nameless(1), "all names")
        await driver.press("slash", *"sweep-4999", "enter")
        await driver.see("11 of 50,000 learners", "sweep-49990")
        await driver.press("escape")
        await driver.see("50,000 learners")

        await driver.press("g")
        going = asyncio.create_task(asyncio.to_thread(change, broker, "pause", 0, 2000))
        for _ in range(30):
            await driver.press("j")
        await going
        assert grid.cursor == "rmany.30"
        await driver.until(lambda: app.model.counts["paused"] == 2000, "the changes")
        app.learners.sort_by("State")
        await driver.until(lambda: "‖ paused" in screen_text(app), "the cursor's learner")
        assert grid.cursor == "rmany.30"
        assert app.learners.listing.row("rmany.30") == MANY - 2000 + 30
        going = asyncio.create_task(asyncio.to_thread(change, broker, "resume", 1000, 1000))
        await going
        await driver.until(lambda: app.model.counts["paused"] == 1000, "the changes back")
        assert grid.cursor == "rmany.30"
        assert app.learners.listing.row("rmany.30") == MANY - 1000 + 30

    drive(live_app(redis_process.url), script, size=(100, 40))


def test_a_resync_reads_the_records_of_those_that_changed(
    redis: redis_py.Redis, redis_process: RedisProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    broker = Broker(redis, "default")
    add_run(broker, "rmany", 1500)
    read: list[str] = []

    def noted(learner: str, packed: bytes) -> LearnerView:
        read.append(learner)
        return decode(learner, packed)

    monkeypatch.setattr(live, "decode", noted)
    monkeypatch.setattr(live, "RESYNC", 0.0)

    async def script() -> None:
        source = live.LiveSource(Server(redis_process.url), "default")
        try:
            await source.snapshot()
            assert len(read) == 1500
            read.clear()
            change(broker, "pause", 0, 500)
            redis.hdel(broker.keys.view, "rmany.1499")
            updates = await source.tick(Ask()) or []
            (resync,) = (update for update in updates if isinstance(update, Resync))
            assert sorted(read) == sorted(f"rmany.{n}" for n in range(500))
            assert len(resync.views) == 1499
            assert [resync.views[f"rmany.{n}"].state for n in (0, 500)] == ["paused", "queued"]
        finally:
            await source.close()

    asyncio.run(script())

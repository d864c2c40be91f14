"""`fabric-tui --web` in a real browser: learners are seen, keys arrive."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
import redis as redis_py
from tests.browser import browser
from tests.integration.tui.filled import small_fabric
from tests.integration.tui.serving import serve
from tests.redis_process import RedisProcess

from fabric_broker import reads
from fabric_broker.broker import Broker
from fabric_broker.home import Home


@pytest.mark.long
@pytest.mark.needs("chromium")
def test_a_browser_shows_learners_and_its_keys_act(
    redis: redis_py.Redis, redis_process: RedisProcess, home: Home, tmp_path: Path
) -> None:
    broker = Broker(redis, "default")
    small_fabric(broker)

    async def script() -> None:
        async with browser() as page:
            await page.open(served.url)
            await page.see("Open the address that fabric-tui --web told")
            await page.open(f"{served.url}/?token={served.token}")
            await page.see("● live", "run sweep: 3 learners failed")
            assert await page.evaluate("location.href") == f"{served.url}/"
            await page.press("2")
            await page.see("46 learners", "sweep-9", "✘ failed")
            for key in "/state:failed":
                await page.press(key)
            await page.see("3 of 46 learners")
            await page.press("\r")
            await page.see("filter: state:failed")
            for key in "gr":
                await page.press(key)
            await page.see("Retry: ", "queued again")
            await page.press("y")
            await page.see("2 of 46 learners")
            await page.picture(tmp_path / "page.png")
            assert (tmp_path / "page.png").stat().st_size > 10_000

    with serve(home, redis_process.url, tmp_path / "log") as served:
        asyncio.run(script())
    states = [record.state for record in reads.learner_records(broker, ["rdemo.6", "rdemo.7", "rdemo.8"])]
    assert sorted(states) == ["failed", "failed", "queued"]

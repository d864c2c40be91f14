"""What the app lives through: Redis killed, frozen, flushed; learners that come and go; any size of terminal."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.integration.tui.driving import Driver, drive, live_app, screen_text
from tests.integration.tui.filled import add_run, small_fabric
from tests.redis_process import RedisProcess

from fabric_broker import calls
from fabric_broker.broker import Broker
from fabric_broker.connection import Server
from fabric_broker.home import Home
from fabric_tui.app import FabricApp, Options
from fabric_tui.asking import Ask
from fabric_tui.cli import live_source
from fabric_tui.live import LiveSource
from fabric_tui.updates import Trouble


def broker_of(process: RedisProcess) -> Broker:
    return Broker(process.client(), "default")


def tries(driver: Driver) -> int:
    trouble = driver.app.model.trouble
    return trouble.attempt if trouble else 0


def test_redis_killed_and_started_again(private_redis: RedisProcess) -> None:
    small_fabric(broker_of(private_redis))

    async def script(driver: Driver) -> None:
        await driver.press("2")
        await driver.see("● live", "46 learners")
        driver.app.learners.grid.go_to("rdemo.9")
        private_redis.kill()
        text = await driver.see("○ stale", "retry ")
        assert "sweep-9" in text
        await driver.press("X")
        await driver.see("not connected")
        await driver.until(lambda: tries(driver) > 1, "a second try")
        private_redis.start()
        await driver.press("ctrl+r")
        await driver.see("● live")
        assert driver.app.learners.grid.cursor == "rdemo.9"

    drive(live_app(private_redis.url), script)


@pytest.mark.long
def test_a_frozen_redis_makes_it_stale_and_an_action_in_between_is_told(private_redis: RedisProcess) -> None:
    small_fabric(broker_of(private_redis))

    async def script(driver: Driver) -> None:
        await driver.press("2")
        await driver.see("46 learners")
        driver.app.learners.grid.go_to("rdemo.20")
        private_redis.freeze()
        await driver.press("X", "y")
        await driver.see("Cancel: ", "○ stale")
        assert driver.app.model.requests.learners() == []
        private_redis.thaw()
        await driver.press("ctrl+r")
        await driver.see("● live")

    drive(live_app(private_redis.url), script)


@pytest.mark.long
def test_started_before_redis_it_waits(private_redis: RedisProcess) -> None:
    small_fabric(broker_of(private_redis))
    private_redis.kill()

    async def script(driver: Driver) -> None:
        await driver.see("◌ Connecting", "cannot reach Redis", "ctrl+r tries now")
        private_redis.start()
        await driver.press("ctrl+r")
        await driver.see("● live")

    drive(live_app(private_redis.url), script)


def test_a_changed_password_is_read_anew(
    private_redis: RedisProcess, home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    broker = broker_of(private_redis)
    small_fabric(broker)
    home.config_file.write_text(f'url = "{private_redis.url}"\n')
    old = home.password_file.read_text()
    broker.redis.config_set("requirepass", "another")

    async def script(driver: Driver) -> None:
        await driver.see("✘ Wrong password", "refused the password")
        home.password_file.write_text("another")
        await driver.press("ctrl+r")
        await driver.see("● live")
        broker.redis.config_set("requirepass", "a third")
        broker.redis.client_kill_filter(_type="normal", skipme=True)
        await driver.see("○ stale", "wrong password")
        home.password_file.write_text("a third")
        await driver.press("ctrl+r")
        await driver.see("● live")

    drive(FabricApp(live_source(home, None), Options(tick=0.05)), script)
    assert old != "another"


@pytest.mark.long
def test_another_releases_records_are_not_shown(private_redis: RedisProcess) -> None:
    broker_of(private_redis).redis.hset("fabric:{default}:meta", "schema", "99")

    async def script(driver: Driver) -> None:
        await driver.see("✘ The records are of another release", "schema 99", "this release reads 1")

    drive(live_app(private_redis.url), script)


def test_an_empty_fabric_shows_what_to_type_until_a_run_comes(private_redis: RedisProcess) -> None:
    async def script(driver: Driver) -> None:
        await driver.see("○ Nothing here yet", "fabric submit FILE.py")
        add_run(broker_of(private_redis), "r1", 3)
        await driver.see("Worst problems", "queued 3")

    drive(live_app(private_redis.url), script)


def test_a_trimmed_stream_is_overcome_by_a_snapshot(private_redis: RedisProcess) -> None:
    broker = broker_of(private_redis)
    small_fabric(broker)

    async def script(driver: Driver) -> None:
        await driver.press("2", "p")
        await driver.see("46 learners", "frozen")
        broker.do(calls.act("cancel", ["rdemo.20", "rdemo.21"]))
        broker.redis.xtrim(broker.keys.events, maxlen=1, approximate=False)
        await driver.press("p")
        await driver.until(lambda: driver.app.model.learners["rdemo.20"].state == "cancelled", "cancelled")
        assert len(driver.app.model.events) == 1

    drive(live_app(private_redis.url), script)


@pytest.mark.long
def test_a_flushed_redis_shows_nothing_and_then_what_is_new(private_redis: RedisProcess) -> None:
    broker = broker_of(private_redis)
    small_fabric(broker)

    async def script(driver: Driver) -> None:
        await driver.press("2")
        await driver.see("46 learners")
        broker.redis.flushall()
        await driver.see("○ Nothing here yet")
        add_run(broker, "rnew", 2)
        await driver.see("2 learners")

    drive(live_app(private_redis.url), script)


def test_an_answer_that_comes_while_it_leaves_is_dropped(private_redis: RedisProcess) -> None:
    small_fabric(broker_of(private_redis))
    app = live_app(private_redis.url)

    async def script(driver: Driver) -> None:
        await driver.press("2")
        await driver.see("46 learners")

    drive(app, script)
    app._deliver([Trouble("unreachable", "cannot reach Redis", 1, 1.0)])
    app._second()
    assert app._ask() == Ask()


@pytest.mark.long
@pytest.mark.parametrize("size", [(79, 24), (80, 23), (10, 3)])
def test_a_terminal_that_is_too_small_says_so_and_recovers(
    private_redis: RedisProcess, size: tuple[int, int]
) -> None:
    small_fabric(broker_of(private_redis))

    async def script(driver: Driver) -> None:
        await driver.until(lambda: "too small" in screen_text(driver.app) or size[0] < 12, "too small")
        await driver.pilot.resize_terminal(80, 24)
        await driver.see("● live", "Worst problems")

    drive(live_app(private_redis.url), script, size=size)


@pytest.mark.long
def test_two_servers_one_after_the_other(private_redis: RedisProcess, tmp_path: Path) -> None:
    """The address is found anew at each try: a server that moved is found."""
    other = RedisProcess()
    try:
        other.start()
        add_run(broker_of(private_redis), "r1", 3)
        add_run(broker_of(other), "r2", 5)
        urls = [private_redis.url, other.url]
        app = FabricApp(lambda: LiveSource(Server(urls[0]), "default", timeout=2.0), Options(tick=0.05))

        async def script(driver: Driver) -> None:
            await driver.see("queued 3")
            urls.pop(0)
            private_redis.kill()
            await driver.see("queued 5")

        drive(app, script)
    finally:
        other.close()

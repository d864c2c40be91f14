"""The app against a real Redis: what is shown, what keys do, what happens to Redis, and that nothing makes it leave."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import redis as redis_py
from tests.integration.tui.driving import WAIT, Driver, drive, live_app, screen_text
from tests.integration.tui.filled import add_run, add_tasks, lead, small_fabric
from tests.redis_process import RedisProcess
from textual.widgets import Input

from fabric_broker import calls, reads, watch
from fabric_broker.broker import Broker
from fabric_tui.actions import ALL_ACTIONS
from fabric_tui.app import FabricApp, Options
from fabric_tui.dialogs import Confirm
from fabric_tui.recording import Recorder, ReplaySource
from fabric_tui.views import DetailScreen, LogScreen


@pytest.fixture
def broker(redis: redis_py.Redis) -> Broker:
    return Broker(redis, "default")


@pytest.fixture
def app(broker: Broker, redis_process: RedisProcess) -> FabricApp:
    small_fabric(broker)
    lead(broker)
    return live_app(redis_process.url)


def state(broker: Broker, learner: str) -> str:
    return reads.learner_records(broker, [learner])[0].state


# -- screens ---------------------------------------------------------------------------------------------------------


def test_each_number_shows_its_screen(app: FabricApp, broker: Broker) -> None:
    add_tasks(broker)

    async def script(driver: Driver) -> None:
        await driver.see(
            "● live", "submitter ✔ alive on login1", "✘ failed 3", "run sweep: 3 learners failed"
        )
        await driver.press("2")
        await driver.see("46 learners", "sweep-9", "● leased")
        await driver.press("3")
        await driver.see("2 jobs", "i1.0", "n12", "4/4")
        await driver.press("4")
        await driver.see("1 pool", "✔ submits")
        await driver.press("5")
        await driver.see("queued → cancelled", "leased → failed")
        await driver.press("6")
        await driver.see("t-running", "SchedulerError: sbatch")
        await driver.press("1")
        await driver.see("Worst problems")

    drive(app, script)


@pytest.mark.long
def test_a_traceback_of_a_task_is_shown_whole(app: FabricApp, broker: Broker) -> None:
    add_tasks(broker)

    async def script(driver: Driver) -> None:
        await driver.press("6")
        await driver.see("t-failed")
        await driver.press("enter")
        await driver.see("Traceback (most recent call last):", "SchedulerError: sbatch")
        await driver.press("escape")
        await driver.see("3 tasks")

    drive(app, script)


@pytest.mark.long
def test_enter_on_a_problem_shows_the_learners_behind_it(app: FabricApp) -> None:
    async def script(driver: Driver) -> None:
        await driver.see("run sweep: 3 learners failed")
        await driver.press("tab", "enter")
        text = await driver.see("3 of 46 learners", "filter: state:failed run:rdemo")
        assert "leased" not in text.split("\n", 5)[5].partition("│")[0]

    drive(app, script, size=(110, 40))


@pytest.mark.long
def test_help_names_the_keys_of_the_screen(app: FabricApp) -> None:
    async def script(driver: Driver) -> None:
        await driver.press("2", "question_mark")
        await driver.see("Retry: queued again with attempts 0", "problems only")
        await driver.press("x", "3", "question_mark")
        await driver.see("Drain job: leases nothing more")

    drive(app, script)


def test_a_narrow_terminal_opens_the_detail_as_a_screen(app: FabricApp) -> None:
    async def script(driver: Driver) -> None:
        await driver.press("2")
        await driver.see("sweep-9 ")
        driver.app.learners.grid.go_to("rdemo.9")
        await driver.press("enter")
        await driver.see("It runs: job i1.0, slot 0, on n1.", "goal       loss <= 0.01", "s left")
        await driver.see_at_the_end("slot 0 ready")
        assert isinstance(driver.app.screen, DetailScreen)
        await driver.press("l")
        await driver.see("log of job i1.0 · lines of sweep-9", "checkpoint 1 of rdemo.9")
        assert isinstance(driver.app.screen, LogScreen)
        broker = Broker(app_redis(driver), "default")
        broker.redis.xadd(broker.keys.log("i1.0"), {"text": "a fresh line", "learner": "rdemo.9"})
        broker.redis.xadd(broker.keys.log("i1.0"), {"text": "of somebody else", "learner": "rdemo.10"})
        broker.redis.close()
        text = await driver.see("a fresh line")
        assert "of somebody else" not in text
        await driver.press("escape", "escape")
        await driver.see("46 learners")

    drive(app, script, size=(80, 24))


def app_redis(driver: Driver) -> redis_py.Redis:
    return redis_py.Redis.from_url(driver.app.model.address)


@pytest.mark.long
def test_a_wide_terminal_has_the_detail_beside(app: FabricApp) -> None:
    async def script(driver: Driver) -> None:
        await driver.press("2")
        await driver.see("sweep-6")
        driver.app.learners.grid.go_to("rdemo.6")
        await driver.see("ValueError: x must not be negative", "point      -0.25", "error i1.0")
        await driver.press("j", "j", "j")
        await driver.see("It runs: job i1.0", "token")

    drive(app, script, size=(140, 40))


@pytest.mark.long
def test_ages_are_by_redis_time_whatever_the_clock_here_says(
    app: FabricApp, broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.time", lambda: 0.0)

    async def script(driver: Driver) -> None:
        await driver.press("2")
        await driver.see("46 learners")
        driver.app.learners.grid.go_to("rdemo.9")
        text = await driver.see("s left", "It runs")
        left = re.search(r"lease +(\d+)s left", text)
        assert left is not None
        assert 0 < int(left[1]) <= 30
        assert abs(driver.app.now() - reads.now(broker)) < WAIT

    drive(app, script, size=(140, 40))


# -- the table -------------------------------------------------------------------------------------------------------


def test_the_cursor_stays_on_its_learner_when_others_come_go_and_move(app: FabricApp, broker: Broker) -> None:
    async def script(driver: Driver) -> None:
        grid = driver.app.learners.grid
        await driver.press("2")
        await driver.see("46 learners")
        driver.app.learners.sort_by("Pri")
        grid.go_to("rdemo.20")
        row = grid.rows.row("rdemo.20")
        broker.do(calls.act("prioritize", [f"rdemo.{n}" for n in range(20)], priority=9))
        add_run(broker, "rlate", 30, name="late")
        await driver.until(lambda: len(driver.app.model.learners) == 76, "76 learners")
        await driver.until(lambda: grid.rows.row("rdemo.20") != row, "the rows moved")
        assert grid.cursor == "rdemo.20"
        assert "rdemo.20" in grid.seen

    drive(app, script)


@pytest.mark.long
def test_no_key_acts_on_a_stranger_after_the_learner_under_the_cursor_went(
    app: FabricApp, broker: Broker
) -> None:
    async def script(driver: Driver) -> None:
        await driver.press("2")
        await driver.see("46 learners")
        driver.app.learners.set_filter("state:failed")
        driver.app.learners.grid.go_to("rdemo.7")
        broker.do(calls.act("retry", ["rdemo.7"]))
        await driver.see("2 of 46 learners")
        assert driver.app.learners.grid.cursor is None
        await driver.press("r")
        await driver.see("no learner is marked or under the cursor")
        assert not isinstance(driver.app.screen, Confirm)
        await driver.press("j")
        await driver.until(lambda: driver.app.learners.grid.cursor == "rdemo.8", "the next one")

    drive(app, script)


@pytest.mark.long
def test_a_filter_is_typed_told_and_taken_back(app: FabricApp) -> None:
    async def script(driver: Driver) -> None:
        await driver.press("2", "slash")
        await driver.press(*"state:failed")
        await driver.see("3 of 46 learners")
        await driver.press(*" x>1")
        await driver.see("there is no field 'x'")
        assert isinstance(driver.app.focused, Input)
        await driver.press("enter", "escape")
        await driver.see("46 learners")
        await driver.press("ctrl+z")
        await driver.see("3 of 46 learners · problems only")

    drive(app, script)


@pytest.mark.long
def test_sorting_by_points_puts_the_most_on_top_and_again_the_least(app: FabricApp) -> None:
    async def script(driver: Driver) -> None:
        await driver.press("2")
        await driver.see("46 learners")
        await driver.press("s")
        await driver.see("Sort by")
        await driver.press("down", "down", "down", "enter")
        await driver.see("Points▼")
        points = [driver.app.model.learners[id].npoints for id in driver.app.learners.listing.ids()]
        assert points == sorted(points, reverse=True)
        await driver.press("S")
        await driver.see("Points▲")

    drive(app, script)


@pytest.mark.long
def test_y_copies_by_osc_52(app: FabricApp) -> None:
    async def script(driver: Driver) -> None:
        await driver.press("2")
        await driver.see("46 learners")
        await driver.press("j", "y")
        await driver.until(lambda: driver.app.clipboard == "rdemo.1", "a clipboard")

    drive(app, script)


@pytest.mark.long
def test_frozen_nothing_moves(app: FabricApp, broker: Broker) -> None:
    async def script(driver: Driver) -> None:
        await driver.press("2")
        await driver.see("46 learners")
        await driver.press("p")
        await driver.see("‖ frozen")
        ticks = driver.app.feed.ticks
        broker.do(calls.act("cancel", ["rdemo.20"]))
        await driver.pilot.pause(0.4)
        assert driver.app.feed.ticks <= ticks + 1
        await driver.press("p")
        await driver.until(lambda: driver.app.model.learners["rdemo.20"].state == "cancelled", "it goes on")

    drive(app, script)


# -- actions ---------------------------------------------------------------------------------------------------------


def test_marked_learners_are_retried_after_a_confirmation_that_names_them(
    app: FabricApp, broker: Broker
) -> None:
    async def script(driver: Driver) -> None:
        await driver.press("2")
        await driver.see("46 learners")
        driver.app.learners.grid.go_to("rdemo.5")
        await driver.press("space", "space", "space", "space")
        await driver.see("4 marked")
        await driver.press("r")
        text = await driver.see("Retry: 3 learners?", "rdemo.6 sweep-6")
        assert "queued again with attempts 0" in text
        assert "1 other marked stay as they are: not failed, quarantined or cancelled" in text
        assert state(broker, "rdemo.6") == "failed"
        await driver.press("n")
        await driver.miss("Retry: 3 learners?")
        assert state(broker, "rdemo.6") == "failed"
        await driver.press("r", "y")
        await driver.until(lambda: state(broker, "rdemo.6") == "queued", "queued")
        await driver.until(lambda: not driver.app.model.requests.learners(), "confirmed")
        assert [state(broker, f"rdemo.{n}") for n in (5, 7, 8)] == ["done", "queued", "queued"]
        await driver.press("5")
        await driver.see("asked", "» retry", "anna@login1 asked for 3")

    drive(app, script)


def test_a_row_shows_requested_until_the_holder_obeys(app: FabricApp, broker: Broker) -> None:
    async def script(driver: Driver) -> None:
        await driver.press("2")
        await driver.see("46 learners")
        driver.app.learners.grid.go_to("rdemo.9")
        await driver.press("P")
        await driver.see("Pause: 1 learner?")
        await driver.press("y")
        await driver.see("» requested")
        broker.do(calls.end_job("i1.0", None, "gone"))
        await driver.miss("» requested")
        assert driver.app.model.learners["rdemo.9"].state == "paused"

    drive(app, script)


def asked(broker: Broker) -> list[tuple[str, str, str, str]]:
    """What the events say that was asked: who, what, of which learner, in words."""
    happened = broker.do(watch.watch(None, count=1000)).events
    told = [event for event in happened if event.event == "asked"]
    assert all(event.source == event.target == "" for event in told)
    return [
        (event.more["by"], event.more["verb"], event.learner, event.more["target"].split(",")[0])
        for event in told
    ]


@pytest.mark.long
def test_each_action_does_what_it_says_and_leaves_who_asked(app: FabricApp, broker: Broker) -> None:
    async def script(driver: Driver) -> None:
        await driver.press("2")
        await driver.see("46 learners")
        for key, learner, expected in (
            ("X", "rdemo.20", "cancelled"),
            ("R", "rdemo.9", "queued"),
            ("U", "rdemo.39", "queued"),
            ("P", "rdemo.21", "paused"),
        ):
            driver.app.learners.grid.go_to(learner)
            await driver.press(key, "y")
            await driver.until(lambda: state(broker, learner) == expected, expected)  # noqa: B023
            await driver.until(lambda: not driver.app.model.requests.learners(), "confirmed")

    drive(app, script)
    assert asked(broker) == [
        ("anna@login1", "cancel", "rdemo.20", "1 learner: rdemo.20"),
        ("anna@login1", "release", "rdemo.9", "1 learner: rdemo.9"),
        ("anna@login1", "resume", "rdemo.39", "1 learner: rdemo.39"),
        ("anna@login1", "pause", "rdemo.21", "1 learner: rdemo.21"),
    ]


@pytest.mark.long
def test_a_priority_and_a_pools_n_are_asked_for_as_numbers(app: FabricApp, broker: Broker) -> None:
    async def script(driver: Driver) -> None:
        await driver.press("2")
        await driver.see("46 learners")
        driver.app.learners.grid.go_to("rdemo.20")
        await driver.press("plus", "backspace", "7")
        await driver.see("Effect: priority 7; higher goes first")
        await driver.press("enter")
        await driver.until(lambda: driver.app.model.learners["rdemo.20"].priority == 7, "priority 7")
        await driver.press("4", "N", "backspace", "-", "3", "enter")
        await driver.see("the number of jobs is a whole number, 0 or more")
        await driver.press("home", "delete", "enter")
        await driver.until(lambda: driver.app.model.pools["local"].limit == 3, "N = 3")
        broker.redis.hset(broker.keys.pool("local"), mapping={"circuit": "no such account", "deaths": "5"})
        await driver.see("✘ open circuit: no such account")
        await driver.press("c", "y")
        await driver.see("✔ submits")

    drive(app, script)
    assert [who_what[1:] for who_what in asked(broker)] == [
        ("prioritize", "rdemo.20", "1 learner: rdemo.20 → 7"),
        ("scale", "", "1 pool: local → 3"),
        ("close", "", "1 pool: local"),
    ]


@pytest.mark.long
def test_jobs_are_drained_and_killed(app: FabricApp, broker: Broker) -> None:
    async def script(driver: Driver) -> None:
        await driver.press("3")
        await driver.see("2 jobs")
        driver.app.panes["jobs"].grid.go_to("i1.0")
        await driver.press("D", "y")
        await driver.until(lambda: broker.redis.hget(broker.keys.job("i1.0"), "wish") == b"drain", "drain")
        await driver.see("» requested")
        driver.app.panes["jobs"].grid.go_to("i2.0")
        await driver.press("K", "y")
        await driver.until(lambda: driver.app.model.jobs["i2.0"].state == "ended", "ended")
        assert driver.app.model.jobs["i2.0"].learners == []

    drive(app, script)
    assert [who_what[1:] for who_what in asked(broker)] == [
        ("drain", "", "1 job: i1.0"),
        ("kill", "", "1 job: i2.0"),
    ]


def test_read_only_has_no_actions_at_all(broker: Broker, redis_process: RedisProcess) -> None:
    small_fabric(broker)

    async def script(driver: Driver) -> None:
        await driver.press("2")
        await driver.see("46 learners", "read-only")
        driver.app.learners.grid.go_to("rdemo.6")
        await driver.press("r")
        assert not isinstance(driver.app.screen, Confirm)
        for number, target in (("2", "learner"), ("3", "job"), ("4", "pool")):
            await driver.press(number)
            for action in ALL_ACTIONS:
                assert action.target != target or not driver.app.check_action("act", (action.id,))
                driver.app.action_act(action.id)
                assert not isinstance(driver.app.screen, Confirm)
        await driver.press("2")
        titles = [command.title for command in driver.app.get_system_commands(driver.app.screen)]
        assert "Retry" not in titles
        await driver.press("question_mark")
        assert "queued again" not in await driver.see("Learners")

    drive(live_app(redis_process.url, read_only=True), script)
    assert asked(broker) == []


@pytest.mark.long
def test_the_palette_finds_an_action(app: FabricApp) -> None:
    async def script(driver: Driver) -> None:
        await driver.press("2")
        await driver.see("46 learners")
        driver.app.learners.grid.go_to("rdemo.6")
        await driver.press("ctrl+p", *"retry")
        await driver.see("key r: queued again")
        for _ in range(20):  # the first enter chooses, the next one runs, as soon as the search has ended
            await driver.press("enter")
            await driver.pilot.pause(0.1)
            if isinstance(driver.app.screen, Confirm):
                break
        await driver.see("Retry: 1 learner?")

    drive(app, script)


@pytest.mark.long
def test_keys_can_be_other_keys(broker: Broker, redis_process: RedisProcess) -> None:
    small_fabric(broker)

    async def script(driver: Driver) -> None:
        await driver.press("2")
        await driver.see("46 learners")
        driver.app.learners.grid.go_to("rdemo.6")
        await driver.press("r")
        assert not isinstance(driver.app.screen, Confirm)
        await driver.press("f5")
        await driver.see("Retry: 1 learner?")

    drive(live_app(redis_process.url, keys={"learner.retry": "f5"}), script)


# -- recordings ------------------------------------------------------------------------------------------------------


@pytest.mark.long
def test_a_recording_plays_the_same_again(
    broker: Broker, redis_process: RedisProcess, tmp_path: Path
) -> None:
    small_fabric(broker)
    path = tmp_path / "run.jsonl.gz"
    recorder = Recorder(path)
    shown: dict[str, str] = {}

    async def record(driver: Driver) -> None:
        await driver.press("2")
        await driver.see("46 learners")
        driver.app.learners.grid.go_to("rdemo.6")
        await driver.see("ValueError: x must not be negative", "error i1.0")
        shown["live"] = screen_text(driver.app)

    drive(live_app(redis_process.url, recorder=recorder), record, size=(140, 40))
    recorder.close()
    source = ReplaySource(path, upto=1e9)

    async def replay(driver: Driver) -> None:
        await driver.press("2")
        await driver.see("46 learners", "replay")
        driver.app.learners.grid.go_to("rdemo.6")
        await driver.see("ValueError: x must not be negative", "error i1.0")
        live, again = (text.splitlines()[1:12] for text in (shown["live"], screen_text(driver.app)))
        assert [line[:60] for line in live] == [line[:60] for line in again]
        await driver.press("r")
        assert not isinstance(driver.app.screen, Confirm)

    drive(FabricApp(lambda: source, Options(replaying=True, tick=0.05)), replay, size=(140, 40))

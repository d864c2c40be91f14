"""What each screen and each state looks like, from a recording with a clock that stands still.

`pytest tests/integration/tui/test_snapshots.py --snapshot-update` draws them anew; look at every one that changed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.integration.tui.driving import Driver
from textual.pilot import Pilot

from fabric_tui.app import FabricApp, Options
from fabric_tui.peek import Data
from fabric_tui.recording import ReplaySource, read_recording
from fabric_tui.shots import shoot
from fabric_tui.updates import Names, Snapshot, Trouble, Update

RECORDING = Path(__file__).parent / "recordings" / "demo.jsonl.gz"
WIDE, NARROW = (120, 40), (80, 24)


class Canned:
    """A source that tells what it was given, then nothing new, or fails as it was told."""

    address = "unix:///run/fabric/redis.sock"

    def __init__(self, *updates: Update) -> None:
        self._updates = list(updates)

    async def glance(self) -> None:
        return None

    async def snapshot(self) -> list[Update]:
        return self._updates

    async def tick(self, ask: Any) -> list[Update] | None:
        return [Names({})]

    async def do(self, calls: Any) -> list[Any]:
        raise AssertionError("nothing is acted on")

    async def close(self) -> None:
        pass


class Drawn:
    """Data that need no process."""

    async def data(self, learner: str) -> Data:
        return Data("1d", tuple((n / 20 - 1, (n / 20 - 1) ** 2) for n in range(41)))


def still() -> float:
    """The clock."""
    return 0.0


def app(*, source: Any = None, **options: Any) -> FabricApp:
    told = source or ReplaySource(RECORDING, upto=1e9)
    return FabricApp(lambda: told, Options(clock=still, tick=0.05, by="anna@login1", **options))


def first() -> Snapshot:
    return next(update for _, update in read_recording(RECORDING) if isinstance(update, Snapshot))


def keys(*pressed: str, learner: str | None = None) -> Callable[[Pilot[None]], Awaitable[None]]:
    """Wait for the recording, put the cursor on a learner, press keys."""

    async def run(pilot: Pilot[None]) -> None:
        shown: Any = pilot.app
        driver = Driver(shown, pilot)
        await driver.until(lambda: bool(shown.model.now or shown.model.trouble), "something to show")
        if learner is not None:
            await driver.press("2")
            shown.learners.grid.go_to(learner)
        await driver.press(*pressed)
        if shown.model.connection == "live":
            await driver.caught_up()
        await pilot.wait_for_scheduled_animations()

    return run


LONG = pytest.mark.long


@pytest.mark.parametrize(
    "number",
    [
        pytest.param(1, id="overview"),
        pytest.param(2, id="learners", marks=LONG),
        pytest.param(3, id="jobs", marks=LONG),
        pytest.param(4, id="pools", marks=LONG),
        pytest.param(5, id="events", marks=LONG),
        pytest.param(6, id="control", marks=LONG),
    ],
)
def test_each_screen(snap_compare: Any, number: int) -> None:
    assert snap_compare(app(), terminal_size=WIDE, run_before=keys(str(number)))


@pytest.mark.parametrize(
    "number", [pytest.param(1, id="overview", marks=LONG), pytest.param(2, id="learners")]
)
def test_small(snap_compare: Any, number: int) -> None:
    assert snap_compare(app(), terminal_size=NARROW, run_before=keys(str(number)))


@pytest.mark.long
def test_detail(snap_compare: Any) -> None:
    run = keys("enter", learner="rsweep0.61")
    assert snap_compare(app(peeker=Drawn()), terminal_size=(100, 60), run_before=run)


@pytest.mark.long
def test_confirmation(snap_compare: Any) -> None:
    source = Canned(first())
    run = keys("slash", *"state:failed", "enter", "a", "r")
    assert snap_compare(app(source=source), terminal_size=WIDE, run_before=_then(keys("2"), run))


def _then(*steps: Callable[[Pilot[None]], Awaitable[None]]) -> Callable[[Pilot[None]], Awaitable[None]]:
    async def run(pilot: Pilot[None]) -> None:
        for step in steps:
            await step(pilot)

    return run


@pytest.mark.long
def test_help(snap_compare: Any) -> None:
    assert snap_compare(
        app(source=Canned(first())), terminal_size=WIDE, run_before=keys("2", "question_mark")
    )


@pytest.mark.long
def test_no_color(snap_compare: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    assert snap_compare(app(), terminal_size=NARROW, run_before=keys("2"))


AWAY = Trouble(
    "unreachable", "cannot reach Redis at unix:///run/fabric/redis.sock (No such file or directory)", 4, 8.0
)
REFUSED = replace(AWAY, kind="password", text="Redis at redis://head:6379 refused the password")
OTHER = replace(AWAY, kind="schema", text="the records have schema 2, this release reads 1")
EMPTY = replace(first(), views={}, board=replace(first().board, runs={}, jobs={}, intents={}), events=())


@pytest.mark.parametrize(
    ("updates", "options"),
    [
        pytest.param((AWAY,), {}, id="connecting", marks=LONG),
        pytest.param((EMPTY,), {}, id="empty", marks=LONG),
        pytest.param((first(),), {}, id="live", marks=LONG),
        pytest.param((first(), AWAY), {}, id="stale"),
        pytest.param((REFUSED,), {}, id="wrong-password", marks=LONG),
        pytest.param((OTHER,), {}, id="other-schema", marks=LONG),
        pytest.param((first(),), {"read_only": True}, id="read-only", marks=LONG),
    ],
)
def test_each_state(snap_compare: Any, updates: tuple[Update, ...], options: dict[str, Any]) -> None:
    run = keys("2") if updates[0] is not AWAY and "schema" not in str(updates) else keys()
    assert snap_compare(app(source=Canned(*updates), **options), terminal_size=NARROW, run_before=run)


@pytest.mark.long
def test_the_screenshots_of_the_readme_are_what_their_command_draws(tmp_path: Path) -> None:
    asyncio.run(shoot(RECORDING, tmp_path))
    root = Path(__file__).parents[3]
    readme = (root / "README.md").read_text(encoding="utf-8")
    for drawn in tmp_path.iterdir():
        shown = root / "docs" / "img" / drawn.name
        assert drawn.read_text(encoding="utf-8") == shown.read_text(encoding="utf-8"), "make screenshots"
        assert f"docs/img/{drawn.name}" in readme
    assert {drawn.stem for drawn in tmp_path.iterdir()} == {"overview", "learners", "detail"}


@pytest.mark.long
def test_too_small(snap_compare: Any) -> None:
    assert snap_compare(app(), terminal_size=(60, 20), run_before=keys())

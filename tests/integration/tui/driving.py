"""Runs the app without a terminal and waits for what it shows."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

from textual import events
from textual.pilot import Pilot

from fabric_broker.connection import Server
from fabric_tui.app import FabricApp, Options
from fabric_tui.live import LiveSource

WAIT = 30.0  # s

CHARACTERS = {"slash": "/", "space": " ", "plus": "+", "question_mark": "?"}
"""What is typed by keys that have names."""


def live_app(url: str, *, fabric: str = "default", password: str | None = None, **options: Any) -> FabricApp:
    """An app on a Redis; its tick is short, so that tests need not wait, but not so short that it never rests."""
    told = {"by": "anna@login1", "tick": 0.2} | options
    return FabricApp(lambda: LiveSource(Server(url, password), fabric, timeout=2.0), Options(**told))


def screen_text(app: FabricApp) -> str:
    """What is on the screen."""
    strips = app.screen._compositor.render_strips()
    return "\n".join("".join(segment.text for segment in strip).rstrip() for strip in strips)


class Driver:
    """Presses keys, and waits on conditions."""

    def __init__(self, app: FabricApp, pilot: Pilot[None]) -> None:
        self.app = app
        self.pilot = pilot
        self.patience = WAIT

    async def press(self, *keys: str) -> None:
        """Press keys one after another, each when the one before has been obeyed.

        (Textual's own way waits until the process is idle, which on a busy machine is seconds late, or too early.)
        """
        for key in keys:
            character = CHARACTERS.get(key, key if len(key) == 1 else None)
            self.app.post_message(events.Key(key, character))
            for _ in range(
                3
            ):  # the app hands it to the focused widget, which hands it to whoever has the action
                await self.pilot.pause(0)

    async def until(self, condition: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + self.patience
        while not condition():
            assert time.monotonic() < deadline, (
                f"{what}: not within {self.patience} s; the screen:\n{screen_text(self.app)}"
            )
            # It paints by itself; Textual's pause would ask every widget each time.
            await asyncio.sleep(0.03)

    async def see(self, *texts: str) -> str:
        """Wait until all of these are on the screen."""
        await self.until(lambda: all(text in screen_text(self.app) for text in texts), f"to see {texts}")
        return screen_text(self.app)

    async def see_at_the_end(self, text: str) -> None:
        """Go to the end until this is seen there: more may be read meanwhile."""
        deadline = time.monotonic() + self.patience
        while text not in screen_text(self.app):
            assert time.monotonic() < deadline, (
                f"to see {text} at the end; the screen:\n{screen_text(self.app)}"
            )
            await self.press("G")
            await asyncio.sleep(0.03)

    async def miss(self, text: str) -> None:
        """Wait until this is not on the screen."""
        await self.until(lambda: text not in screen_text(self.app), f"to miss {text}")

    async def caught_up(self) -> None:
        """Wait until the app has read Redis again, from the beginning of a read on."""
        first = self.app.feed.ticks
        for ticks in (first + 1, first + 2):
            self.app.feed.wake()
            await self.until(lambda: self.app.feed.ticks >= ticks, "another look at Redis")  # noqa: B023


def drive(
    app: FabricApp, script: Callable[[Driver], Awaitable[None]], *, size: tuple[int, int] = (120, 40)
) -> None:
    """Run the app for as long as the script runs; what the app raised is raised."""

    async def run() -> None:
        async with app.run_test(size=size, notifications=True) as pilot:
            await script(Driver(app, pilot))

    asyncio.run(run())

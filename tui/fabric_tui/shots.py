"""`python -m fabric_tui.shots RECORDING FOLDER` draws the screenshots of README and docs from a recording."""

from __future__ import annotations

import asyncio
from functools import partial
from pathlib import Path

import click

from .app import FabricApp, Options
from .recording import ReplaySource

SHOTS = {
    "overview": ((110, 30), ("1",), None),
    "learners": ((140, 34), ("2",), "state:leased"),
    "detail": ((100, 44), ("2", "enter"), "state:leased"),
}
"""By file name: size of the terminal, keys, filter of the learners' table."""


def _same(source: ReplaySource) -> ReplaySource:
    return source


async def shoot(recording: Path, folder: Path) -> None:
    """Draw them all."""
    for name, (size, keys, text) in SHOTS.items():
        source = ReplaySource(recording, upto=float("inf"))
        app = FabricApp(partial(_same, source), Options(replaying=True, clock=lambda: 0.0, tick=0.05))
        async with app.run_test(size=size) as pilot:
            while not app.model.now:
                await pilot.pause(0.02)
            if text is not None:
                app.learners.set_filter(text)
            await pilot.press(*keys)
            await pilot.wait_for_scheduled_animations()
            app.save_screenshot(f"{name}.svg", str(folder))


@click.command()
@click.argument("recording", type=click.Path(path_type=Path, exists=True))
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False))
def main(recording: Path, folder: Path) -> None:
    """Draw overview.svg, learners.svg and detail.svg into FOLDER."""
    folder.mkdir(parents=True, exist_ok=True)
    asyncio.run(shoot(recording, folder))


if __name__ == "__main__":
    main()

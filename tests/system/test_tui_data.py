"""What `fabric-tui` draws of learners that run in real jobs: their newest checkpoint, and the journal after it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import adaptive
import pytest
from tests.integration.tui.driving import Driver, drive
from tests.system.conftest import Scene, quick
from tests.system.processes import PATIENCE, wait_for

from adaptive_fabric import Run
from fabric_tui.app import FabricApp, Options
from fabric_tui.cli import live_source
from fabric_tui.peek import Peeker
from fabric_tui.words import short


def wave(seconds: float) -> Callable[[float], float]:
    """A function of one number that takes a while; it travels by value."""

    def evaluate(x: float) -> float:
        import math
        import time

        time.sleep(seconds)
        return math.sin(3 * x)

    return evaluate


def hill(seconds: float) -> Callable[[tuple[float, float]], float]:
    """The same of two."""

    def evaluate(xy: tuple[float, float]) -> float:
        import time

        time.sleep(seconds)
        return 1 - xy[0] ** 2 - xy[1] ** 2

    return evaluate


def journaled(run: Run, learner: str, least: int = 20) -> dict[str, int]:
    """Points and those in the checkpoint, once some points lie in the journal alone."""

    def both() -> dict[str, int] | None:
        names = ("npoints", "checkpoint_upto")
        raw: Any = run.broker.redis.hmget(run.broker.keys.learner(learner), names)
        found = {name: int(value or 0) for name, value in zip(names, raw, strict=True)}
        return found if least < found["checkpoint_upto"] < found["npoints"] else None

    return wait_for(both, f"a checkpoint of {learner} and points after it") or {}


@pytest.mark.long
def test_data_of_learners_that_run_are_read_and_drawn(scene: Scene) -> None:
    scene.fabric.pool("local", quick(slots=2), jobs=1)
    learners = [
        adaptive.Learner1D(wave(0.05), (-1, 1)),
        adaptive.Learner2D(hill(0.05), [(-1, 1), (-1, 1)]),
    ]
    run = scene.fabric.submit(learners, names=["wave", "hill"], goal=100_000, save_interval=1.0)
    one, two = (record.id for record in run.learners())
    known = {learner: journaled(run, learner) for learner in (one, two)}

    async def drawn(driver: Driver, learner: str, kind: str) -> str:
        """What is drawn below the number of points, once all points that were known are there."""
        driver.app.learners.grid.go_to(learner)
        await driver.press("enter")
        text = await driver.see("Data, ", " points", "│")
        data = driver.app.side.data[learner]
        assert data.kind == kind, data.text
        assert len(data.points) >= known[learner]["npoints"] > known[learner]["checkpoint_upto"]
        return text.partition("Data, ")[2]

    async def script(driver: Driver) -> None:
        driver.patience = PATIENCE
        await driver.press("2")
        await driver.see("2 learners")
        plot = await drawn(driver, one, "1d")
        top = max(y for _, y in driver.app.side.data[one].points)
        assert f" {short(top)} │" in plot
        assert any("⠀" < character <= "⣿" for character in plot)
        await driver.press("escape")
        heat = await drawn(driver, two, "2d")
        assert {"·", "░", "█"} <= set(heat)
        function = wave(0)
        assert all(y == function(x) for x, y in driver.app.side.data[one].points)
        assert all(z == hill(0)((x, y)) for x, y, z in driver.app.side.data[two].points)

    options = Options(peeker=Peeker(scene.home.path, None), tick=0.2)
    drive(FabricApp(live_source(scene.home, None), options), script, size=(110, 70))
    assert run.status().state == "active", "looking disturbs nobody"

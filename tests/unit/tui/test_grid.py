"""What is painted again: nothing without a change, and of a change only its lines."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import Any
from unittest.mock import patch

from textual.app import App, ComposeResult
from textual.content import Content
from textual.geometry import Region
from textual.widget import Widget

from fabric_tui.grid import Grid
from fabric_tui.lines import Lines
from fabric_tui.listing import Listing
from fabric_tui.tables import Column


class Ages:
    """Things whose values and ages a test sets."""

    def __init__(self) -> None:
        self.things = {f"t{n}": n for n in range(50)}
        self.now = 0
        self.asked = 0

    def value(self, id: str) -> tuple[str, str]:
        self.asked += 1
        return str(self.things[id]), ""

    def columns(self) -> list[Column]:
        age = Column("Age", 9, lambda id: (f"{(self.now + self.things[id]) // 10} min", ""), ages=True)
        return [Column("Value", 9, self.value), age]


class GridApp(App[None]):
    def __init__(self, ages: Ages) -> None:
        super().__init__()
        self.grid = Grid(Listing(ages.things, lambda id: (int(id[1:]),)), ages.columns())
        self.text = Lines()

    def compose(self) -> ComposeResult:
        yield self.grid
        yield self.text


def painted(widget: Widget, do: Callable[[], object]) -> list[int]:
    """The lines of a widget that are to be painted after this."""
    lines: list[int] = []
    refresh = Widget.refresh

    def noted(self: Widget, *regions: Region, **more: Any) -> Widget:
        if self is widget:
            lines.extend(y for region in regions or (widget.size.region,) for y in region.line_range)
        return refresh(self, *regions, **more)

    with patch.object(Widget, "refresh", noted):
        do()
    return sorted(lines)


def run(script: Callable[[GridApp, Ages], Awaitable[None]]) -> None:
    async def driven() -> None:
        ages = Ages()
        app = GridApp(ages)
        async with app.run_test(size=(60, 20)) as pilot:
            app.grid.rows.rebuild()  # type: ignore[attr-defined]
            app.grid.changed()
            await pilot.pause()
            await script(app, ages)

    asyncio.run(driven())


def text_of(widget: Any, lines: Iterable[int]) -> list[str]:
    return [widget.render_line(y).text.rstrip() for y in lines]


def test_only_rows_that_look_different_are_painted() -> None:
    async def script(app: GridApp, ages: Ages) -> None:
        assert painted(app.grid, app.grid.repaint) == []
        ages.things["t3"] = 300
        ages.things["t40"] = 400  # not on the screen
        assert painted(app.grid, app.grid.repaint) == [4]
        assert "300" in text_of(app.grid, [4])[0]

    run(script)


def test_ages_are_painted_when_they_are_told_differently() -> None:
    async def script(app: GridApp, ages: Ages) -> None:
        asked = ages.asked
        assert painted(app.grid, app.grid.age) == []
        assert ages.asked == asked
        ages.now = 5
        lines = painted(app.grid, app.grid.age)
        assert lines == [y for y in range(1, app.grid.size.height) if (y - 1) % 10 >= 5]
        assert "1 min" in text_of(app.grid, [6])[0]

    run(script)


def test_only_lines_that_changed_are_painted_of_a_text() -> None:
    async def script(app: GridApp, _ages: Ages) -> None:
        app.text.show(Content("one\ntwo\nthree"), 1)
        await asyncio.sleep(0)
        app.text.update("one\ntwo\nthree")
        while app.text.size.height != 3:
            await asyncio.sleep(0.01)
        app.text.show(Content("one\ntwo\nthree"), 1)
        assert painted(app.text, lambda: app.text.show(Content("one\ntwo\nthree"), 1)) == []
        assert painted(app.text, lambda: app.text.show(Content("one\n2\nthree"), 1)) == [1]
        assert text_of(app.text, range(3)) == ["one", "2", "three"]
        assert painted(app.text, lambda: app.text.show(Content("1\n2"), 3)) == [0, 2]
        assert text_of(app.text, range(3)) == ["1", "2", ""]

    run(script)

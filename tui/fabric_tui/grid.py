"""A table of any length that paints only the rows that are seen; its cursor stays on a thing, not on a row."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby
from operator import itemgetter
from typing import ClassVar, Protocol

from rich.cells import cell_len, set_cell_size
from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.binding import Binding, BindingType
from textual.geometry import Region, Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip

from .tables import Cell, Column
from .words import clean


class Rows(Protocol):
    """What a grid shows: ids in an order; a `Listing` is one."""

    def __len__(self) -> int: ...
    def __getitem__(self, row: int, /) -> str: ...
    def row(self, id: str, /) -> int | None:
        """The row of an id, None if it is not shown."""


@dataclass(frozen=True, slots=True)
class _Look:
    """What is seen of a table: two that are equal look the same."""

    whole: tuple[object, ...]
    rows: list[tuple[str, bool, list[Cell]]]
    """id, whether it is marked, and its cells"""


class Grid(ScrollView, can_focus=True):
    """The table. Whoever changes the rows calls `changed`."""

    DEFAULT_CSS = """
    Grid { height: 1fr; scrollbar-size-vertical: 1; overflow-x: hidden; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("down,j", "move(1)", "Down", id="move.down", show=False),
        Binding("up,k", "move(-1)", "Up", id="move.up", show=False),
        Binding("pagedown,ctrl+f", "page(1)", "Page down", id="move.page_down", show=False),
        Binding("pageup,ctrl+b", "page(-1)", "Page up", id="move.page_up", show=False),
        Binding("home,g", "edge(-1)", "First", id="move.first", show=False),
        Binding("end,G", "edge(1)", "Last", id="move.last", show=False),
        Binding("enter", "open", "Open", id="open", show=False),
    ]

    class Moved(Message):
        """The cursor is on another thing (None: on none)."""

        def __init__(self, grid: Grid, thing: str | None) -> None:
            super().__init__()
            self.grid = grid
            self.thing = thing

        @property
        def control(self) -> Grid:
            """The grid."""
            return self.grid

    class Opened(Moved):
        """The thing under the cursor is to be opened."""

    def __init__(
        self,
        rows: Rows,
        columns: Sequence[Column],
        *,
        id: str | None = None,
        follow: bool = False,
        empty: Callable[[], str] = lambda: "",
    ) -> None:
        super().__init__(id=id)
        self.rows = rows
        self.columns = tuple(columns)
        self.cursor: str | None = None
        self.marks: set[str] = set()
        self.sorted_by = ""
        self.descending = False
        self.dimmed = False
        self._row = 0
        self._fresh = True
        self._follow = follow
        self._empty = empty
        self._painted: _Look | None = None
        self._base = Style.null()

    # -- rows ------------------------------------------------------------------------------------------------

    def changed(self, *, reset: bool = False) -> None:
        """Rows came, went or moved: keep the cursor on its thing, and that where it is on the screen.

        ``reset``: the user changed filter or sort, so the cursor may go to the top if its thing is not shown any more.
        """
        offset = self._row - self.scroll_offset.y
        seen = 0 <= offset < self._height
        new = None if self.cursor is None else self.rows.row(self.cursor)
        self.virtual_size = Size(self.size.width, len(self.rows) + 1)
        if new is not None and not (self._follow and self._row == 0):
            self._row = new
            if seen and new - offset != self.scroll_offset.y:
                self._scroll(max(0, new - offset))
        elif reset or self._follow or self._fresh:
            self._set_cursor(0)
            self._scroll(0)
        else:
            # Its thing is gone: nothing is under the cursor until the user moves it, so no key acts on a stranger.
            self._row = max(0, min(self._row, len(self.rows) - 1))
            if self.cursor is not None:
                self.cursor = None
                self.post_message(self.Moved(self, None))
        self.repaint()

    def _scroll(self, top: int) -> None:
        self.scroll_to(y=top, animate=False, force=True, immediate=True)

    def repaint(self) -> None:
        """Values may have changed: paint, unless what is seen would look the same."""
        look, painted = self._look(), self._painted
        self._painted = look
        if not painted or look.whole != painted.whole or len(look.rows) != len(painted.rows):
            self.refresh()
            return
        changed = [
            y for y, (new, old) in enumerate(zip(look.rows, painted.rows, strict=True), 1) if new != old
        ]
        if changed:
            self.refresh(*(Region(0, y, self.size.width, 1) for y in changed))

    def age(self) -> None:
        """Nothing happened, but time went on: paint, if an age that is seen is told differently now."""
        if self._painted is None:
            self.repaint()
            return
        ageing = [
            (at, column) for at, (column, _) in enumerate(self._fitting(self.size.width)) if column.ages
        ]
        for id, _, cells in self._painted.rows:
            if any(at >= len(cells) or column.cell(id) != cells[at] for at, column in ageing):
                self.repaint()
                return

    def _look(self) -> _Look:
        first = self.scroll_offset.y
        cells = [column.cell for column, _ in self._fitting(self.size.width)]
        return _Look(
            (self._row, first, self.cursor, self.dimmed, self.sorted_by, self.descending, self.size.width),
            [(id, id in self.marks, [cell(id) for cell in cells]) for id in self.seen],
        )

    @property
    def seen(self) -> tuple[str, ...]:
        """The ids on the screen."""
        first = self.scroll_offset.y
        return tuple(self.rows[row] for row in range(first, min(len(self.rows), first + self._height)))

    @property
    def _height(self) -> int:
        return max(1, self.size.height - 1)

    # -- the cursor ------------------------------------------------------------------------------------------

    def go_to(self, id: str) -> bool:
        """Put the cursor on a thing; False if it is not shown."""
        row = self.rows.row(id)
        if row is None:
            return False
        self._to(row)
        return True

    def action_move(self, by: int) -> None:
        """Some rows down."""
        # Where the cursor's thing went away, the next one has moved up to its row.
        self._to(self._row if self.cursor is None and by > 0 else self._row + by)

    def action_page(self, by: int) -> None:
        """Some pages down."""
        self._to(self._row + by * max(1, self._height - 1))

    def action_edge(self, which: int) -> None:
        """To the first or the last row."""
        self._to(0 if which < 0 else len(self.rows) - 1)

    def action_open(self) -> None:
        """Open what is under the cursor."""
        if self.cursor is not None:
            self.post_message(self.Opened(self, self.cursor))

    def _to(self, row: int) -> None:
        if not len(self.rows):
            return
        self._set_cursor(max(0, min(row, len(self.rows) - 1)))
        top = self.scroll_offset.y
        if self._row < top:
            self._scroll(self._row)
        elif self._row >= top + self._height:
            self._scroll(self._row - self._height + 1)
        self.repaint()

    def _set_cursor(self, row: int) -> None:
        self._row = row
        new = self.rows[row] if row < len(self.rows) else None
        self._fresh = self._fresh and new is None
        if new != self.cursor:
            self.cursor = new
            self.post_message(self.Moved(self, new))

    def on_click(self, event: events.Click) -> None:
        """Put the cursor there; a double click opens."""
        row = self.scroll_offset.y + event.y - 1
        if event.y > 0 and row < len(self.rows):
            self._to(row)
            if event.chain == 2:
                self.action_open()

    def on_resize(self, event: events.Resize) -> None:
        """Keep the cursor on the screen."""
        self.virtual_size = Size(event.size.width, len(self.rows) + 1)
        if self.cursor is not None and self.rows.row(self.cursor) is not None:
            self._to(self._row)
        self.refresh()

    # -- painting --------------------------------------------------------------------------------------------

    def _fitting(self, width: int) -> list[tuple[Column, int]]:
        return _fit(self.columns, width - 2)

    def render_lines(self, crop: Region) -> list[Strip]:
        """The lines that are to be painted."""
        # It is the same for all of them, and costly: Textual asks every ancestor.
        self._base = self.rich_style
        return super().render_lines(crop)

    def render_line(self, y: int) -> Strip:
        """One line of the screen: the heads, or a row."""
        width = self.size.width
        base = self._base
        if y == 0:
            return self._heads(width, base)
        row = self.scroll_offset.y + y - 1
        if row >= len(self.rows):
            text = self._empty() if y == 2 and not len(self.rows) else ""
            return Strip([Segment(set_cell_size(f"  {text}", width), base)], width)
        id = self.rows[row]
        # The cursor's row keeps its highlight even when its thing is gone; only actions know the difference.
        here = row == self._row
        if here:
            base += _style("reverse" if self.has_focus and self.cursor is not None else "underline")
        if self.dimmed:
            base += _style("dim")
        marked = id in self.marks
        pieces = [("▌ ", "bold yellow") if marked else ("  ", "")]
        for (column, cells), (text, style) in zip(self._fitting(width), self._cells(y, id), strict=True):
            pieces += ((_sized(clean(text), cells, right=column.right), style), (" ", ""))
        return Strip(_joined(pieces, base)).adjust_cell_length(width, base)

    def _cells(self, y: int, id: str) -> list[Cell]:
        """The cells of a row; most were worked out a moment ago, to find what is to be painted."""
        columns = self._fitting(self.size.width)
        painted = self._painted.rows[y - 1 : y] if self._painted else []
        if painted and painted[0][0] == id and len(painted[0][2]) == len(columns):
            return painted[0][2]
        return [column.cell(id) for column, _ in columns]

    def _heads(self, width: int, base: Style) -> Strip:
        style = base + _style("bold underline")
        segments = [Segment("  ", base)]
        for column, cells in self._fitting(width):
            title = column.title
            if title == self.sorted_by and title:
                title += "▼" if self.descending else "▲"
            segments.append(Segment(_sized(title, cells, right=column.right), style))
            segments.append(Segment(" ", base))
        return Strip(segments).adjust_cell_length(width, base)


def _joined(pieces: Iterable[tuple[str, str]], base: Style) -> list[Segment]:
    """As few segments as there are changes of style: each one costs, many times, on its way to the terminal."""
    return [
        Segment("".join(text for text, _ in run), base + _style(style) if style else base)
        for style, run in groupby(pieces, key=itemgetter(1))
    ]


@lru_cache(maxsize=256)
def _style(words: str) -> Style:
    return Style.parse(words) if words else Style.null()


@lru_cache(maxsize=64)
def _fit(columns: tuple[Column, ...], width: int) -> list[tuple[Column, int]]:
    """The columns that fit into so many cells, with their widths; one cell lies between two."""
    chosen = list(columns)
    while chosen:
        needed = sum((column.width or column.least) + 1 for column in chosen)
        droppable = [column for column in chosen if column.rank]
        if needed <= width or not droppable:
            break
        chosen.remove(max(droppable, key=lambda column: column.rank))
    open_columns = [column for column in chosen if not column.width]
    fixed = sum(column.width + 1 for column in chosen if column.width)
    share = (width - fixed) // len(open_columns) - 1 if open_columns else 0
    return [(column, column.width or max(column.least, share)) for column in chosen]


def _sized(text: str, cells: int, *, right: bool = False) -> str:
    length = cell_len(text)
    if length > cells:
        return set_cell_size(text, cells - 1) + "…" if cells > 1 else set_cell_size(text, cells)
    return " " * (cells - length) + text if right else text + " " * (cells - length)

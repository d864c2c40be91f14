"""The screens that are one table each: a grid, its filter line, and a line that says what is shown."""

from __future__ import annotations

from typing import Any, ClassVar, Generic, TypeVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.widgets import Input, Static

from .filters import FilterError, compile_terms, parse
from .grid import Grid
from .listing import Listing
from .model import Changes
from .tables import Table
from .words import plural

T = TypeVar("T")


class TablePane(Vertical, Generic[T]):
    """One screen with one table."""

    DEFAULT_CSS = """
    TablePane > Horizontal { height: 1; }
    TablePane .filter { height: 1; border: none; padding: 0 1; width: 1fr; }
    TablePane .told { height: 1; padding: 0 1; color: $text-muted; width: 1fr; }
    TablePane.filtering .told { width: auto; max-width: 60%; }
    TablePane .told.wrong { color: $text-error; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        # With priority, so that letters typed ahead reach the filter and are not taken for keys of the table.
        Binding("slash", "filter", "Filter", id="filter", key_display="/", priority=True),
        Binding("s", "app.sort", "Sort", id="sort"),
        Binding("S", "reverse", "Reverse", id="sort.reverse", show=False),
        Binding("space", "mark", "Mark", id="mark"),
        Binding("a", "mark_all", "Mark all shown, or none", id="mark.all", show=False),
        Binding("ctrl+z", "problems", "Problems only", id="problems"),
        Binding("y", "copy", "Copy", id="copy", show=False),
        Binding("escape", "back", "Back", id="back", show=False),
    ]

    def __init__(self, table: Table[T], *, id: str, title: str, follow: bool = False) -> None:
        super().__init__(id=id)
        self.table = table
        self.title = title
        self.listing: Listing[T] = Listing(table.things(), table.order)
        self.listing.descending = table.descending
        self.grid = Grid(self.listing, table.columns, follow=follow, empty=self._empty)
        self.filter_text = ""
        self.only_problems = False
        self.sorted_by = table.sorted_by
        self.listing.show(sort=table.sorts.get(table.sorted_by))
        self.grid.sorted_by = table.sorted_by
        self._input = Input(
            placeholder="state:failed node:n12 loss>0.1 !pool:gpu text", classes="filter", compact=True
        )
        self._input.display = False
        self._told = Static(classes="told", markup=False)
        self._error = ""
        self._said = ""

    def compose(self) -> ComposeResult:
        """The grid above the line."""
        yield self.grid
        with Horizontal():
            yield self._input
            yield self._told

    @property
    def grids(self) -> tuple[Grid, ...]:
        """Its tables."""
        return (self.grid,)

    # -- news ------------------------------------------------------------------------------------------------

    def update(self, changes: Changes) -> None:
        """The model changed."""
        if changes.learners is None or self.table.word != "learner":
            self._rebind()
        elif changes.learners:
            self.listing.update(changes.learners)
        self.grid.changed()
        self.tell()

    def rebuild(self) -> None:
        """Everything may be different."""
        self._rebind()
        self.grid.changed()
        self.tell()

    def _rebind(self) -> None:
        # The model makes new dictionaries for small things at each tick.
        self.listing.look_at(self.table.things())

    def tell(self) -> None:
        """Say what is shown."""
        total, shown = len(self.table.things()), len(self.listing)
        parts = [
            plural(total, self.table.word)
            if shown == total
            else f"{shown:,} of {plural(total, self.table.word)}"
        ]
        if self.only_problems:
            parts.append("problems only")
        if self.filter_text and not self.has_class("filtering"):
            parts.append(f"filter: {self.filter_text}")
        if self.marked():
            parts.append(f"{len(self.marked()):,} marked")
        if self._error:
            parts = [self._error]
        self._told.set_class(bool(self._error), "wrong")
        text = " · ".join(parts)
        if text != self._said:
            self._said = text
            self._told.update(text, layout=self.has_class("filtering"))

    def _empty(self) -> str:
        if self.filter_text or self.only_problems:
            return f"no {self.table.word} passes the filter (esc shows all)"
        return self.table.empty

    # -- what is chosen --------------------------------------------------------------------------------------

    def marked(self) -> list[str]:
        """The marked things that are still there, shown or not."""
        things = self.table.things()
        self.grid.marks = {id for id in self.grid.marks if id in things}
        return sorted(self.grid.marks, key=self.table.order)

    def chosen(self) -> list[str]:
        """What an action is for: all marked, else the one under the cursor."""
        marked = self.marked()
        if marked:
            return marked
        cursor = self.grid.cursor
        return [cursor] if cursor is not None and cursor in self.table.things() else []

    # -- keys ------------------------------------------------------------------------------------------------

    def action_mark(self) -> None:
        """Mark what is under the cursor, or not any more; go on to the next."""
        id = self.grid.cursor
        if id is None:
            return
        self.grid.marks ^= {id}
        self.grid.action_move(1)
        self.grid.repaint()
        self.tell()

    def action_mark_all(self) -> None:
        """Mark all that is shown; if it is, nothing."""
        shown = set(self.listing.ids())
        self.grid.marks = set() if shown <= self.grid.marks else self.grid.marks | shown
        self.grid.repaint()
        self.tell()

    def action_problems(self) -> None:
        """Show problems only, or all again."""
        self.only_problems = not self.only_problems
        self._show()

    def action_filter(self) -> None:
        """Type a filter."""
        if self.has_class("filtering"):
            self._input.insert_text_at_cursor("/")
            return
        self.add_class("filtering")
        self._input.display = True
        self._input.value = self.filter_text
        self.screen.set_focus(self._input)
        self.tell()

    def set_filter(self, text: str) -> bool:
        """Show what passes; a filter that cannot be read changes nothing and is told. False then."""
        try:
            compile_terms(parse(text, self.table.fields), self.table.fields)
        except FilterError as error:
            self._error = str(error)
            self.tell()
            return False
        self._error, self.filter_text = "", text
        self._show()
        return True

    def _show(self) -> None:
        terms = parse(self.filter_text, self.table.fields)
        passes, problem = compile_terms(terms, self.table.fields), self.table.problem
        self._rebind()
        if self.only_problems:
            self.listing.show(passes=lambda thing: problem(thing) and passes(thing))
        else:
            self.listing.show(passes=passes)
        self.grid.changed(reset=True)
        self.tell()

    @property
    def shifting(self) -> bool:
        """Whether what passes may change although nothing about the things themselves does."""
        return any(
            term.field in ("age", "node", "run", "name", "") for term in self._terms()
        ) or self.sorted_by in (
            "Node",
            "Run",
            "Name",
        )

    def _terms(self) -> tuple[Any, ...]:
        return parse(self.filter_text, self.table.fields)

    def on_input_changed(self, event: Input.Changed) -> None:
        """Filter while typing."""
        event.stop()
        if self.has_class("filtering"):
            self.set_filter(event.value)

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Back to the table."""
        event.stop()
        self._leave_filter()

    @property
    def at_hand(self) -> Grid | Input:
        """What the keys are for: the filter line while one is typed, else the table."""
        return self._input if self.has_class("filtering") else self.grid

    def _leave_filter(self) -> None:
        self.remove_class("filtering")
        self._input.display = False
        self._error = ""
        self.screen.set_focus(self.grid)
        self.tell()

    def action_back(self) -> None:
        """Take back one thing: the filter line, the filter, "problems only", the marks."""
        if self.has_class("filtering"):
            self._leave_filter()
        elif self.filter_text or self.only_problems:
            self.only_problems = False
            self.set_filter("")
        elif self.grid.marks:
            self.grid.marks = set()
            self.grid.repaint()
            self.tell()

    def sort_by(self, title: str) -> None:
        """Sort by a column; by the same one again: the other way round."""
        again = title == self.sorted_by
        self._sort(
            title,
            descending=not self.listing.descending if again else title in ("Points", "Loss", "Att", "Pri"),
        )

    def action_reverse(self) -> None:
        """The other way round."""
        self._sort(self.sorted_by, descending=not self.listing.descending)

    def _sort(self, title: str, *, descending: bool) -> None:
        self.sorted_by = title
        self.listing.show(sort=self.table.sorts.get(title), descending=descending)
        self.grid.sorted_by, self.grid.descending = title, descending
        self.grid.changed(reset=True)

    def action_copy(self) -> None:
        """Copy what is under the cursor (OSC 52)."""
        if self.grid.cursor is not None:
            text = self.table.copies(self.grid.cursor)
            self.app.copy_to_clipboard(text)
            self.notify(f"copied {text}", timeout=2)

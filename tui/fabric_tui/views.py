"""The learner's detail, beside the table or on a screen of its own, and a job's log followed live."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.content import Content
from textual.screen import Screen
from textual.widgets import Footer, RichLog, Static

from . import words
from .detail import Frame, detail
from .lines import Lines
from .model import Model
from .peek import Data
from .tables import Clock
from .updates import LogText


class DetailPane(VerticalScroll, can_focus=True):
    """All of one learner."""

    DEFAULT_CSS = """
    DetailPane > Static { min-height: 100%; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("j", "scroll_down", show=False, id="detail.down"),
        Binding("k", "scroll_up", show=False, id="detail.up"),
        Binding("g", "scroll_home", show=False, id="detail.top"),
        Binding("G", "scroll_end", show=False, id="detail.bottom"),
    ]

    def __init__(self, model: Model, now: Clock, *, whole: bool, id: str) -> None:
        super().__init__(id=id)
        self._model = model
        self._now = now
        self._whole = whole
        self._text = Lines()
        self._painted = Text()
        self.learner: str | None = None
        self.data: dict[str, Data] = {}

    def compose(self) -> ComposeResult:
        """One text."""
        yield self._text

    def show(self, learner: str | None) -> None:
        """Show another learner."""
        if learner != self.learner:
            self.learner = learner
            if self.scroll_offset.y:
                self.scroll_home(animate=False)
        self.tell()

    def tell(self) -> None:
        """Paint, if anything is different."""
        width = max(20, self.size.width - 4)
        if self.learner is None:
            text = Text("no learner under the cursor", "dim")
        else:
            frame = Frame(width, self._whole, plot_height=12 if self._whole else 8)
            text = detail(self._model, self.learner, self._now(), frame, self.data.get(self.learner))
        if text != self._painted or text.spans != self._painted.spans:
            self._painted = text
            self._text.show(Content.from_rich_text(text), self.size.height)


class DetailScreen(Screen[None]):
    """One learner on a screen of its own."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "close", "Back", id="back"),
        Binding("d", "app.data", "Draw its data", id="detail.data"),
        Binding("l", "app.log", "Log", id="log"),
        Binding("y", "copy", "Copy", id="copy", show=False),
    ]

    def __init__(self, pane: DetailPane, health: Static) -> None:
        super().__init__()
        self.pane = pane
        self.health = health

    def compose(self) -> ComposeResult:
        """Health, the detail, the keys."""
        yield self.health
        yield self.pane
        yield Footer(show_command_palette=False)

    def on_mount(self) -> None:
        """Keys scroll the detail."""
        self.pane.focus()

    def action_close(self) -> None:
        """Back to the table."""
        self.dismiss(None)

    def action_copy(self) -> None:
        """Copy the learner's id (OSC 52)."""
        self.app.copy_to_clipboard(self.pane.learner or "")
        self.notify(f"copied {self.pane.learner}", timeout=2)


class LogScreen(Screen[None]):
    """A job's log, followed; of a learner only what speaks of it or of nobody."""

    DEFAULT_CSS = """
    LogScreen .log-title { height: 1; padding: 0 1; background: $surface; text-style: bold; }
    LogScreen RichLog { height: 1fr; padding: 0 1; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "close", "Back", id="back"),
        Binding("j", "scroll(1)", show=False, id="log.down"),
        Binding("k", "scroll(-1)", show=False, id="log.up"),
        Binding("g", "edge(-1)", "First", id="log.top", show=False),
        Binding("G", "edge(1)", "Follow", id="log.bottom"),
    ]

    def __init__(self, model: Model, job: str, learner: str | None, health: Static) -> None:
        super().__init__()
        self.job = job
        self.learner = learner
        self.health = health
        self._model = model
        self._log = RichLog(max_lines=1000, wrap=True, auto_scroll=True)
        self._last: str | None = None

    def compose(self) -> ComposeResult:
        """Health, the lines, the keys."""
        of = f" · lines of {self._model.name(self.learner)}" if self.learner else ""
        yield self.health
        yield Static(Text(words.clean(f"log of job {self.job}{of}")), classes="log-title")
        yield self._log
        yield Footer(show_command_palette=False)

    def on_mount(self) -> None:
        """Keys scroll the log."""
        self._log.focus()
        self.tell()

    def tell(self) -> None:
        """Add what is new."""
        if self._model.log_job != self.job:
            return
        for line in self._fresh(self._model.log):
            text = Text(f"{words.clock(line.at)} ", "dim")
            if line.learner:
                text.append(f"{line.learner} ", "cyan")
            self._log.write(text.append(words.clean(line.text), ""))

    def _fresh(self, lines: list[LogText]) -> list[LogText]:
        ids = [line.id for line in lines]
        start = ids.index(self._last) + 1 if self._last in ids else 0
        if lines:
            self._last = lines[-1].id
        return [line for line in lines[start:] if self.learner is None or line.learner in ("", self.learner)]

    def action_scroll(self, by: int) -> None:
        """Up or down; following stops."""
        self._log.auto_scroll = False
        self._log.scroll_relative(y=by, animate=False)

    def action_edge(self, which: int) -> None:
        """To the first line, or to the last one and follow."""
        self._log.auto_scroll = which > 0
        (self._log.scroll_end if which > 0 else self._log.scroll_home)(animate=False)

    def action_close(self) -> None:
        """Back."""
        self.dismiss(None)


class TextScreen(Screen[None]):
    """A longer text, such as a task's traceback."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "close", "Back", id="back")]

    def __init__(self, text: Callable[[], Text]) -> None:
        super().__init__()
        self._text = text

    def compose(self) -> ComposeResult:
        """The text, and the keys."""
        with VerticalScroll():
            yield Static(self._text())
        yield Footer(show_command_palette=False)

    def action_close(self) -> None:
        """Back."""
        self.dismiss(None)

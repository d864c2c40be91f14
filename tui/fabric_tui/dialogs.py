"""What comes in front of a screen: the confirmation of an action, a choice, help."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar

from rich.text import Text
from textual import events
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical, VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import Input, OptionList, Static
from textual.widgets.option_list import Option

from .actions import Plan
from .words import clean

_CSS = """
$name { align: center middle; background: $background 60%; }
$name > .box {
    width: 76; max-width: 100%; height: auto; max-height: 90%;
    border: round $accent; padding: 1 2; background: $surface;
}
$name Static { width: 1fr; height: auto; }
$name Input { margin: 1 0 0 0; }
"""

NUMBER = 10**6
"""Larger numbers are typing errors."""


def _css(name: str) -> str:
    return _CSS.replace("$name", name)


class Confirm(ModalScreen[tuple[bool, int | None]]):
    """Names how many are touched and what exactly happens; answers yes or no, and the number that was asked for."""

    DEFAULT_CSS = _css("Confirm")
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("y", "yes", "Yes", show=False),
        Binding("n,escape", "no", "No", show=False),
    ]

    def __init__(self, plan: Plan, names: Callable[[str], str], number: int | None = None) -> None:
        super().__init__()
        self._plan = plan
        self._names = names
        self._first = number
        self._wrong = ""

    def compose(self) -> ComposeResult:
        """The question, the effect, the keys."""
        with Vertical(classes="box"):
            yield Static(id="confirm-text")
            if self._plan.action.asks:
                yield Input("" if self._first is None else str(self._first), id="confirm-number")
            yield Static(id="confirm-keys")

    def on_mount(self) -> None:
        """Fill it."""
        self._tell()

    def _tell(self) -> None:
        plan, text = self._plan, Text()
        text.append(f"{plan.question()}\n\n", "bold")
        text.append(f"{clean(plan.targets(self._names))}\n\n")
        text.append(f"Effect: {plan.effect(self._number())}.\n")
        if plan.left_alone():
            text.append(f"{plan.left_alone()}\n", "yellow")
        if plan.action.asks:
            text.append(f"\n{plan.action.asks.capitalize()}:", "bold")
        self.query_one("#confirm-text", Static).update(text)
        keys = "enter: do it   esc: no" if plan.action.asks else "y: do it   n, esc: no"
        self.query_one("#confirm-keys", Static).update(Text(f"\n{self._wrong or keys}", "bold"))

    def _number(self) -> int | None:
        if not self._plan.action.asks:
            return None
        text = self.query_one("#confirm-number", Input).value.strip()
        sign = "-" if text.startswith("-") else ""
        if not text.removeprefix(sign).isdecimal():
            return None
        number = int(text)
        lowest = -NUMBER if self._plan.action.lowest is None else self._plan.action.lowest
        return number if lowest <= number <= NUMBER else None

    def on_input_changed(self) -> None:
        """The effect names the number."""
        self._wrong = ""
        self._tell()

    def on_input_submitted(self) -> None:
        """Enter in the number's line is a yes."""
        self.action_yes()

    def action_yes(self) -> None:
        """Do it."""
        number = self._number()
        if self._plan.action.asks and number is None:
            self._wrong = f"the {self._plan.action.asks} is a whole number, {self._bounds()}"
            self._tell()
            return
        self.dismiss((True, number))

    def _bounds(self) -> str:
        lowest = self._plan.action.lowest
        return "positive or negative" if lowest is None else f"{lowest} or more"

    def action_no(self) -> None:
        """Leave everything as it is."""
        self.dismiss((False, None))


class Choice(ModalScreen[str | None]):
    """One of a few."""

    DEFAULT_CSS = (
        _css("Choice")
        + "Choice > .box { width: 40; } Choice OptionList { height: auto; max-height: 16; border: none; }"
    )
    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "no", "No", show=False)]

    def __init__(self, title: str, options: Sequence[str], now: str) -> None:
        super().__init__()
        self._title = title
        self._options = list(options)
        self._now = now

    def compose(self) -> ComposeResult:
        """The options."""
        with Vertical(classes="box"):
            yield Static(Text(self._title, "bold"))
            yield OptionList(*(Option(option, id=f"option-{n}") for n, option in enumerate(self._options)))

    def on_mount(self) -> None:
        """Begin with what is chosen now."""
        if self._now in self._options:
            self.query_one(OptionList).highlighted = self._options.index(self._now)

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        """That one."""
        self.dismiss(self._options[event.option_index])

    def action_no(self) -> None:
        """None of them."""
        self.dismiss(None)


class Help(ModalScreen[None]):
    """What the screen at hand shows, and its keys."""

    DEFAULT_CSS = _css("Help") + "Help > .box { width: 92; }"

    def __init__(self, text: Text) -> None:
        super().__init__()
        self._text = text

    def compose(self) -> ComposeResult:
        """The text."""
        with VerticalScroll(classes="box"):
            yield Static(self._text)

    def on_key(self, event: events.Key) -> None:
        """Any key but those that scroll closes it."""
        if event.key in ("up", "down", "pageup", "pagedown", "home", "end"):
            return
        event.stop()
        event.prevent_default()
        self.dismiss(None)

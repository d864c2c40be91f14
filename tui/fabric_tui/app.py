"""The app as a whole: its keys, its palette, and what it does to the fabric once the user has confirmed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any, ClassVar

from textual import work
from textual.app import SystemCommand
from textual.binding import Binding, BindingType
from textual.screen import Screen

from fabric_broker.errors import FabricError

from . import helping
from .actions import ALL_ACTIONS, Action, Plan, plan, thing_id
from .dialogs import Choice, Confirm, Help
from .going import GoingApp
from .model import Changes
from .panes import TablePane
from .views import DetailScreen
from .watching import PANES, Options

__all__ = ["FabricApp", "Options"]


class FabricApp(GoingApp):
    """See and steer a fabric."""

    TITLE = "fabric-tui"
    BINDINGS: ClassVar[list[BindingType]] = [
        *(
            Binding(str(n), f"screen('{name}')", name.capitalize(), id=f"screen.{name}", show=False)
            for n, name in enumerate(PANES, 1)
        ),
        Binding("question_mark", "help", "Help", id="help", key_display="?"),
        Binding("p", "freeze", "Freeze", id="freeze"),
        Binding("l", "log", "Log", id="log"),
        Binding("d", "data", "Draw data", id="detail.data", show=False),
        Binding("ctrl+r", "retry_connection", "Reconnect now", id="reconnect", show=False),
        Binding("ctrl+p", "command_palette", "Palette", id="palette", show=False),
        Binding("q", "quit", "Quit", id="quit", show=False),
        *(
            Binding(action.key, f"act('{action.id}')", action.title, id=action.id, show=action.key in "rDN")
            for action in ALL_ACTIONS
        ),
    ]

    # -- the rest of the keys --------------------------------------------------------------------------------

    async def action_back(self) -> None:
        """From the detail back to the table."""
        self.pane.grid.focus()

    def action_sort(self) -> None:
        """Choose the column to sort by."""
        pane = self.pane
        if not isinstance(pane, TablePane):
            return

        def chosen(title: str | None) -> None:
            if title is not None:
                pane.sort_by(title)

        self.push_screen(
            Choice("Sort by (again: the other way round)", list(pane.table.sorts), pane.sorted_by), chosen
        )

    def action_freeze(self) -> None:
        """Hold everything as it is, or go on."""
        self._badges = replace(self._badges, frozen=not self._badges.frozen)
        self.feed.freeze(frozen=self._badges.frozen)
        self._tell()

    def action_retry_connection(self) -> None:
        """Do not wait for the next try."""
        self.feed.wake()

    def action_help(self) -> None:
        """Help for the screen at hand."""
        self.push_screen(Help(helping.help_text(self, self._switcher.current or "overview")))

    def get_system_commands(self, screen: Screen[Any]) -> Iterable[SystemCommand]:  # noqa: ARG002 - Textual's signature
        """What the palette offers: screens, actions, and what has a key."""
        for number, name in enumerate(PANES, 1):
            yield SystemCommand(
                f"Screen {number}: {name}", f"key {number}", lambda name=name: self.action_screen(name)
            )
        for action in ALL_ACTIONS:
            if self.check_action("act", (action.id,)):
                told = f"key {helping.key_of(self, action.id)}: {action.effect}"
                yield SystemCommand(action.title, told, lambda id=action.id: self.action_act(id))
        yield SystemCommand("Problems only", "hide what is well", lambda: self._on_table("action_problems"))
        yield SystemCommand("Sort", "by another column", self.action_sort)
        yield SystemCommand("Freeze", "hold everything as it is, or go on", self.action_freeze)
        yield SystemCommand("Help", "for the screen at hand", self.action_help)
        yield SystemCommand("Theme", "other colours", self.action_change_theme)
        yield SystemCommand("Quit", "leave; the fabric goes on", self.exit)

    def _on_table(self, action: str) -> None:
        if isinstance(self.pane, TablePane):
            getattr(self.pane, action)()

    # -- acting ----------------------------------------------------------------------------------------------

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """An action exists only where it applies, never when read-only, nor where nothing can be seen."""
        if action == "act":
            if self.options.read_only or self.options.replaying or self._small.display:
                return False
            wanted = next(each for each in ALL_ACTIONS if each.id == parameters[0])
            at_hand = {"learners": "learner", "jobs": "job", "pools": "pool"}.get(
                self._switcher.current or ""
            )
            if isinstance(self.screen, DetailScreen):
                at_hand = "learner"
            return wanted.target == at_hand
        return True

    def action_act(self, id: str) -> None:
        """Ask whether to do it; what it is for is fixed at this moment."""
        if not self.check_action("act", (id,)):
            return
        action = next(each for each in ALL_ACTIONS if each.id == id)
        if self.model.connection != "live":
            self.notify("the fabric is not connected; nothing can be asked for", severity="warning")
            return
        ids = (
            [self.screen.pane.learner or ""] if isinstance(self.screen, DetailScreen) else self.pane.chosen()
        )
        planned = plan(action, self.model, ids, self.options.by)
        if not ids:
            self.notify(f"no {action.target} is marked or under the cursor", severity="warning")
        elif not planned.things:
            self.notify(f"{action.title}: nothing to do; {action.no_effect}", severity="warning")
        else:
            self._confirm(planned, action)

    def _confirm(self, planned: Plan, action: Action) -> None:
        def answered(answer: tuple[bool, int | None] | None) -> None:
            if answer is not None and answer[0]:
                self._carry_out(planned, answer[1])

        first = planned.first_number() if action.asks else None
        self.push_screen(Confirm(planned, self.model.name, first), answered)

    @work(group="act")
    async def _carry_out(self, planned: Plan, number: int | None) -> None:
        ids = [thing_id(thing) for thing in planned.things]
        for thing in planned.things:
            self.model.requests.ask(planned.action.target, thing_id(thing), planned.requested(thing, number))
        self._unmark(ids)
        try:
            answers = await self.feed.do([planned.note(number), *planned.calls(number)])
        except FabricError as error:
            self.model.requests.withdraw(ids)
            self.notify(f"{planned.action.title}: {error}", severity="error", timeout=10, markup=False)
        else:
            self.notify(planned.told(answers[1:]), timeout=4, markup=False)
            if planned.nothing_changed(answers[1:]):
                self.model.requests.withdraw(ids)
        self._paint(Changes())
        self.feed.wake()

    def _unmark(self, ids: Sequence[str]) -> None:
        self.pane.grid.marks -= set(ids)
        self._paint(Changes())

"""The part of the app that goes from screen to screen: what enter, l, d and the numbers open."""

from __future__ import annotations

import asyncio

from textual import work
from textual.widgets import Static

from . import helping
from .grid import Grid
from .panes import TablePane
from .peek import Peeker
from .views import DetailPane, DetailScreen, LogScreen, TextScreen
from .watching import WatchingApp


class GoingApp(WatchingApp):
    """Adds the ways between screens."""

    def action_screen(self, name: str) -> None:
        """Another screen."""
        while len(self.screen_stack) > 1:
            self.pop_screen()
        self._switcher.current = name
        self._sorting = self._sorting or name == "learners"
        self._arrange()
        if name == "events":
            self._sort_events()
        self.pane.rebuild()
        self.screen.set_focus(None)  # `_tell` gives it to the pane, if that can be seen
        self.refresh_bindings()
        self._tell()
        self.feed.wake()

    def on_grid_moved(self, event: Grid.Moved) -> None:
        """The cursor is on another learner: its detail is asked for as soon as the cursor rests."""
        if event.grid is self.learners.grid and self.side.display:
            self.side.show(event.thing)
            self._rest()

    @work(exclusive=True, group="rest")
    async def _rest(self) -> None:
        await asyncio.sleep(0.15)
        self.feed.wake()

    def on_grid_opened(self, event: Grid.Opened) -> None:
        """Enter, or a double click."""
        thing = event.thing
        if thing is None:
            return
        if event.grid is self.overview.grid:
            self._jump("learners", f"run:{thing}")
        elif event.grid is self.overview.worst:
            problem = self.overview.problem(thing)
            if problem is not None:
                self._jump(problem.where, problem.filter)
        elif self.pane is self.learners:
            self._open_learner(thing)
        elif self.pane is self.panes["jobs"]:
            self._jump("learners", f"job:{thing}")
        elif self.pane is self.panes["pools"]:
            self._jump("jobs", f"pool:{thing}")
        elif self.pane is self.panes["events"]:
            event_seen = self._events.get(thing)
            if event_seen is not None and event_seen.learner in self.model.learners:
                self._push_detail(event_seen.learner)
        elif self.pane is self.panes["control"]:
            self.push_screen(TextScreen(lambda: helping.task_text(self.model, thing)))

    def _jump(self, name: str, text: str) -> None:
        self.action_screen(name)
        pane = self.pane
        if isinstance(pane, TablePane):
            pane.only_problems = False
            pane.set_filter(text)

    def _open_learner(self, learner: str) -> None:
        if self.side.display:
            self.side.focus()
            self.action_data()
        else:
            self._push_detail(learner)

    def _push_detail(self, learner: str) -> None:
        pane = DetailPane(self.model, self.now, whole=True, id="whole")
        pane.data, pane.learner = self.side.data, learner
        self.push_screen(DetailScreen(pane, Static(classes="health")))
        self.feed.wake()
        self.call_after_refresh(self._tell)
        self.action_data()

    def action_log(self) -> None:
        """Follow a log: of the job under the cursor, or of the learner's job."""
        if self.pane is self.panes["jobs"]:
            job, learner = self.pane.grid.cursor, None
        else:
            learner = self._learner_at_hand()
            job = self.model.last_job(learner) if learner else None
        if job is None:
            self.notify("no job is known that wrote a log about this", severity="warning")
            return
        self.push_screen(LogScreen(self.model, job, learner, Static(classes="health")))
        self.feed.wake()

    def _learner_at_hand(self) -> str | None:
        if isinstance(self.screen, DetailScreen):
            return self.screen.pane.learner
        if self.pane is self.learners:
            return self.learners.grid.cursor
        if self.pane is self.panes["events"] and self.pane.grid.cursor in self._events:
            return self._events[self.pane.grid.cursor or ""].learner or None
        return None

    def action_data(self) -> None:
        """Read the learner's data and draw them."""
        learner = self._learner_at_hand() or (self.subject if self.side.display else None)
        if learner is None or self.options.peeker is None:
            return
        self._peek(learner, self.options.peeker)

    @work(exclusive=True, group="peek")
    async def _peek(self, learner: str, peeker: Peeker) -> None:
        data = await peeker.data(learner)
        self.side.data[learner] = data
        while len(self.side.data) > 8:
            del self.side.data[next(iter(self.side.data))]
        self._tell_detail()

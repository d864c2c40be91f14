"""The part of the app that watches: it owns model, feed and screens, and hands news to what is seen."""

from __future__ import annotations

import os
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import takewhile
from typing import Any

from textual import events, work
from textual.app import App, ComposeResult
from textual.containers import Container, Horizontal
from textual.widgets import ContentSwitcher, Footer, Static

from fabric_broker.watch import Happening

from . import tables
from .asking import Ask
from .feed import TICK, Feed, Source
from .health import Badges, health_line, notice, too_small
from .live import NAMES_A_TICK
from .model import Changes, Model
from .overview import Overview
from .panes import TablePane
from .peek import Peeker
from .recording import Recorder
from .updates import Glance, Trouble, Update
from .views import DetailPane, DetailScreen, LogScreen

SIDE_PANE_FROM = 120
"""Columns from which the detail is beside the table."""
SEEN_AT_MOST = 200

PANES = ("overview", "learners", "jobs", "pools", "events", "control")
"""By their numbers, from 1 on."""


@dataclass(frozen=True, slots=True)
class Options:
    """How the app is started."""

    read_only: bool = False
    replaying: bool = False
    by: str = "somebody"
    """who acts, for the events"""
    keys: Mapping[str, str] = field(default_factory=dict)
    """other keys, by id"""
    recorder: Recorder | None = None
    peeker: Peeker | None = None
    parent: int | None = None
    """the process that serves it to a browser: when that is gone, it ends"""
    tick: float = TICK
    clock: Callable[[], float] = time.monotonic
    """seconds; goes on between two looks at Redis TIME"""


class WatchingApp(App[None]):
    """Shows a fabric; see `FabricApp` for all of it."""

    CSS_PATH = "app.tcss"

    def __init__(self, open_source: Callable[[], Source], options: Options | None = None) -> None:
        super().__init__()
        self.options = options or Options()
        self.model = Model()
        self.feed = Feed(open_source, self._ask, self._deliver, tick=self.options.tick)
        self._badges = Badges(
            read_only=self.options.read_only,
            recording=self.options.recorder is not None,
            replaying=self.options.replaying,
        )
        self._heard = self.options.clock()
        self._retry_at = 0.0
        self._sorting = False
        """the table of learners was looked at: before, nobody needs its order"""
        self._events: OrderedDict[str, Happening] = OrderedDict()
        self.overview = Overview(self.model, self.now, id="overview")
        self.learners = TablePane(tables.learners(self.model, self.now), id="learners", title="Learners")
        self.panes: dict[str, TablePane[Any]] = {
            "learners": self.learners,
            "jobs": TablePane(tables.jobs(self.model, self.now), id="jobs", title="Jobs"),
            "pools": TablePane(tables.pools(self.model, self.now), id="pools", title="Pools"),
            "events": TablePane(
                tables.events(self.model, self._events), id="events", title="Events", follow=True
            ),
            "control": TablePane(tables.tasks(self.model, self.now), id="control", title="Control plane"),
        }
        self.side = DetailPane(self.model, self.now, whole=False, id="side")
        self._health = Static(classes="health")
        self._switcher = ContentSwitcher(initial="overview", id="panes")
        self._main = Horizontal(id="main")
        self._notice = Static(id="notice")
        self._small = Static(id="small")

    # -- layout ----------------------------------------------------------------------------------------------

    def compose(self) -> ComposeResult:
        """Health, the screens, the keys; what covers them when there is nothing to see."""
        yield self._health
        with Container(id="body"):
            with self._main:
                with self._switcher:
                    yield self.overview
                    yield from self.panes.values()
                yield self.side
            yield self._notice
        yield Footer(show_command_palette=False)
        yield self._small

    def on_mount(self) -> None:
        """Begin to read."""
        self.set_keymap(dict(self.options.keys))
        self._tell()
        self.set_interval(1.0, self._second)
        self._read()

    @work(exclusive=True, group="feed")
    async def _read(self) -> None:
        await self.feed.run()

    # -- news ------------------------------------------------------------------------------------------------

    def now(self) -> float:
        """Redis TIME at this moment."""
        return self.model.now + max(0.0, self.options.clock() - self._heard)

    def _deliver(self, updates: Sequence[Update]) -> None:
        if not self.is_running:
            return  # an answer that came while the screens were taken down
        if self.options.recorder is not None and not isinstance(updates[0], Glance):
            self.options.recorder.note(updates)
        ids: set[str] = set()
        everything = False
        for update in updates:
            if isinstance(update, Trouble):
                self._retry_at = self.options.clock() + update.wait
                if update.attempt == 1 and update.kind != "unreachable":
                    self.notify(update.text, severity="error", timeout=8, markup=False)
            before = self.model.now
            changes = self.model.apply(update)
            if self.model.now != before:
                self._heard = self.options.clock()
            everything = everything or changes.learners is None or (changes.nodes and self.learners.shifting)
            ids |= changes.learners or frozenset()
        if self.pane is self.panes["events"]:
            self._sort_events()
        changes = Changes(None if everything else frozenset(ids))
        if self._sorting:
            # The table of learners keeps its order in small steps, so it is told even when it is not seen.
            self.learners.listing.update(ids) if not everything else self.learners.rebuild()
        self._paint(changes)

    def _sort_events(self) -> None:
        log, known = self.model.events, self._events
        if log.oldest is None:
            known.clear()
        elif log.oldest not in known:  # begun anew, or read further back
            known.clear()
            known.update((event.id, event) for event in log)
        else:
            while next(iter(known)) != log.oldest:
                known.popitem(last=False)
            fresh = list(takewhile(lambda event: event.id not in known, log.backwards()))
            known.update((event.id, event) for event in reversed(fresh))
        if len(known) != len(log):  # another Redis: some of those that were known never happened there
            known.clear()
            known.update((event.id, event) for event in log)

    def _paint(self, changes: Changes) -> None:
        if self.pane is self.learners:
            self.learners.grid.changed()
            self.learners.tell()
        else:
            self.pane.update(changes)
        self._tell()

    def _second(self) -> None:
        """Ages grow."""
        if not self.is_running:
            return
        if self.options.parent is not None and os.getppid() != self.options.parent:
            self.exit()
        if not self._badges.frozen:
            self.pane.grid.age()
            if self.pane is self.overview:
                self.overview.tell()
        self._tell()

    def _tell(self) -> None:
        retry_in = max(0.0, self._retry_at - self.options.clock())
        here = self._switcher.current
        screens = [(name.capitalize(), name == here) for name in PANES]
        now = self.model.now + (self.options.clock() - self._heard)
        line = health_line(self.model, self._badges, now, retry_in, screens)
        # No queries here: they ask every widget there is, each second, for days.
        bar = getattr(self.screen, "health", self._health)
        if bar.content != line:
            bar.update(line, layout=False)
        told = notice(self.model, retry_in)
        # What is hidden loses the focus, so that no key acts on what cannot be seen.
        shown = told is None and not self._small.display
        self._main.display = shown
        if shown and self.screen is self.default_screen and self.screen.focused is None:
            pane = self.pane
            self.screen.set_focus(pane.at_hand if isinstance(pane, TablePane) else pane.grid)
        self._notice.display = told is not None
        if told is not None:
            self._notice.update(told)
        stale = self.model.connection == "stale"
        for grid in self.pane.grids:
            if grid.dimmed != stale:
                grid.dimmed = stale
                grid.repaint()
        self._tell_detail()

    def _tell_detail(self) -> None:
        screen = self.screen
        if isinstance(screen, DetailScreen):
            screen.pane.tell()
        elif isinstance(screen, LogScreen):
            screen.tell()
        elif self.side.display:
            self.side.show(self.learners.grid.cursor)

    # -- what is looked at -----------------------------------------------------------------------------------

    @property
    def pane(self) -> Overview | TablePane[Any]:
        """The screen at hand."""
        current = self._switcher.current or "overview"
        return self.overview if current == "overview" else self.panes[current]

    @property
    def subject(self) -> str | None:
        """The learner that is shown in detail."""
        screen = self.screen
        if isinstance(screen, DetailScreen):
            return screen.pane.learner
        if isinstance(screen, LogScreen):
            return screen.learner
        return self.learners.grid.cursor if self.side.display and self.pane is self.learners else None

    def _ask(self) -> Ask:
        if not self.is_running:
            return Ask()
        seen = self.learners.grid.seen if self.pane is self.learners else ()
        subject, screen = self.subject, self.screen
        job = (
            screen.job if isinstance(screen, LogScreen) else self.model.last_job(subject) if subject else None
        )
        lines = self.model.log if job == self.model.log_job else []
        log = self.model.events
        asked = tuple(self.model.requests.learners())
        back = self.pane is self.panes["events"] or subject is not None
        return Ask(
            seen=(*seen, *asked)[:SEEN_AT_MOST],
            learner=subject,
            log=job,
            log_after=lines[-1].id if lines else None,
            control=self.pane is self.panes["control"] or self.options.recorder is not None,
            before=log.oldest if back and log.may_grow_back else None,
            nameless=self.model.nameless(NAMES_A_TICK, first=seen),
        )

    def on_resize(self, event: events.Resize) -> None:
        """Another size."""
        told = too_small(event.size.width, event.size.height)
        self._small.display = told is not None
        if told is not None:
            self._small.update(told)
        self._arrange(event.size.width)
        self._tell()

    def _arrange(self, width: int | None = None) -> None:
        wide = (width or self.size.width) >= SIDE_PANE_FROM
        self.side.display = wide and self._switcher.current == "learners"
        if not self.side.display and self.side.has_focus:
            self.pane.grid.focus()

"""What the app remembers of the past: events, rates, losses. All of it bounded, for it is left open for days."""

from __future__ import annotations

from array import array
from collections import deque
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Final

from fabric_broker.watch import Happening

EVENTS: Final = 10_000
"""So many events are kept."""

BIN: Final = 10.0
"""Seconds per bar of a sparkline."""
BINS: Final = 90
LOSSES: Final = 64
"""So many (points, loss) pairs are kept per learner; older ones get sparse."""


class EventLog:
    """A stretch of the events' stream without gaps, oldest first."""

    def __init__(self) -> None:
        self._events: deque[Happening] = deque(maxlen=EVENTS)
        self.complete = False
        """nothing older is kept in Redis"""
        self._asked = ""
        self._answer: list[Happening] | None = None

    def __iter__(self) -> Iterator[Happening]:
        return iter(self._events)

    def __len__(self) -> int:
        return len(self._events)

    def backwards(self) -> Iterator[Happening]:
        """From the newest to the oldest."""
        return reversed(self._events)

    def of(self, learner: str) -> list[Happening]:
        """What is known to have happened to a learner, oldest first."""
        # Asked at every tick for the one learner that is shown.
        if self._answer is None or self._asked != learner:
            self._asked, self._answer = learner, [event for event in self._events if event.learner == learner]
        return self._answer

    @property
    def oldest(self) -> str | None:
        """The id of the oldest event that is here."""
        return self._events[0].id if self._events else None

    @property
    def may_grow_back(self) -> bool:
        """Whether reading further back makes sense."""
        return not self.complete and bool(self._events) and len(self._events) < EVENTS

    def begin(self, events: Iterable[Happening]) -> None:
        """Forget all and begin with these: the stream went on without us."""
        self._events = deque(events, maxlen=EVENTS)
        self.complete, self._answer = False, None

    def extend(self, newer: Iterable[Happening]) -> None:
        """What happened since."""
        came = tuple(newer)
        if self._answer is not None and came:
            # Of ten thousand only those that came or go are looked at.
            too_many = len(self._events) + len(came) - EVENTS
            gone = sum(event.learner == self._asked for event in islice(self._events, max(0, too_many)))
            more = [event for event in came[-EVENTS:] if event.learner == self._asked]
            self._answer = self._answer[gone:] + more
        self._events.extend(came)

    def extend_back(self, older: Iterable[Happening]) -> None:
        """What happened before, newest first."""
        for event in older:
            if len(self._events) < EVENTS:
                self._events.appendleft(event)
                self._answer = None


class Trend:
    """Points and finished learners per bin of `BIN` seconds of Redis TIME."""

    def __init__(self) -> None:
        self._points: dict[int, float] = {}
        self._done: dict[int, float] = {}
        self._last: tuple[float, int, int] | None = None
        self._began: float | None = None

    def learn(self, events: Iterable[Happening]) -> None:
        """Take finished learners from events that happened before the first sample."""
        if self._last is not None:
            return
        for event in events:
            self._began = event.at if self._began is None else self._began
            if event.event == "complete":
                self._add(self._done, event.at, 1)

    def sample(self, now: float, points: int, done: int) -> None:
        """Note how many there are now."""
        if self._last is None:
            self._began = now if self._began is None else self._began
        elif now < self._last[0]:  # another Redis, or its clock was set back
            self._points.clear()
            self._done.clear()
            self._began = now
        else:
            _, old_points, old_done = self._last
            self._add(self._points, now, max(0, points - old_points))
            self._add(self._done, now, max(0, done - old_done))
        self._last = (now, points, done)
        edge = int(now / BIN) - BINS
        for bins in (self._points, self._done):
            for old in [bin for bin in bins if bin < edge]:
                del bins[old]

    def points_per_s(self) -> list[float]:
        """One value per bin, oldest first; the bin that is not full yet is left out."""
        return [value / BIN for value in self._series(self._points)]

    def done_per_h(self) -> list[float]:
        """One value per bin, oldest first."""
        return [value / BIN * 3600 for value in self._series(self._done)]

    def done_per_h_now(self) -> float:
        """Over the last ten minutes, or as long as is known."""
        if self._last is None or self._began is None:
            return 0.0
        now = self._last[0]
        span = max(BIN, min(600.0, now - self._began))
        first = int((now - span) / BIN)
        return sum(value for bin, value in self._done.items() if bin >= first) / span * 3600

    def _series(self, bins: dict[int, float]) -> list[float]:
        if self._last is None or self._began is None:
            return []
        end = int(self._last[0] / BIN)
        first = max(int(self._began / BIN), end - BINS)
        return [bins.get(bin, 0.0) for bin in range(first, end)]

    @staticmethod
    def _add(bins: dict[int, float], at: float, by: float) -> None:
        if by:
            bins[int(at / BIN)] = bins.get(int(at / BIN), 0.0) + by


class LossHistory:
    """How each learner's loss went with its points, as far as it was seen."""

    def __init__(self) -> None:
        self._series: dict[str, array[float]] = {}

    def note(self, learner: str, points: int, loss: float) -> None:
        """One more pair; points that went back mean a fresh start."""
        series = self._series.setdefault(learner, array("d"))
        if series and points < series[-2]:
            del series[:]
        series.extend((points, loss))
        if len(series) > 2 * LOSSES:
            # Every second pair of the older ones goes; the newest stays.
            pairs = [series[i : i + 2] for i in range(0, len(series), 2)]
            thinned = array("d")
            for pair in [*pairs[:-8:2], *pairs[-8:]]:
                thinned.extend(pair)
            self._series[learner] = thinned

    def of(self, learner: str) -> list[tuple[float, float]]:
        """(points, loss), oldest first."""
        series = self._series.get(learner, array("d"))
        return [(series[i], series[i + 1]) for i in range(0, len(series), 2)]

    def forget(self, learner: str) -> None:
        """It is gone."""
        self._series.pop(learner, None)

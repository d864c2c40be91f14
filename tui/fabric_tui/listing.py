"""Which things a table shows, and in which order: kept while things come, change and go.

After a change only what changed is filtered and keyed again. A few are taken out and put in one by one; many are merged
by one sort of a nearly sorted list.
"""

from __future__ import annotations

import math
from bisect import bisect_left, insort
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Generic, TypeVar

T = TypeVar("T")

SortKey = tuple[Any, ...]

_FEW = 20
"""Up to one in so many changed, they are moved one by one."""


class Listing(Generic[T]):
    """Ids of the things that pass a filter, sorted; ids themselves break ties.

    ``things`` is looked into, never changed. ``order`` is for ids that would sort badly ("r1.10" before "r1.9").
    """

    def __init__(self, things: Mapping[str, T], order: Callable[[str], SortKey]) -> None:
        self._things = things
        self._order = order
        self._sort: Callable[[T], SortKey] = lambda _thing: ()
        self._passes: Callable[[T], bool] = lambda _thing: True
        self._pairs: list[tuple[SortKey, SortKey, str]] = []
        self._keys: dict[str, tuple[SortKey, SortKey, str]] = {}
        self.descending = False

    def __len__(self) -> int:
        return len(self._pairs)

    def __getitem__(self, row: int) -> str:
        """The id in a row, counted from the top."""
        return self._pairs[len(self._pairs) - 1 - row if self.descending else row][2]

    def __contains__(self, id: object) -> bool:
        return id in self._keys

    def row(self, id: str) -> int | None:
        """The row of an id, None if it is not shown."""
        pair = self._keys.get(id)
        if pair is None:
            return None
        place = bisect_left(self._pairs, pair)
        return len(self._pairs) - 1 - place if self.descending else place

    def ids(self) -> list[str]:
        """All ids from top to bottom."""
        ids = [pair[2] for pair in self._pairs]
        return ids[::-1] if self.descending else ids

    def window(self, first: int, count: int) -> list[str]:
        """The ids of ``count`` rows from ``first`` on, as far as there are any."""
        return [self[row] for row in range(max(0, first), min(len(self), first + count))]

    def show(
        self,
        *,
        sort: Callable[[T], SortKey] | None = None,
        passes: Callable[[T], bool] | None = None,
        descending: bool | None = None,
    ) -> None:
        """Change the sort, the filter, or both; what is None stays."""
        self._sort = sort or self._sort
        self._passes = passes or self._passes
        self.descending = self.descending if descending is None else descending
        self.rebuild()

    def look_at(self, things: Mapping[str, T]) -> None:
        """Show these from now on."""
        self._things = things
        self.rebuild()

    def rebuild(self) -> None:
        """Look at everything again."""
        sort, passes, order, known = self._sort, self._passes, self._order, self._keys
        self._keys = {
            id: (sort(thing), known[id][1] if id in known else order(id), id)
            for id, thing in self._things.items()
            if passes(thing)
        }
        self._pairs = sorted(self._keys.values())

    def update(self, changed: Iterable[str]) -> None:
        """Look again at these: they came, changed or went."""
        gone: list[tuple[SortKey, SortKey, str]] = []
        come: list[tuple[SortKey, SortKey, str]] = []
        for id in set(changed):
            thing = self._things.get(id)
            old = self._keys.get(id)
            if thing is None or not self._passes(thing):
                if old is not None:
                    del self._keys[id]
                    gone.append(old)
                continue
            key = self._sort(thing)
            if old is None:
                come.append((key, self._order(id), id))
            elif old[0] != key:
                gone.append(old)
                come.append((key, old[1], id))
        self._keys.update((pair[2], pair) for pair in come)
        if len(gone) + len(come) < len(self._pairs) / _FEW:
            for pair in gone:
                del self._pairs[bisect_left(self._pairs, pair)]
            for pair in come:
                insort(self._pairs, pair)
        elif gone or come:
            ids = {pair[2] for pair in gone}
            self._pairs = [pair for pair in self._pairs if pair[2] not in ids] + come
            self._pairs.sort()


def number_first(number: float | None) -> SortKey:
    """A sort key for numbers that may be missing, or none at all: those come last."""
    return (1, 0.0) if number is None or math.isnan(number) else (0, number)

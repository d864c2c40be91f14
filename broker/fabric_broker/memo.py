"""Finished points that the learner did not take when it was told, kept until it asks for them."""

from __future__ import annotations

import pickle
from collections.abc import Hashable
from typing import Any, Final, NamedTuple

NOTHING: Final = object()
"""What `Memo.take` answers for a point it does not know (None may be a value)."""


class _Pickled(NamedTuple):
    """Stands for a point that cannot be hashed, such as a SequenceLearner's arrays or dicts."""

    body: bytes


def _key(point: Any) -> Hashable:
    try:
        hash(point)
    except TypeError:
        return _Pickled(pickle.dumps(point, 5))
    key: Hashable = point
    return key


class Memo:
    """Points and values, found by equality of hashable points and by the pickled bytes of others."""

    def __init__(self) -> None:
        self.entries: dict[Hashable, tuple[Any, Any]] = {}
        """Empty most of the time: loops test this dict, not the memo, before they ask."""

    def add(self, point: Any, value: Any) -> None:
        """Keep a value until its point is asked for."""
        self.entries[_key(point)] = (point, value)

    def take(self, point: Any) -> Any:
        """The value of `point`, which is then forgotten; `NOTHING` when it is not known."""
        found = self.entries.pop(_key(point), None)
        return NOTHING if found is None else found[1]

    def pairs(self) -> list[tuple[Any, Any]]:
        """All points and values, oldest first."""
        return list(self.entries.values())

"""Put data into a learner: a checkpoint's bytes first, then the journal's points in order.

Used by the slot that takes a learner over and by the client that loads results, so that both see the same.
Nothing here imports adaptive: the learner that is handed in brings it. Bytes must have been verified before.
"""

from __future__ import annotations

import gzip
import pickle
import struct
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from typing import Any, Final

from .errors import BrokerError
from .memo import NOTHING, Memo

REFUSALS = (ArithmeticError, AssertionError, LookupError, RuntimeError, TypeError, ValueError)
"""What `tell` raises for a point that the learner has no place for, e.g. IntegratorLearner's ValueError."""

_GZIP: Final = 31
"""zlib's name for "with a gzip header, and at most so many bits of window"."""

_UNKNOWN_ASKED = 64
"""So many asked points in a row that the memo does not know end `take_memo`: more than were in flight."""


FRAME: Final = struct.Struct("<IB")
"""What a point begins with in a journal batch: length of its body, kind. The slot writes points in this form."""

POINT: Final = 1
"""The kind of a frame whose body is ``pickle.dumps((point, value))``."""


def points(batch: bytes) -> Iterator[tuple[Any, Any]]:
    """The (point, value) pairs of a journal batch, in order.

    They are unpickled: the caller has verified the batch. Raises BrokerError when it is no sequence of points.
    """
    start = 0
    while start < len(batch):
        if len(batch) - start < FRAME.size:
            raise BrokerError("a journal batch ends inside a point")
        length, kind = FRAME.unpack_from(batch, start)
        start += FRAME.size
        if kind != POINT or start + length > len(batch):
            raise BrokerError("a journal batch holds something else than whole points")
        yield pickle.loads(batch[start : start + length])  # noqa: S301 - verified by the caller
        start += length


def set_data(learner: Any, blob: bytes) -> None:
    """Give a learner the data of a checkpoint file (what plain `learner.save` writes).

    `blob` is unpickled: the caller has verified it. Raises OSError, EOFError, zlib.error or
    pickle.UnpicklingError when it is not a whole file.
    """
    _give(learner, pickle.loads(gzip.decompress(blob)))  # noqa: S301 - verified by the caller
    learner.remove_unfinished()


def kept_points(blob: bytes) -> list[tuple[Any, Any]]:
    """The finished points that the learner had not taken when this checkpoint file was written.

    They stand behind the data, in a gzip member of their own, which plain `learner.load()` does not read. `blob` is
    unpickled: the caller has verified it.
    """
    data = zlib.decompressobj(_GZIP)
    data.decompress(blob)
    if not data.unused_data:
        return []
    found: list[tuple[Any, Any]] = pickle.loads(gzip.decompress(data.unused_data))  # noqa: S301 - verified
    return found


def replay(learner: Any, points: Iterable[tuple[Any, Any]]) -> Memo:
    """Tell points in the order in which they were found; answer those that the learner refuses."""
    memo = Memo()
    for point, value in points:
        try:
            learner.tell(point, value)
        except REFUSALS:
            memo.add(point, value)
    return memo


def requeue(learner: Any) -> None:
    """Let LearnerNDs that dropped unfinished points find the simplices again that those had divided."""
    for leaf in _leaves(learner):
        recompute = getattr(type(leaf), "_recompute_all_losses", None)
        if recompute is not None:
            recompute(leaf)


def take_memo(learner: Any, memo: Memo) -> None:
    """Let the learner ask for what it refused, and answer from the memo, where what is left over stays.

    For reading results of a learner that runs: IntegratorLearner refuses a point until the intervals before
    it were split, which happens in `ask`. What was asked and has no value is asked again later.
    """
    if not memo.entries:
        return
    unknown = 0
    while memo.entries and unknown < _UNKNOWN_ASKED:
        try:
            (point,), _ = learner.ask(1)
        except REFUSALS:
            break
        value = memo.take(point)
        if value is NOTHING:
            unknown += 1
        else:
            learner.tell(point, value)
            unknown = 0
    learner.remove_unfinished()
    # IntegratorLearner puts asked points without a value on its stack again.
    _give(learner, learner._get_data())


def _leaves(learner: Any) -> Iterator[Any]:
    """The learners within BalancingLearner and DataSaver, or the learner itself."""
    own = vars(learner)
    if isinstance(own.get("learners"), list):
        for child in own["learners"]:
            yield from _leaves(child)
    elif "extra_data" in own and "learner" in own:
        yield from _leaves(own["learner"])
    else:
        yield learner


def _give(learner: Any, data: Any) -> None:
    own = vars(learner)
    if "learners" in own and isinstance(data, list):  # BalancingLearner
        for child, child_data in zip(own["learners"], data, strict=True):
            _give(child, child_data)
    elif "extra_data" in own and "learner" in own:  # DataSaver
        inner, own["extra_data"] = data
        _give(own["learner"], inner)
    elif "_data_samples" in own:  # AverageLearner1D counts samples twice that it is told twice
        learner._set_data(_new_samples(own["_data_samples"], data))
    else:
        try:
            learner._set_data(data)
        except REFUSALS:
            if not isinstance(data, Mapping):
                raise
            _tell_singly(learner, data)


def _tell_singly(learner: Any, data: Mapping[Any, Any]) -> None:
    """Give a learner data that it refuses together and took one by one: a Learner1D with a value of another shape."""
    fresh = learner.new()
    for point, value in data.items():
        with suppress(*REFUSALS):  # as it did when the value was found, which then ended the lease
            fresh.tell(point, value)
    vars(learner).update(vars(fresh))


def _new_samples(
    known: dict[Any, dict[int, Any]], data: dict[Any, dict[int, Any]]
) -> dict[Any, dict[int, Any]]:
    fresh = {
        x: {seed: y for seed, y in samples.items() if seed not in known.get(x, ())}
        for x, samples in data.items()
    }
    return {x: samples for x, samples in fresh.items() if samples}

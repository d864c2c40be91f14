"""The names of a BalancingLearner's children: as submitted, on their way with their parent, and as files."""

from __future__ import annotations

import json
import struct
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, Final

from fabric_broker.errors import UsageError

from .naming import file_names, learner_names

_LENGTH: Final = struct.Struct("<I")
_END: Final = b"children"
"""A pickle ends with a dot, so a payload that ends with this has names behind its pickle."""

Names = tuple[str, ...]


def split_names(
    names: Iterable[object] | None, learners: Sequence[Any]
) -> tuple[list[str], list[Names | None]]:
    """The learners' names, and for each its children's names if there are some.

    In place of a BalancingLearner's name there may be a list with one name for each child.

    Raises UsageError when they do not fit.
    """
    if names is None or isinstance(names, str | bytes):
        return learner_names(names, len(learners)), [None] * len(learners)
    given = list(names)
    children: list[Names | None] = [None] * len(learners)
    for index, entry in enumerate(given[: len(learners)]):
        if isinstance(entry, list | tuple):
            children[index] = found = _of_children(index, entry, learners[index])
            given[index] = found[0] if len(found) == 1 else f"{found[0]} +{len(found) - 1}"
    checked = learner_names(given, len(learners))
    every = [name for found in children if found is not None for name in found]
    every += [name for name, found in zip(checked, children, strict=True) if found is None]
    if any(children):
        _check_files(every)
    return checked, children


def _of_children(index: int, names: Sequence[object], learner: Any) -> Names:
    count = number_of(learner)
    if count is None:
        raise UsageError(f"name {index} is a list, and learner {index} is no BalancingLearner")
    if not names:
        raise UsageError(f"name {index} is an empty list")
    try:
        return tuple(learner_names(names, count))
    except UsageError as error:
        raise UsageError(f"children of learner {index}: {error}") from None


def _check_files(names: list[str]) -> None:
    """`Run.save` gives each the file that it names; UsageError when it cannot."""
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise UsageError(f"names are not unique: {twice[0]!r} is there twice")
    for name, path in zip(names, file_names(names), strict=True):
        if str(path) != name:
            raise UsageError(f"name {name!r} cannot be a file's beside the others; names of children must be")


def number_of(learner: Any) -> int | None:
    """How many children a BalancingLearner has; None for any other learner."""
    found = vars(learner).get("learners")
    return len(found) if isinstance(found, list) else None


def attach(pickle: bytes, names: Names | None) -> bytes:
    """A learner's pickle, with the names of its children behind it; what unpickles it does not see them."""
    if names is None:
        return pickle
    text = json.dumps(names).encode()
    return pickle + text + _LENGTH.pack(len(text)) + _END


def attached(body: bytes) -> Names | None:
    """The names behind a learner's pickle."""
    if not body.endswith(_END):
        return None
    end = len(body) - len(_END) - _LENGTH.size
    (length,) = _LENGTH.unpack_from(body, end)
    return tuple(json.loads(body[end - length : end]))

"""How loky pickles what passes between a slot and its workers; loky knows this module by its name.

For every message loky makes a pickler of cloudpickle's, with copies of all its tables. In a worker that comes out of
the user's function with cold caches this takes about half of the time between two evaluations. What we send is plain:
function, point and value are pickled already. So the standard library's pickler does it.

loky's pickler belongs to a process, and to the workers' processes too. There the user's function may have executors of
loky's own; what those send is pickled as if this module were not here.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Mapping
from typing import Any, BinaryIO, Final

from loky.backend.reduction import get_loky_pickler

from .evaluate import Failure, Missing, Value, evaluate

_FOREIGN: Final = get_loky_pickler()
"""What loky takes without us; LOKY_PICKLER may name it."""


class Pickler:
    """What loky asks of a pickler, and no more.

    Attributes
    ----------
    dispatch_table
        loky sets it: its own reductions and those of the executor.
    """

    dispatch_table: Mapping[type, Callable[[Any], Any]]

    def __init__(self, file: BinaryIO, protocol: int | None = None) -> None:
        self._file = file
        self._protocol = protocol

    def dump(self, message: Any) -> None:
        """Write a message of an executor."""
        if _is_ours(message):
            pickle.dump(message, self._file, self._protocol)
        else:
            _FOREIGN(self._file, reducers=self.dispatch_table, protocol=self._protocol).dump(message)


def _is_ours(message: Any) -> bool:
    """Whether this is a call of `evaluate`, or its answer."""
    if getattr(message, "fn", None) is evaluate:
        return True
    return isinstance(getattr(message, "result", None), Value | Failure | Missing)

"""What runs in a worker of a pool: it evaluates points with functions that it was sent once.

Light, because every worker imports it: the user's function brings what it needs.
"""

from __future__ import annotations

import io
import pickle
import signal
import sys
import time
import traceback
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, Final, NamedTuple

import cloudpickle

from .deathsig import die_with_parent
from .finished import dump

FUNCTIONS_KEPT: Final = 8
"""So many functions stay unpickled in a worker; BalancingLearners can be large."""


class Value(NamedTuple):
    """The evaluation succeeded; `body` is that of a POINT frame."""

    body: bytes
    seconds: float = 0.0
    """how long the function took"""


class Failure(NamedTuple):
    """The evaluation raised."""

    type: str
    text: str
    traceback: str
    retry: bool
    """False for SystemExit and the like, which ask for an end"""


class Missing(NamedTuple):
    """This worker does not have the function; send it along."""


Answer = Value | Failure | Missing

_functions: OrderedDict[bytes, Callable[[Any], Any]] = OrderedDict()


def evaluate(digest: bytes, code: bytes | None, point: bytes) -> Answer:
    """Evaluate a pickled point with the function that has this digest; `code` is its pickle, if it is sent along."""
    try:
        function = _functions.get(digest)
        if function is None:
            if code is None:
                return Missing()
            function = _functions[digest] = pickle.loads(code)  # noqa: S301 - sent by our own slot
            if len(_functions) > FUNCTIONS_KEPT:
                _functions.popitem(last=False)
        x = pickle.loads(point)  # noqa: S301 - sent by our own slot
        began = time.perf_counter()
        value = function(x)
        took = time.perf_counter() - began
        return Value(dump(x, value), took)
    except BaseException as error:  # noqa: BLE001 - user code raises anything; here it becomes the answer
        return failure_of(error)


def failure_of(error: BaseException) -> Failure:
    """An exception as text: itself it might not survive pickling, and break the pool."""
    trace = error.__traceback__
    if trace is not None and trace.tb_next is not None:
        trace = trace.tb_next  # the first frame is ours
    lines = traceback.format_exception(type(error), error, trace)
    return Failure(type_name(error), message(error), "".join(lines), isinstance(error, Exception))


def type_name(error: BaseException) -> str:
    """The exception's class, with its module unless that is builtins."""
    kind = type(error)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def message(error: BaseException) -> str:
    """`str(error)`, or why there is none."""
    try:
        return str(error)
    except Exception as again:  # noqa: BLE001 - a user's __str__ raises anything
        return f"(its text cannot be shown: {type(again).__name__})"


def start_worker(parent: int, initializer: bytes | None) -> None:
    """Make this process a worker of the slot `parent`.

    Parameters
    ----------
    initializer
        The run's pickled initializer, when this process was not forked from the initialized slot.
    """
    die_with_parent(parent)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    show_lines_at_once()
    reseed()
    if initializer is not None:
        cloudpickle.loads(initializer)()


def show_lines_at_once() -> None:
    """Pass on each line when it is printed: a function's last words are what one wants to read."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(line_buffering=True)


def reseed() -> None:
    """Give this process random numbers of its own: a fork copies numpy's state (random's is taken care of)."""
    numpy = sys.modules.get("numpy")
    if numpy is not None:
        numpy.random.seed()

"""What a kind of executor brings: workers that take evaluations, until one of them dies.

A kind is a function that makes such workers; `executors.KINDS` names them. All of them promise the same, so that
`pooled` finds the point that kills its worker whatever the kind: when a worker dies, every unfinished future of its
generation raises BrokenExecutor, and no library tries an evaluation again by itself.
"""

from __future__ import annotations

import signal
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, Protocol

from fabric_broker.config import Config


class NoWorkersError(Exception):
    """There are no workers, and this process cannot get any: the slot ends, and that is no error of its learner."""


@dataclass(frozen=True, slots=True)
class Factory:
    """The user's function that makes an executor; its signature was verified."""

    name: str
    """``module:function``"""
    pickled: bytes
    """empty: it is imported by its name"""


@dataclass(frozen=True, slots=True)
class Wanted:
    """The workers that a slot wants."""

    workers: int
    """how many evaluations run at a time, and those that manage (`Kind.managing`)"""
    initializer: bytes | None = None
    """the run's initializer, pickled, for workers that are not forked from the initialized slot"""
    nodes: int = 1
    """nodes of the job; the workers are spread evenly over them"""
    factory: Factory | None = None
    """what makes the executor, for the kind that is named so"""
    start_s: float = Config.start_timeout
    """seconds until workers that do not come are an error"""


class Workers(Protocol):
    """One generation of workers; the slot's main thread makes it and calls it."""

    def submit(self, function: Callable[..., Any], /, *args: Any) -> Future[Any]:
        """Start a call. `Future.cancel` succeeds for a call that has not begun, and for no other.

        Raises
        ------
        BrokenExecutor
            A worker died.
        """

    def bury(self) -> str:
        """End what is left after a worker died; answers what it died of, as far as that is known."""

    def close(self) -> None:
        """End the workers, whatever they do."""


@dataclass(frozen=True, slots=True)
class Kind:
    """How workers are had.

    Attributes
    ----------
    make
        Starts them and waits until they are there; raises NoWorkersError when they do not come in time.
    rebuilt
        Whether this process can make them again when one died. Else that ends the slot.
    managing
        So many of the workers wanted manage, and evaluate nothing.
    """

    make: Callable[[Wanted], Workers]
    rebuilt: bool = True
    managing: int = 0


def describe_exit(code: int) -> str:
    """An exit code in words: ``exit code 3``, ``SIGSEGV``."""
    if code >= 0:
        return f"exit code {code}"
    try:
        return signal.Signals(-code).name
    except ValueError:
        return f"signal {-code}"

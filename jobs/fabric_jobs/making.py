"""The workers of a user's own executor: whatever adaptive's runners take, made by a function of the user.

What it starts is the user's; still nothing of it shall outlive the slot. What the slot forks from now on ends with it,
and programs carry a mark in their environment by which the fork server finds them when the slot is dead.
"""

from __future__ import annotations

import multiprocessing
import os
import pickle
import sys
import threading
from collections.abc import Callable
from concurrent.futures import Executor, Future
from importlib import import_module
from typing import Any, Final

from fabric_broker.errors import UsageError

from .deathsig import die_with_parent
from .lent import Lent
from .sweep import SLOT, sweep
from .workers import Factory, NoWorkersError, Wanted

NOT_IN_TIME: Final = 71
"""Exit code of a slot whose factory did not return."""
_CLOSE_S: Final = 10.0
_VIEW: Final = ("ipyparallel.client.view", "View")


class Made:
    """See `Workers`.

    Raises
    ------
    NoWorkersError
        The executor evaluates nothing.
    UsageError
        The factory returned something else.
    """

    def __init__(self, wanted: Wanted) -> None:
        assert wanted.factory is not None
        mark()
        self._things: list[Any] = []
        try:
            made = _in_time(wanted.factory, wanted.start_s)
            self._things.append(made)
            executor = executor_of(made, wanted.factory.name)
            self._things.append(executor)
            self._lent = Lent(executor, wanted.workers)
            self._probe(executor, wanted)
        except BaseException:
            self.close()
            raise

    def _probe(self, executor: Executor, wanted: Wanted) -> None:
        """See that there are workers, which some clients leave open for ever, and that they are as they must be."""
        assert wanted.factory is not None
        what = f"the executor that {wanted.factory.name} made"
        try:
            executor.submit(os.getpid).result(wanted.start_s)
        except TimeoutError as error:
            raise NoWorkersError(f"{what} evaluated nothing within {wanted.start_s:g} s") from error
        except Exception as error:
            raise NoWorkersError(f"{what} cannot evaluate: {type(error).__name__}: {error}") from error

    def submit(self, function: Callable[..., Any], /, *args: Any) -> Future[Any]:
        """Start a call; see `Workers.submit`."""
        return self._lent.submit(function, *args)

    def bury(self) -> str:
        """End what is left; see `Workers.bury`."""
        died = self._lent.broken or "a cause it did not tell"
        self.close()
        return died

    def close(self) -> None:
        """Shut the executor down, and end what is left of it; see `Workers.close`."""
        things, self._things = self._things, []
        closing = threading.Thread(target=_shut_down, args=(things,), daemon=True)
        closing.start()
        closing.join(_CLOSE_S)
        for process in multiprocessing.active_children():
            process.kill()
            process.join(_CLOSE_S)
        sweep(os.getpid(), spare=os.getpid())


def mark() -> None:
    """Have what this process starts from now on end with it."""
    if os.environ.get(SLOT) != str(os.getpid()):
        os.environ[SLOT] = str(os.getpid())
        forking = _Forking()
        os.register_at_fork(before=forking.before, after_in_child=forking.after_in_child)


class _Forking:
    """Binds forked processes to the process that forked them; only those of main threads, which live as long."""

    def __init__(self) -> None:
        self._parent = 0

    def before(self) -> None:
        main = threading.current_thread() is threading.main_thread()
        self._parent = os.getpid() if main else 0

    def after_in_child(self) -> None:
        if self._parent:
            die_with_parent(self._parent)


def load(factory: Factory) -> Callable[[], Any]:
    """The user's function; UsageError when there is none of that name."""
    if factory.pickled:
        function: Callable[[], Any] = pickle.loads(factory.pickled)  # noqa: S301 - its signature was verified
        return function
    module, _, name = factory.name.partition(":")
    try:
        found: Any = import_module(module)
        for part in name.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError) as error:
        raise UsageError(f"executor={factory.name!r} cannot be imported here: {error}") from error
    make: Callable[[], Any] = found
    return make


def _in_time(factory: Factory, within: float) -> Any:
    """What the factory returns; the slot ends if it does not within so many seconds."""

    def give_up() -> None:
        sys.stderr.write(f"{factory.name} did not return an executor within {within:g} s\n")
        sys.stderr.flush()
        os._exit(NOT_IN_TIME)  # the main thread hangs in it

    function = load(factory)
    watch = threading.Timer(within, give_up)
    watch.daemon = True
    watch.start()
    try:
        return function()
    finally:
        watch.cancel()


def executor_of(made: Any, name: str) -> Executor:
    """The executor in what a factory returned: one of PEP 3148, or a client as adaptive's runners take it."""
    if isinstance(made, Executor):
        view = getattr(made, "view", None)
        return _balanced(view) if _is(view, *_VIEW) else made
    if _is(made, "distributed", "Client"):
        executor: Executor = made.get_executor(pure=False, retries=0)
        return executor
    if _is(made, "ipyparallel", "Client"):
        return _balanced(made.load_balanced_view())
    if _is(made, *_VIEW):
        return _balanced(made)
    raise UsageError(
        f"{name} returned a {type(made).__module__}.{type(made).__qualname__}, which is no executor: return one of "
        "concurrent.futures, loky or mpi4py, or a client of dask or ipyparallel"
    )


def _is(thing: Any, module: str, name: str) -> bool:
    """Whether it is of a class of that module; one that is not imported has made nothing."""
    kind = getattr(sys.modules.get(module), name, None)
    return kind is not None and isinstance(thing, kind)


def _balanced(view: Any) -> Executor:
    """One answer for each call: a direct view would send it to all of its engines."""
    balanced = view.client.load_balanced_view(targets=view.targets)
    balanced.retries = 0
    executor: Executor = balanced.executor
    return executor


def _shut_down(things: list[Any]) -> None:
    for thing in reversed(things):
        if isinstance(thing, Executor):
            try:
                thing.shutdown(wait=False, cancel_futures=True)
            except TypeError:  # those of other libraries have fewer arguments
                thing.shutdown(wait=False)
            continue
        if _is(thing, *_VIEW):
            thing = thing.client
        cluster = getattr(thing, "cluster", None)
        thing.close()
        if cluster is not None:
            # Made here, too: a client of somebody else's cluster has an address in its place.
            (getattr(cluster, "close", None) or cluster.stop_cluster_sync)()

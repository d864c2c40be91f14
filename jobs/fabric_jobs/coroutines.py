"""Where async functions run: in the slot itself, on an event loop of their own that lasts as long as the slot."""

from __future__ import annotations

import asyncio
import inspect
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from .evaluate import Answer, Value, failure_of
from .finished import dump


def is_async(learner: Any) -> bool:
    """Whether the learner's function (that of its first child, if it has some) is async."""
    while True:
        own = vars(learner)
        if isinstance(own.get("learners"), list) and own["learners"]:  # BalancingLearner
            learner = own["learners"][0]
        elif "extra_data" in own and "learner" in own:  # DataSaver
            learner = own["learner"]
        else:
            break
    function = learner.function
    function = getattr(function, "function", function)  # SequenceLearner wraps it
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(
        getattr(function, "__call__", None)  # noqa: B004 - what calling it gives, not whether it can be called
    )


class Coroutines:
    """Evaluates points as coroutines; used like a `Pool`.

    Parameters
    ----------
    workers
        How many evaluations are under way at a time.
    """

    name = "event loop"

    def __init__(self, workers: int) -> None:
        self.workers = workers
        self._function: Callable[[Any], Any] = abs
        self._tasks: set[asyncio.Task[None]] = set()  # the loop itself refers to its tasks weakly
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, name="coroutines", daemon=True).start()

    def use(self, function: Callable[[Any], Any]) -> None:
        """Evaluate this function from now on."""
        self._function = function

    def submit(self, point: Any, *, with_code: bool = False) -> Future[Answer]:  # noqa: ARG002 - it is here already
        """Start an evaluation; unlike a queued one it is not cancelled any more."""
        future: Future[Answer] = Future()
        future.set_running_or_notify_cancel()
        self._loop.call_soon_threadsafe(self._start, self._function, point, future)
        return future

    def rebuild(self) -> str:
        """Nothing to do: `submit` never raises BrokenExecutor, and user code that raises it has failed."""
        return "nothing"

    def _start(self, function: Callable[[Any], Any], point: Any, future: Future[Answer]) -> None:
        task = self._loop.create_task(_evaluate(function, point, future))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


async def _evaluate(function: Callable[[Any], Any], point: Any, future: Future[Answer]) -> None:
    began = time.perf_counter()
    try:
        value = function(point)
        if inspect.isawaitable(value):
            value = await value
        took = time.perf_counter() - began
        future.set_result(Value(dump(point, value), took))
    except BaseException as error:  # noqa: BLE001 - user code raises anything, and sys.exit() would end the loop
        future.set_result(failure_of(error))

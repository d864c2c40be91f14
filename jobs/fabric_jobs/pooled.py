"""Drive a learner to its goal with a pool of workers, several points at a time."""

from __future__ import annotations

import pickle
import time
from collections import deque
from concurrent.futures import BrokenExecutor, Future
from itertools import islice
from queue import Empty, SimpleQueue
from typing import Any, Final

from fabric_broker.memo import NOTHING

from .asking import ask_of
from .coroutines import Coroutines
from .drive import LOOK_S, Course, EvaluationError, Stop, exhausted, give_up, told_from
from .evaluate import Answer, Failure, Missing, Value, failure_of
from .executors import Pool
from .finished import dump
from .goals import Goal

IDLE_LOOK_S: Final = 0.1
"""Longest wait for an evaluation before the next look at what the agent says."""
SUSPECT_AFTER: Final = 2
"""A point that was in flight so many times when a worker died is evaluated alone from then on."""
GUILTY_AFTER: Final = 2
"""A point whose worker died so many times when it was evaluated alone is the cause."""


class _Evaluation:
    """A point on its way."""

    __slots__ = ("alone", "began", "breaks", "breaks_alone", "generation", "point", "tries")

    def __init__(self, point: Any) -> None:
        self.point = point
        self.tries = 0
        self.breaks = 0
        self.breaks_alone = 0
        self.alone = False
        self.generation = 0
        self.began = 0.0


class Pooled:
    """One learner's way to its goal.

    The pool may be at work on abandoned points of the learner before; those are not waited for.
    """

    def __init__(self, learner: Any, goal: Goal, pool: Pool | Coroutines, course: Course) -> None:
        self._learner = learner
        self._goal = goal
        self._pool = pool
        self._course = course
        self._ask = ask_of(learner)
        self._effort = course.effort
        self._effort.workers = pool.workers
        self._effort.in_flight = self._in_flight
        self._running: dict[Future[Answer], _Evaluation] = {}
        self._again: deque[_Evaluation] = deque()
        # Callbacks of the pool's thread put futures here; waiting costs the same for 2 and for 2,000 workers.
        self._done: SimpleQueue[Future[Answer]] = SimpleQueue()
        self._generation = 0
        self._died_of = ""
        self._stopping = False

    def run(self) -> Stop | None:
        """Evaluate until the goal is reached (None) or the agent says stop.

        At the goal, evaluations still running are left alone: they would not change the answer. At a stop no new
        ones start, and those that run are waited for and told, unless nothing of them can count any more.

        Raises
        ------
        EvaluationError
            A point failed, killed its worker again and again, or the learner did not take its value.
        ExhaustedError
            The goal cannot be reached.
        NoWorkersError
            A worker died, and there will be no others.
        """
        self._pool.use(self._learner.function)
        try:
            return self._loop()
        finally:
            self._cancel_queued()

    def _loop(self) -> Stop | None:
        next_look = time.monotonic() + LOOK_S
        while not self._goal(self._learner):
            if time.monotonic() >= next_look:
                stop = self._course.look()
                if stop is not None:
                    self._wind_down(stop)
                    return stop
                next_look = time.monotonic() + LOOK_S
            told = self._fill()
            if told:
                continue
            if not self._running and not self._again:
                raise exhausted(self._learner)
            self._collect(IDLE_LOOK_S)
        return None

    def _wind_down(self, stop: Stop) -> None:
        self._stopping = True
        self._cancel_queued()
        while stop.save and self._running:
            # The agent ends us when this takes longer than the grace time.
            self._collect(IDLE_LOOK_S)
            later = self._course.look()
            if later is not None and not later.save:
                return

    def _fill(self) -> bool:
        """Keep the workers busy; True when the memo knew points, so that the goal may be reached now."""
        suspect = next((each for each in self._again if each.breaks >= SUSPECT_AFTER), None)
        if suspect is not None:
            if not self._running:
                self._again.remove(suspect)
                suspect.alone = True
                self._start(suspect)
            return False
        limit = self._course.options.ntasks or self._pool.workers + self._effort.ahead()
        while (free := limit - len(self._running)) > 0:
            if self._again:
                if not self._start(self._again.popleft()):
                    break
                continue
            points, _ = self._ask(free)
            if not points:
                break
            told = [self._told(point) for point in points]
            for known, point in zip(told, points, strict=True):
                if not known:
                    self._start(_Evaluation(point))
            if any(told):
                return True
        return False

    def _told(self, point: Any) -> bool:
        memo, cache = self._course.memo, self._course.cache
        if memo.entries and told_from(memo, self._learner, point):
            return True
        value = NOTHING if cache is None else cache.get(point)
        if value is not NOTHING:
            self._tell(point, dump(point, value), value)
        return value is not NOTHING

    def _start(self, evaluation: _Evaluation, *, with_code: bool = False) -> bool:
        """Hand a point to the pool; False when the pool was broken, and was rebuilt."""
        evaluation.generation, evaluation.began = self._generation, time.monotonic()
        try:
            future = self._pool.submit(evaluation.point, with_code=with_code)
        except BrokenExecutor:
            self._broke(evaluation)
            return False
        self._running[future] = evaluation
        future.add_done_callback(self._done.put)
        return True

    def _collect(self, timeout: float) -> None:
        """Wait up to `timeout` s for an evaluation to end; take all that ended."""
        try:
            self._take(self._done.get(timeout=timeout))
            while True:
                self._take(self._done.get_nowait())
        except Empty:
            return

    def _take(self, future: Future[Answer]) -> None:
        evaluation = self._running.pop(future, None)
        if evaluation is None:  # it was cancelled
            return
        try:
            answer = future.result(timeout=0)
            value = pickle.loads(answer.body)[1] if isinstance(answer, Value) else None  # noqa: S301
        except BrokenExecutor:
            self._broke(evaluation)
        except Exception as error:  # noqa: BLE001 - whatever unpickling the user's value raises
            self._failed(evaluation, failure_of(error))
        else:
            if isinstance(answer, Value):
                self._effort.add(answer.seconds)
                if self._course.cache is not None:
                    self._course.cache.put(evaluation.point, answer.body)
                self._tell(evaluation.point, answer.body, value)
            elif isinstance(answer, Missing):
                if not self._stopping:
                    self._start(evaluation, with_code=True)
            else:
                self._failed(evaluation, answer)

    def _tell(self, point: Any, body: bytes, value: Any) -> None:
        self._course.finished.put_body(body)
        try:
            self._learner.tell(point, value)
        except Exception as error:
            raise EvaluationError(point, failure_of(error)) from error

    def _failed(self, evaluation: _Evaluation, failure: Failure) -> None:
        evaluation.tries += 1
        if failure.retry and evaluation.tries <= self._course.options.retries:
            self._again.append(evaluation)
        else:
            give_up(evaluation.point, failure, self._course)

    def _broke(self, evaluation: _Evaluation) -> None:
        """A worker died while this point was in flight: rebuild the pool once, evaluate the point again."""
        if self._stopping:
            return  # the next learner's first point finds the pool broken; this one's time is for saving
        if evaluation.generation == self._generation:
            self._died_of = self._pool.rebuild()
            self._generation += 1
            self._course.warn(
                f"a worker of the {self._pool.name} died of {self._died_of}; the pool was rebuilt"
            )
        evaluation.breaks += 1
        evaluation.breaks_alone += evaluation.alone
        if evaluation.breaks_alone >= GUILTY_AFTER:
            text = f"it killed its worker {evaluation.breaks} times, by {self._died_of}"
            raise EvaluationError(evaluation.point, Failure("WorkerDied", text, "", retry=False))
        self._again.append(evaluation)

    def _in_flight(self) -> float:
        """Seconds since those began that the workers are busy with: the oldest, as the others are queued."""
        now = time.monotonic()
        return sum(now - each.began for each in islice(self._running.values(), self._pool.workers))

    def _cancel_queued(self) -> None:
        for future in [future for future in self._running if future.cancel()]:
            del self._running[future]

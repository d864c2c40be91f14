"""A slot: a process that runs the learners of one run, one after another, as its agent leases them."""

from __future__ import annotations

import os
import pickle
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import cloudpickle

from fabric_broker.errors import FabricError
from fabric_broker.factory import opened
from fabric_broker.payload import RunPayload
from fabric_broker.signing import Signer
from fabric_broker.store import Store

from . import channel
from .cache import Cache
from .channel import AgentGone, Down, Up
from .coroutines import Coroutines, is_async
from .drive import Course, EvaluationError, Options, Stop, serial, shown
from .evaluate import Failure, failure_of, show_lines_at_once
from .executors import Pool
from .finished import Finished
from .goals import Goal, goal_of
from .inbox import Inbox
from .lease import LeaseOrder
from .pooled import Pooled
from .restore import restore
from .saving import Saver
from .usage import Usage
from .workers import Factory, NoWorkersError, Wanted

TEXT_CHARS: Final = 2_000
TRACEBACK_CHARS: Final = 16_000
NO_WORKERS: Final = 71
"""Exit code of a slot whose learner needs workers that cannot be had."""


@dataclass(frozen=True, slots=True)
class _Run:
    """What the learners of the slot's run share."""

    id: str
    goal: object
    initializer: Callable[[], object] | None
    options: Options


class Slot:
    """One slot process.

    Parameters
    ----------
    up, down
        Its ends of the pipes to and from the agent.
    node
        Where it runs; part of what is told of an error.
    """

    def __init__(self, up: int, down: int, signer: Signer, node: str) -> None:
        self.up = up
        self.inbox = Inbox(down)
        self.signer = signer
        self._node = node
        self._run: _Run | None = None
        self._pool: Pool | None = None
        self._wanted: Wanted | None = None
        self._coroutines: Coroutines | None = None
        self.pid = os.getpid()

    def serve(self) -> None:
        """Take leases until the agent says EXIT; raises AgentGone when it ended."""
        try:
            while True:
                self.send(Up.READY, {"pid": self.pid})
                frame = self.inbox.wait()
                while frame.kind not in (Down.LEASE, Down.EXIT):
                    # A STOP or SAVE that crossed the end of the lease it is about.
                    frame = self.inbox.wait()
                if frame.kind == Down.EXIT:
                    return
                self._lease(frame.body)
        finally:
            if self._pool is not None:
                self._pool.close()

    def send(self, kind: Up, record: dict[str, Any]) -> None:
        """Write a frame to the agent."""
        channel.write_all(self.up, channel.encode_json(kind, record))

    def warn(self, text: str) -> None:
        """Have the agent log something that the user should see."""
        self.send(Up.WARNING, {"text": text[:TEXT_CHARS]})

    def _lease(self, body: bytes) -> None:
        """Run a leased learner to its end, whatever user code does, and say which end that was."""
        try:
            order = LeaseOrder.decode(body)
            run = self._enter(order)
            held = _Held(self, order, run)
        except AgentGone:
            raise
        except BaseException as error:  # noqa: BLE001 - unpickling runs user code, which raises anything
            self.raised(failure_of(error))
            return
        held.run()

    def _enter(self, order: LeaseOrder) -> _Run:
        """Be where the run is at home; at its first learner unpickle its functions and initialize."""
        payload = RunPayload.unpack(self.signer.verify("run", order.run_payload, learner=order.run))
        self._go_to(payload.cwd)
        run = self._run
        if run is None:
            sys.path[:0] = [entry for entry in payload.sys_path if entry not in sys.path]
            functions = pickle.loads(payload.functions)  # noqa: S301 - verified above
            options = Options.of(payload.runner_kwargs)
            run = _Run(order.run, functions["goal"], functions["initializer"], options)
            if run.initializer is not None:
                run.initializer()
            self._run = run
        elif run.id != order.run:
            raise FabricError(f"this slot serves run {run.id} and was given a learner of {order.run}")
        return run

    def _go_to(self, folder: str) -> None:
        try:
            # For each learner, because functions of the one before may have gone elsewhere.
            os.chdir(folder)
        except OSError as error:
            if self._run is None:
                self.warn(f"the run's working directory {folder} cannot be entered here: {error.strerror}")

    def drive(self, learner: Any, goal: Goal, order: LeaseOrder, course: Course) -> Stop | None:
        """Evaluate in this process, or in the pool that the order names."""
        if order.executor == "serial":
            return self._here(learner, goal, course)
        return Pooled(learner, goal, self._pool_for(order), course).run()

    def _pool_for(self, order: LeaseOrder) -> Pool:
        """The pool of the learner before, if it is of the same make."""
        assert self._run is not None
        if self._wanted is None:
            initializer = self._run.initializer
            code = None if initializer is None else cloudpickle.dumps(initializer)
            self._wanted = Wanted(order.cores, code)
        factory = None if order.factory is None else Factory(*opened(self.signer, order.factory))
        wanted = replace(
            self._wanted,
            workers=order.cores,
            nodes=order.nodes,
            factory=factory,
            start_s=order.start_timeout,
        )
        pool = self._pool
        if pool is not None and (pool.name, pool.wanted) != (order.executor, wanted):
            pool.close()
            pool = self._pool = None
        if pool is None:
            pool = self._pool = Pool(order.executor, wanted)
        return pool

    def _here(self, learner: Any, goal: Goal, course: Course) -> Stop | None:
        if not is_async(learner):
            return serial(learner, goal, course)
        # As in adaptive, coroutines are awaited one after another unless the run says how many at a time.
        options = replace(course.options, ntasks=course.options.ntasks or 1)
        if self._coroutines is None:
            self._coroutines = Coroutines(options.ntasks or 1)
        return Pooled(learner, goal, self._coroutines, replace(course, options=options)).run()

    def raised(
        self, failure: Failure, point: str | None = None, so_far: dict[str, Any] | None = None
    ) -> None:
        """Tell that the learner's own error ended the lease, at which point, and how far it came."""
        self.send(
            Up.RAISED,
            {
                "type": failure.type,
                "text": failure.text[:TEXT_CHARS],
                "traceback": failure.traceback[-TRACEBACK_CHARS:],
                "point": point,
                "node": self._node,
                **(so_far or {"npoints": None, "loss": None}),
            },
        )


class _Held:
    """A restored learner during its lease."""

    def __init__(self, slot: Slot, order: LeaseOrder, run: _Run) -> None:
        self._slot = slot
        self._order = order
        restored = restore(order, slot.signer, Store(order.store), slot.warn)
        self._learner = restored.learner
        self._goal = goal_of(run.goal, restored.learner, leased_s=order.leased_s)
        finished = Finished(slot.up, order.seq)
        self._saver = Saver(order, restored, finished, slot.signer, slot.send)
        folder, cache = run.options.cache, None
        if folder is not None:
            cache = Cache(Path(folder), slot.signer, restored.learner.function, slot.warn)
        self._course = Course(finished, self._look, restored.memo, slot.warn, run.options, cache=cache)
        self._usage = Usage()
        self._status_due = time.monotonic() + order.log_interval

    def run(self) -> None:
        """To the goal, to a stop, or to an error; saved before it is told."""
        stop: Stop | None = None
        failure: Failure | None = None
        point: str | None = None
        try:
            stop = self._slot.drive(self._learner, self._goal, self._order, self._course)
        except (AgentGone, NoWorkersError):
            raise
        except EvaluationError as error:
            failure, point = error.failure, shown(error.point)
        except BaseException as error:  # noqa: BLE001 - sys.exit() in user code ends the lease, not the slot
            failure = failure_of(error)
        if os.getpid() != self._slot.pid:
            raise AgentGone  # user code forked, and this is the child, which came back here
        if failure is None and stop is None:
            failure = self._save_done()
        elif stop is None or stop.save:
            self._save_or_warn()
        else:
            self._saver.abandon()
        if failure is not None:
            self._slot.raised(failure, point, self._saver.progress())
        elif stop is not None:
            self._slot.send(Up.STOPPED, {"cause": stop.cause, **self._saver.progress()})
        else:
            self._slot.send(Up.DONE, self._saver.progress())

    def _look(self) -> Stop | None:
        """Once in a while between evaluations: what the agent says, and what is due."""
        stop = None
        while (frame := self._slot.inbox.glance()) is not None:
            if frame.kind == Down.STOP:
                said = frame.json()
                stop = Stop(said["cause"], said["save"])
            elif frame.kind == Down.SAVE:
                self._saver.ask()
        self._saver.tick()
        if time.monotonic() >= self._status_due:
            self._status_due = time.monotonic() + self._order.log_interval
            self._slot.send(Up.STATUS, self._status())
        return stop

    def _status(self) -> dict[str, Any]:
        cpu, memory = self._usage.since_last()
        return {
            **self._saver.progress(),
            "seq": self._course.finished.seq,
            "overhead": self._course.effort.overhead(),
            "cpu": cpu,
            "memory": memory,
        }

    def _save_done(self) -> Failure | None:
        """Save a learner that reached its goal; it is not done if that fails."""
        try:
            self._saver.finish(first_too=True)
        except FabricError as error:
            return failure_of(error)
        return None

    def _save_or_warn(self) -> None:
        try:
            self._saver.finish()
        except FabricError as error:
            # Nothing is lost: what no checkpoint has is in the journal.
            self._slot.warn(f"a checkpoint could not be saved: {error}")


def be_slot(up: int, down: int, out: int, signer: Signer, node: str) -> int:
    """Turn this freshly forked process into a slot; answers its exit code.

    Parameters
    ----------
    out
        Becomes standard output and error.
    """
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0)
    os.dup2(out, 1)
    os.dup2(out, 2)
    os.close(null)
    os.close(out)
    show_lines_at_once()
    os.register_at_fork(after_in_child=lambda: _disconnect(up, down))
    try:
        Slot(up, down, signer, node).serve()
    except AgentGone:
        return 0
    except NoWorkersError as error:
        # The agent hands these words on with the news of this slot's end; the learner is charged no attempt.
        sys.stderr.write(f"{error}\n")
        return NO_WORKERS
    return 0


def _disconnect(*pipes: int) -> None:
    """In a process that user code or a pool forked off: it is no slot, and the agent must see ours end with us."""
    null = os.open(os.devnull, os.O_RDWR)
    for pipe in pipes:
        os.dup2(null, pipe, inheritable=False)
    os.close(null)

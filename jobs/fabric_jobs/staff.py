"""The slot processes of a job: carries out the crew's orders, and tells the crew what slots say and how they end.

They come from a fork server, or under MPI from an mpiexec each.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from .channel import Frame, Up
from .crew import Crew
from .forks import Ended, Forked, Forks, ForkServerError
from .launches import Launches
from .mpi import World
from .orders import Death, Fork, Kill, Order, Remove, Tell
from .output import JobLog, Lines
from .pipes import Reading, Writing
from .points import Splitter
from .removing import Removing

RESTART_INTERVAL: Final = 1.0
"""Seconds between two starts of the fork server, at least."""
HOPELESS: Final = 3
"""So many forks in a row that failed end the job: slots cannot run here."""
_ENDINGS: Final = (Up.DONE, Up.RAISED, Up.STOPPED)
FAREWELL: Final = 1.0
"""Seconds that slot processes get to exit by themselves when the agent ends."""


@dataclass(frozen=True, slots=True)
class Workplace:
    """What whoever starts the slots needs to know."""

    home: Path
    fabric: str
    node: str
    env: Mapping[str, str]
    num_threads: int
    world: World | None = None
    """how slots are started under MPI; None: they are forked"""


class _Process:
    """A slot process from its order on; before it is forked, what it is told is kept."""

    def __init__(self, order: Fork) -> None:
        self.serial = order.serial
        self.slot = order.slot
        self.pid: int | None = None
        self.splitter = Splitter()
        self.lines = Lines()
        self.untold: list[bytes] = []
        self.up: Reading | None = None
        self.out: Reading | None = None
        self.down: Writing | None = None

    def tell(self, frame: bytes) -> None:
        if self.down is None or self.up is None:
            self.untold.append(frame)
        else:
            self.down.write(frame)
            self.up.hasten()


class Staff:
    """Slot processes and what they come from; as a context it starts that and ends them all.

    Parameters
    ----------
    crew
        Gives the orders and is told.
    clock
        The seconds in which the crew counts.
    wake
        Called when Redis should be told something soon.
    """

    def __init__(
        self, crew: Crew, place: Workplace, log: JobLog, clock: Callable[[], float], wake: Callable[[], None]
    ) -> None:
        self._crew = crew
        self._place = place
        self._log = log
        self._clock = clock
        self._wake = wake
        self._loop = asyncio.get_running_loop()
        self._changed = asyncio.Event()
        self._processes: dict[int, _Process] = {}
        self._ended_early: dict[int, Ended] = {}
        self._to_fork: asyncio.Queue[_Process] = asyncio.Queue()
        self._source: Forks | Launches | None = None
        self._failed_forks = 0
        self._started_at = 0.0
        self._removing = Removing(clock, self._warn_from_thread)
        self.hopeless: str | None = None
        """Why slots cannot be run here, once that is certain."""

    async def __aenter__(self) -> Self:
        self._source = self._open_source()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        source, self._source = self._source, None
        if source is not None:
            await source.close()
        for process in list(self._processes.values()):
            self._close(process)
        await asyncio.to_thread(self._removing.close)

    async def run(self) -> None:
        """Carry out what time brings, and fork; until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._fork_in_turn(tasks), name="forking")
            while True:
                self._changed.clear()
                due = self._crew.tick(self._clock())
                self.carry_out()
                wait = None if due is None else max(0.0, due - self._clock())
                with suppress(TimeoutError):
                    async with asyncio.timeout(wait):
                        await self._changed.wait()

    async def dismiss(self) -> None:
        """Let the slot processes exit, so that their pools tidy up; whoever takes too long is ended by `__aexit__`."""
        self._crew.dismiss(self._clock() + FAREWELL)
        self.carry_out()
        with suppress(TimeoutError):
            async with asyncio.timeout(FAREWELL):
                while self._processes:
                    self._changed.clear()
                    await self._changed.wait()

    def carry_out(self) -> None:
        """Do what the crew ordered since the last time."""
        if not self._crew.orders:
            return
        orders, self._crew.orders = self._crew.orders, []
        for order in orders:
            self._do(order)
        self._changed.set()

    def _do(self, order: Order) -> None:
        if isinstance(order, Fork):
            process = self._processes[order.serial] = _Process(order)
            self._to_fork.put_nowait(process)
        elif isinstance(order, Tell):
            if order.serial in self._processes:
                self._processes[order.serial].tell(order.frame)
        elif isinstance(order, Kill):
            self._kill(order.serial)
        elif isinstance(order, Remove):
            self._removing.put(order)
        else:
            self._log.say(order.text, order.learner)

    def _kill(self, serial: int) -> None:
        process = self._processes.get(serial)
        if process is None or self._source is None:
            return
        if isinstance(self._source, Launches):
            self._source.end(serial)
        elif process.pid is not None:
            with suppress(ForkServerError):  # then it is gone, and its slots with it; it is told elsewhere
                self._source.kill(process.pid)

    # -- forking -----------------------------------------------------------------------------------------------------

    def _open_source(self) -> Forks | Launches:
        place = self._place
        self._started_at = self._clock()
        if place.world is not None:
            return Launches(
                world=place.world,
                home=place.home,
                fabric=place.fabric,
                node=place.node,
                env=place.env,
                num_threads=place.num_threads,
                on_print=self._on_print,
                on_end=self._on_end,
            )
        return Forks.start(
            home=place.home,
            fabric=place.fabric,
            node=place.node,
            env=place.env,
            num_threads=place.num_threads,
            on_end=self._on_end,
            on_gone=self._on_gone,
        )

    async def _fork_in_turn(self, tasks: asyncio.TaskGroup) -> None:
        while True:
            process = await self._to_fork.get()
            if isinstance(self._source, Launches):
                # An mpiexec takes its time; those of other slots need not wait for it.
                tasks.create_task(self._start(process), name=f"starting {process.serial}")
            else:
                await self._start(process)

    async def _start(self, process: _Process) -> None:
        try:
            forked = await self._fork(process.serial)
        except ForkServerError as error:
            self._failed_forks += 1
            if self._failed_forks >= HOPELESS:
                self.hopeless = str(error)
            self._bury(process, Death(f"could not be started: {error}", began=False))
        else:
            self._connect(process, forked)

    async def _fork(self, serial: int) -> Forked:
        if self._source is None:
            await asyncio.sleep(max(0.0, self._started_at + RESTART_INTERVAL - self._clock()))
            self._source = self._open_source()
        forked = await self._source.fork(serial)
        self._failed_forks = 0
        return forked

    def _connect(self, process: _Process, forked: Forked) -> None:
        process.pid = forked.pid
        serial, crew = process.serial, self._crew
        process.down = Writing(forked.down)
        process.up = Reading(
            forked.up, lambda data: self._heard(process, data), lambda: crew.may_read(serial)
        )
        process.out = Reading(forked.out, lambda data: self._printed(process, data), lambda: True)
        for frame in process.untold:
            process.tell(frame)
        process.untold.clear()
        ended = self._ended_early.pop(serial, None)
        if ended is not None:
            self._on_end(ended)

    # -- what slots do -----------------------------------------------------------------------------------------------

    def _heard(self, process: _Process, data: bytes) -> bool:
        """Pass on what a slot wrote; answers whether something happened beside points."""
        event = urgent = False
        try:
            for item in process.splitter.feed(data):
                if isinstance(item, Frame):
                    event = True
                    if process.out is not None and item.kind in _ENDINGS:
                        process.out.look()  # what was printed belongs to the learner that ends here
                urgent = self._crew.heard(process.serial, item, self._clock()) or urgent
        except (ValueError, KeyError, TypeError) as error:
            # User code can write into any of its process' descriptors.
            self._log.say(
                f"slot {process.slot} speaks no sense ({type(error).__name__}: {error}) and is killed"
            )
            self._kill(process.serial)
        if urgent:
            self._wake()
        self.carry_out()
        return event

    def _printed(self, process: _Process, data: bytes) -> bool:
        lines = process.lines.feed(data)
        self._log.printed(process.slot, self._crew.learner_of(process.serial), lines)
        return False

    def _on_print(self, serial: int, data: bytes) -> None:
        """The ranks of a slot, or its mpiexec, printed something."""
        process = self._processes.get(serial)
        if process is not None:
            self._printed(process, data)

    def _on_end(self, ended: Ended) -> None:
        process = self._processes.get(ended.serial)
        if process is None:
            return
        if process.pid is None:  # the answer to its fork is on its way through the event loop
            self._ended_early[ended.serial] = ended
            return
        self._bury(process, Death(ended.how, ended.signal))

    def _on_gone(self) -> None:
        """The fork server ended, and the kernel ended its slots."""
        self._source = None
        self._log.say("the fork server ended, and its slots with it")
        for process in list(self._processes.values()):
            if process.pid is not None:
                self._bury(process, Death("was killed with the fork server", "SIGKILL"))
        self._wake()

    def _bury(self, process: _Process, death: Death) -> None:
        """Hear what a dead process still said, then tell the crew."""
        self._close(process)
        words = process.lines.last_words
        self._crew.died(process.serial, replace(death, log=words), self._clock())
        self._wake()
        self.carry_out()

    def _close(self, process: _Process) -> None:
        del self._processes[process.serial]
        self._changed.set()
        if process.up is not None:
            process.up.finish()
        if process.out is not None:
            process.out.finish()
        rest = process.lines.finish()
        self._log.printed(process.slot, self._crew.learner_of(process.serial), rest)
        if process.down is not None:
            process.down.close()

    def _warn_from_thread(self, text: str) -> None:
        self._loop.call_soon_threadsafe(self._log.say, text)

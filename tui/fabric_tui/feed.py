"""The loop that keeps the model fed: snapshot, ticks, and patience when Redis is away. It ends when it is cancelled."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, Final, Protocol

from fabric_broker.errors import FabricError, SchemaError, WrongPasswordError
from fabric_broker.scripts import Call
from fabric_broker.trouble import Trouble as RedisTrouble
from fabric_broker.trouble import as_fabric_error, classify

from .asking import Ask
from .updates import Snapshot, Trouble, TroubleKind, Update

TICK: Final = 1.0
"""Seconds from the end of one read to the next."""
IDLE_TICK: Final = 2.0
"""The same when nothing happened for a while."""
IDLE_AFTER: Final = 15
"""So many ticks without news make it idle."""
LONGEST_WAIT: Final = 15.0


class Source(Protocol):
    """Where updates come from: Redis, or a recording."""

    address: str

    async def glance(self) -> Update | None:
        """What the first frame shows, sooner than a snapshot; None: nothing is."""

    async def snapshot(self) -> list[Update]:
        """Everything at this moment."""

    async def tick(self, ask: Ask) -> list[Update] | None:
        """What is new; None: begin again with a snapshot."""

    async def do(self, calls: Sequence[Call[Any]]) -> list[Any]:
        """Make calls that act."""

    async def close(self) -> None:
        """Leave."""


Deliver = Callable[[Sequence[Update]], None]


class NotConnectedError(FabricError):
    """There is no connection at this moment; nothing was asked for."""


class Feed:
    """Opens sources, reads them, and hands on what they tell; `wake` makes it try or read at once."""

    def __init__(
        self,
        open_source: Callable[[], Source],
        ask: Callable[[], Ask],
        deliver: Deliver,
        *,
        tick: float = TICK,
    ) -> None:
        self._open = open_source
        self._ask = ask
        self._deliver = deliver
        self._tick = tick
        self._source: Source | None = None
        self._woken = asyncio.Event()
        self._going = asyncio.Event()
        self._going.set()
        self._attempt = 0
        self._quiet = 0
        self.ticks = 0

    def wake(self) -> None:
        """Do not wait any longer."""
        self._woken.set()

    def freeze(self, *, frozen: bool) -> None:
        """Read nothing until told otherwise."""
        if frozen:
            self._going.clear()
        else:
            self._going.set()
            self.wake()

    async def run(self) -> None:
        """Feed until cancelled; then the connection is closed."""
        try:
            while True:
                try:
                    wait = await self._step()
                except Exception as error:  # noqa: BLE001 - classified below; a bug is raised again
                    wait = await self._stumble(error)
                await self._pause(wait)
        finally:
            await self._leave()

    async def do(self, calls: Sequence[Call[Any]]) -> list[Any]:
        """Make calls that act; FabricError says what went wrong."""
        if self._source is None or self._attempt:
            raise NotConnectedError("Redis cannot be reached at this moment; nothing was asked for")
        address = self._source.address
        try:
            return await self._source.do(calls)
        except Exception as error:
            known = as_fabric_error(error, address)
            if known is None:
                raise
            raise known from error

    async def _step(self) -> float:
        await self._going.wait()
        if self._source is None:
            self._source = self._open()
            if not self.ticks and (first := await self._source.glance()) is not None:
                self._deliver([first])
            updates = await self._source.snapshot()
        else:
            updates = await self._source.tick(self._ask()) or await self._source.snapshot()
        self._attempt = 0
        self.ticks += 1
        self._deliver(updates)
        more = self._news(updates)
        self._quiet = 0 if more else self._quiet + 1
        if more and len(self._ask().nameless):
            return 0.0
        return self._tick * (IDLE_TICK / TICK) if self._quiet > IDLE_AFTER else self._tick

    @staticmethod
    def _news(updates: Sequence[Update]) -> bool:
        head = updates[0]
        return isinstance(head, Snapshot) or bool(getattr(head, "events", ()))

    async def _stumble(self, error: Exception) -> float:
        address = self._source.address if self._source else ""
        kind = trouble_kind(error)
        if kind is None:
            raise error
        await self._leave()
        self._attempt += 1
        wait = min(LONGEST_WAIT, 2.0 ** (self._attempt - 1))
        known = as_fabric_error(error, address) or error
        self._deliver([Trouble(kind, str(known), self._attempt, wait)])
        return wait

    async def _leave(self) -> None:
        source, self._source = self._source, None
        if source is not None:
            await source.close()

    async def _pause(self, seconds: float) -> None:
        self._woken.clear()
        with suppress(TimeoutError):  # the usual end of a pause
            await asyncio.wait_for(self._woken.wait(), seconds)


def trouble_kind(error: Exception) -> TroubleKind | None:
    """What to tell the user; None for a bug."""
    if isinstance(error, WrongPasswordError):
        return "password"
    if isinstance(error, SchemaError):
        return "schema"
    if isinstance(error, FabricError):
        return "unreachable" if error.exit_code == 4 else "other"
    trouble = classify(error)
    if trouble in (RedisTrouble.WRONG_PASSWORD, RedisTrouble.FORBIDDEN):
        return "password"
    if trouble is RedisTrouble.BUG:
        return None
    return "unreachable"

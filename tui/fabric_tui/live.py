"""The live source: one connection to Redis, at most three commands a tick, whatever the number of learners."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, cast

from fabric_broker import control_plane, watch
from fabric_broker.broker import AsyncBroker
from fabric_broker.connection import Server, connect_async
from fabric_broker.errors import SchemaError
from fabric_broker.records import SCHEMA
from fabric_broker.scripts import Call
from fabric_broker.view import LearnerView, decode

from .asking import Ask
from .updates import Glance, LogLines, LogText, Names, Resync, Seen, Snapshot, Update

if TYPE_CHECKING:
    from redis.asyncio import Redis

EVENTS_A_TICK: Final = 1000
FIRST_NAMES: Final = 200
"""So many come with the snapshot: the first frame does not wait for all of them."""
NAMES_A_TICK: Final = 2000
RESYNC: Final = 30.0
"""Seconds between two looks at all learners."""

_PAGE: Final = 2000
"""Records decoded before the screen gets its turn again."""
_LOG_TAIL: Final = 300


class LiveSource:
    """Reads one fabric; errors are those of redis-py, SchemaError and BrokerError."""

    def __init__(self, server: Server, fabric: str, *, timeout: float = 5.0) -> None:
        self.address = server.url
        self._redis: Redis = connect_async(server, timeout=timeout)
        self._broker = AsyncBroker(self._redis, fabric)
        self._fabric = fabric
        self._last = ""
        self._glanced: watch.Watched | None = None
        self._known: dict[bytes, tuple[bytes, LearnerView]] = {}
        self._synced = time.monotonic()
        # The connection takes one command at a time; actions come in between.
        self._turn = asyncio.Lock()

    async def glance(self) -> Glance:
        """All but the learners: it costs the same however many there are."""
        async with self._turn:
            head = self._glanced = await self._head()
        return Glance(head.now, self.address, self._fabric, head.board or watch.Board(), head.events)

    async def snapshot(self) -> list[Update]:
        """Everything; also the way to begin again when the stream of events went on without us."""
        async with self._turn:
            head, self._glanced = self._glanced or await self._head(), None
            board = head.board or watch.Board()
            views = await self._views()
            names = await self._names(list(views)[:FIRST_NAMES])
        self._last, self._synced = head.last, time.monotonic()
        first = Snapshot(head.now, self.address, self._fabric, views, board, head.events, head.last)
        return [first, names]

    async def tick(self, ask: Ask) -> list[Update] | None:
        """What is new; None if the stream of events was trimmed past the last one we know, or is another one."""
        async with self._turn:
            call = watch.watch(self._last or "0-0", count=EVENTS_A_TICK, seen=ask.seen, before=ask.before)
            watched = await self._broker.do(call)
            if self._lost(watched):
                return None
            if watched.events:
                self._last = watched.events[-1].id
            updates: list[Update] = [watched]
            spare = 2
            for more in (self._resync, self._nameless, self._seen, self._log, self._control):
                if spare and (update := await more(ask)) is not None:
                    updates.append(update)
                    spare -= 1
        return updates

    async def do(self, calls: Sequence[Call[Any]]) -> list[Any]:
        """Make calls that act."""
        async with self._turn:
            return await self._broker.do_all(calls)

    async def close(self) -> None:
        """Leave; nothing is waited for."""
        await self._redis.aclose()

    async def _head(self) -> watch.Watched:
        head = await self._broker.do(watch.watch(None, count=EVENTS_A_TICK))
        schema = head.board.meta.get("schema", str(SCHEMA)) if head.board else str(SCHEMA)
        if schema != str(SCHEMA):
            raise SchemaError(
                f"the records at {self.address} have schema {schema}, this release reads {SCHEMA}: "
                "use the release that wrote them, or another fabric name"
            )
        return head

    def _lost(self, watched: watch.Watched) -> bool:
        known = stream_id(self._last)
        if stream_id(watched.last) < known:
            return True  # another Redis, or it lost its last second
        return bool(self._last) and stream_id(watched.first) > known

    async def _views(self) -> dict[str, LearnerView]:
        packed = cast("Mapping[bytes, bytes]", await self._redis.hgetall(self._broker.keys.view))
        # Most did not change since the last look: their records are made once and compared by their bytes.
        known, before = {}, self._known
        views: dict[str, LearnerView] = {}
        for n, (id, record) in enumerate(packed.items(), 1):
            pair = before.get(id)
            if pair is None or pair[0] != record:
                pair = (record, decode(id.decode(), record))
            known[id] = pair
            views[pair[1].id] = pair[1]
            if n % _PAGE == 0:
                await asyncio.sleep(0)
        self._known = known
        return views

    async def _names(self, ids: Sequence[str]) -> Names:
        if not ids:
            return Names({})
        names = [self._broker.keys.learner_name(id) for id in ids]
        found = cast("list[bytes | None]", await self._redis.mget(names))
        return Names(
            {id: (name or b"").decode(errors="replace") for id, name in zip(ids, found, strict=True)}
        )

    async def _resync(self, _ask: Ask) -> Update | None:
        if time.monotonic() - self._synced < RESYNC:
            return None
        views = await self._views()
        self._synced = time.monotonic()
        return Resync(views)

    async def _nameless(self, ask: Ask) -> Update | None:
        return await self._names(ask.nameless[:NAMES_A_TICK]) if ask.nameless else None

    async def _seen(self, ask: Ask) -> Update | None:
        if ask.learner is None:
            return None
        return Seen(ask.learner, await self._broker.do(watch.inspect(ask.learner)))

    async def _log(self, ask: Ask) -> Update | None:
        if ask.log is None:
            return None
        name = self._broker.keys.log(ask.log)
        if ask.log_after is None:
            rows = cast(Any, await self._redis.xrevrange(name, count=_LOG_TAIL))[::-1]
        else:
            rows = cast(Any, await self._redis.xrange(name, min=f"({ask.log_after}", count=_LOG_TAIL))
        lines = tuple(log_text(id, fields) for id, fields in rows)
        return LogLines(ask.log, lines, fresh=ask.log_after is None)

    async def _control(self, ask: Ask) -> Update | None:
        if not ask.control:
            return None
        told: Update = await self._broker.do(control_plane.inspect_tasks(self._fabric))
        return told


def log_text(id: bytes, fields: Mapping[bytes, bytes]) -> LogText:
    """A line of a job's log, from its stream."""
    return LogText(
        id.decode(),
        int(id.split(b"-")[0]) / 1000,
        fields.get(b"learner", b"").decode(),
        fields.get(b"text", b"").decode(errors="replace"),
    )


def stream_id(text: str) -> tuple[int, int]:
    """The id of a stream's entry as numbers that can be compared; "" comes before all."""
    if not text:
        return (0, 0)
    ms, _, n = text.partition("-")
    return int(ms), int(n)

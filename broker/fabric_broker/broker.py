"""The two callers of scripts: `Broker` for clients and the submitter, `AsyncBroker` for the agent.

They make calls (`Call`, see calls.py) and nothing else: what to call is decided elsewhere, what it does is in the
scripts. A reply that was lost is the caller's to handle: every script can be called again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from redis.exceptions import NoScriptError, ResponseError

from .errors import BrokerError
from .keys import Keys
from .scripts import Call, Script, script

if TYPE_CHECKING:
    import redis
    import redis.asyncio

T = TypeVar("T")


def _answer(call: Call[T], reply: Any) -> T:
    if isinstance(reply, ResponseError) and "FABRIC no transition" in str(reply):
        raise BrokerError(
            f"{call.script}: {reply}. This is a bug of the fabric; nothing was lost, please report it"
        )
    if isinstance(reply, Exception):
        raise reply
    return call.parse(reply)


class Broker:
    """Makes script calls over one synchronous client.

    ``clock`` is Lua source that replaces the clock of every script; only tests give one.
    """

    def __init__(self, redis: redis.Redis, name: str, *, clock: str | None = None) -> None:
        self.redis = redis
        self.keys = Keys(name)
        self._clock = clock

    def do(self, call: Call[T]) -> T:
        """Make one call; raises what redis-py raises when the server is away."""
        return self.do_all([call])[0]

    def do_all(self, calls: Sequence[Call[T]]) -> list[T]:
        """Make calls in one round trip, in order; each is atomic, the whole is not."""
        replies = self._pipeline(calls)
        missing = [i for i, reply in enumerate(replies) if isinstance(reply, NoScriptError)]
        if missing:
            # Script caches are lost as a whole, so the missing calls are a tail: order is kept.
            for name in {calls[i].script for i in missing}:
                self.redis.script_load(self._script(name).text)
            for i, reply in zip(missing, self._pipeline([calls[i] for i in missing]), strict=True):
                replies[i] = reply
        return [_answer(call, reply) for call, reply in zip(calls, replies, strict=True)]

    def _script(self, name: str) -> Script:
        return script(name, self._clock)

    def _pipeline(self, calls: Sequence[Call[T]]) -> list[Any]:
        pipe = self.redis.pipeline(transaction=False)
        for call in calls:
            pipe.evalsha(self._script(call.script).sha, 1, self.keys.prefix, *call.argv())
        return pipe.execute(raise_on_error=False)


class AsyncBroker:
    """Makes script calls over one asynchronous client; see `Broker`."""

    def __init__(self, redis: redis.asyncio.Redis, name: str) -> None:
        self.redis = redis
        self.keys = Keys(name)

    async def do(self, call: Call[T]) -> T:
        """Make one call; raises what redis-py raises when the server is away."""
        return (await self.do_all([call]))[0]

    async def do_all(self, calls: Sequence[Call[T]]) -> list[T]:
        """Make calls in one round trip, in order; each is atomic, the whole is not."""
        replies = await self._pipeline(calls)
        missing = [i for i, reply in enumerate(replies) if isinstance(reply, NoScriptError)]
        if missing:
            for name in {calls[i].script for i in missing}:
                await self.redis.script_load(script(name).text)
            again = await self._pipeline([calls[i] for i in missing])
            for i, reply in zip(missing, again, strict=True):
                replies[i] = reply
        return [_answer(call, reply) for call, reply in zip(calls, replies, strict=True)]

    async def _pipeline(self, calls: Sequence[Call[T]]) -> list[Any]:
        pipe = self.redis.pipeline(transaction=False)
        for call in calls:
            pipe.evalsha(script(call.script).sha, 1, self.keys.prefix, *call.argv())
        return await pipe.execute(raise_on_error=False)

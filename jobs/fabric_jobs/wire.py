"""The one connection of a job to Redis: many questions, one round trip, each with its own answer or refusal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from redis.exceptions import ResponseError

from fabric_broker.connection import Server, connect_async
from fabric_broker.keys import Keys
from fabric_broker.scripts import Call, script
from fabric_broker.trouble import Trouble, classify

from .fetching import Sending

if TYPE_CHECKING:
    from redis.asyncio.connection import AbstractConnection

TIMEOUT: Final = 5.0
"""Seconds to connect and to get each answer, at most."""
SCRIPTS: Final = (
    "acquire",
    "claim",
    "commit",
    "complete",
    "drain_job",
    "end_job",
    "fail",
    "journal",
    "leave",
    "note_job",
    "release",
    "renew",
)
"""What an agent calls."""


class AwayError(Exception):
    """Redis cannot be talked to now; what was sent may or may not have been carried out."""

    def __init__(self, trouble: Trouble, error: BaseException) -> None:
        super().__init__(f"{trouble.value}: {error}")
        self.trouble = trouble


class Wire:
    """An open connection; one `ask` at a time.

    It is redis-py's connection without the client around it: the client's pool would silently connect anew, and the
    agent must know when it did, because Redis may have forgotten its last seconds.
    """

    def __init__(self, connection: AbstractConnection, keys: Keys) -> None:
        self._connection = connection
        self._prefix = keys.prefix

    @classmethod
    async def open(cls, server: Server, keys: Keys) -> Wire:
        """Connect, and make sure that the server knows the scripts.

        All of them before the first is called: a script that is missing half-way through a round trip would be
        left out, and what follows it would not.

        Raises
        ------
        AwayError
            The server is away, or not ready.
        """
        pool = connect_async(server, timeout=TIMEOUT).connection_pool
        wire = cls(pool.make_connection(), keys)  # type: ignore[no-untyped-call]
        try:
            with _told_as_away():
                await wire._connection.connect()  # type: ignore[no-untyped-call]
            await wire._load_scripts()
        except BaseException:
            await wire.close()
            raise
        return wire

    async def close(self) -> None:
        """Close the connection, whatever state it is in."""
        await self._connection.disconnect(nowait=True)

    async def ask(self, sendings: Sequence[Sending]) -> list[Trouble]:
        """Ask all in one round trip and hand the answers to their takers; answers why some were refused.

        Raises
        ------
        AwayError
            The connection broke, or the server says that it cannot work now. Some answers may have been taken.
        """
        replies = await self._pipeline([self._command(sending) for sending in sendings])
        refusals = []
        for sending, reply in zip(sendings, replies, strict=True):
            if isinstance(reply, Exception):
                refusals.append(_refusal(reply))
            elif isinstance(sending.ask, Call):
                sending.take(sending.ask.parse(reply))
            else:
                sending.take(reply)
        return refusals

    def _command(self, sending: Sending) -> tuple[Any, ...]:
        ask = sending.ask
        if isinstance(ask, Call):
            return ("EVALSHA", script(ask.script).sha, 1, self._prefix, *ask.argv())
        return ask.args

    async def _load_scripts(self) -> None:
        scripts = [script(name) for name in SCRIPTS]
        (known,) = await self._pipeline([("SCRIPT EXISTS", *(each.sha for each in scripts))])
        if isinstance(known, Exception):
            _refusal(known)
            known = [False] * len(scripts)
        missing = [each for each, there in zip(scripts, known, strict=True) if not there]
        for reply in await self._pipeline([("SCRIPT LOAD", each.text) for each in missing]):
            if isinstance(reply, Exception):
                _refusal(reply)

    async def _pipeline(self, commands: Sequence[tuple[Any, ...]]) -> list[Any]:
        connection = self._connection
        replies: list[Any] = []
        with _told_as_away():
            if not connection.is_connected:
                raise ConnectionResetError("the connection was closed")
            await connection.send_packed_command(connection.pack_commands(commands))
            for _ in commands:
                try:
                    replies.append(await connection.read_response(disable_decoding=True))
                except ResponseError as error:
                    replies.append(error)
        return replies


@contextmanager
def _told_as_away() -> Iterator[None]:
    """Say AwayError for whatever means that."""
    try:
        yield
    except Exception as error:
        trouble = classify(error)
        if not trouble.is_unknown:
            raise
        raise AwayError(trouble, error) from error


def _refusal(error: Exception) -> Trouble:
    """Why one call was refused, if the others can still be worth asking; else AwayError, or the error itself."""
    trouble = classify(error)
    if trouble is Trouble.OOM:
        return trouble
    if trouble.is_unknown or trouble is Trouble.SCRIPT_MISSING:
        raise AwayError(trouble, error) from error
    raise error

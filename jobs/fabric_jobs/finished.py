"""Finished points on their way to the agent: written at once, before the learner is told, so that none is lost."""

from __future__ import annotations

import os
import pickle
import select
from collections.abc import Callable, Sequence
from typing import Any, Final

import cloudpickle

from .channel import HEADER, MAX_BODY_BYTES, AgentGone, Up, write_all

_WHOLE: Final = select.PIPE_BUF - HEADER.size
"""Bytes of a body up to which a pipe takes the frame whole or not at all."""
_HEADERS: Final = [HEADER.pack(size, Up.POINT) for size in range(_WHOLE + 1)]


def dump(point: Any, value: Any) -> bytes:
    """The body of a POINT frame.

    Raises whatever pickling raises when the value cannot travel.
    """
    try:
        return pickle.dumps((point, value), 5)
    except (pickle.PicklingError, AttributeError, TypeError):
        # Classes of a notebook or of the user's script travel by value, which only cloudpickle does.
        body: bytes = cloudpickle.dumps((point, value), 5)
        return body


class Finished:
    """Writes POINT frames and counts them.

    Parameters
    ----------
    up
        The slot's end of the pipe to the agent.
    seq
        Sequence of the last point that the journal has.
    """

    __slots__ = ("_up", "seq", "size")

    def __init__(self, up: int, seq: int) -> None:
        self._up = up
        self.seq = seq
        """Sequence of the last point written."""
        self.size = 0
        """Bytes of points written in this lease."""

    def put(
        self,
        point: Any,
        value: Any,
        # Bound once: this runs for every point.
        dumps: Callable[..., bytes] = pickle.dumps,
        headers: Sequence[bytes] = _HEADERS,
        write: Callable[[int, bytes], int] = os.write,
    ) -> None:
        """Write a finished point; blocks while the pipe is full, which is how the agent pauses evaluation."""
        try:
            body = dumps((point, value), 5)
        except (pickle.PicklingError, AttributeError, TypeError):
            body = dump(point, value)
        size = len(body)
        if size > _WHOLE:
            self.put_body(body)
            return
        try:
            write(self._up, headers[size] + body)
        except BrokenPipeError as error:
            raise AgentGone from error
        self.seq += 1
        self.size += size

    def put_body(self, body: bytes) -> None:
        """Write a finished point that is pickled already."""
        if len(body) > MAX_BODY_BYTES:
            raise ValueError(f"a point of {len(body)} bytes is larger than 4 GiB")
        write_all(self._up, HEADER.pack(len(body), Up.POINT) + body)
        self.seq += 1
        self.size += len(body)

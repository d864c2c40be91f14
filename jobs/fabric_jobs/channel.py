"""The frames that agent and slot exchange through two pipes, and the pipes.

A frame is ``<u32 length of the body><u8 kind><body>``, little-endian. `Up` frames go from the slot to the
agent, `Down` frames the other way. This module is imported by the agent: it needs the standard library only,
and it never unpickles.
"""

from __future__ import annotations

import contextlib
import enum
import fcntl
import json
import os
import struct
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

HEADER = struct.Struct("<IB")
_LENGTH = struct.Struct("<I")
PIPE_BYTES = 1 << 20
MAX_BODY_BYTES = (1 << 32) - 1


class AgentGone(Exception):  # noqa: N818 - it is an event, and nobody's error
    """The other end of the channel was closed: the slot's agent ended."""


class Up(enum.IntEnum):
    """What a slot tells its agent. All but POINT carry JSON."""

    POINT = 1
    """``pickle.dumps((x, y))`` of a finished evaluation. Its sequence number is the lease's ``seq`` plus its
    count within the lease."""
    READY = 2
    """``{pid}``: the slot waits for a lease; sent at its start and after each lease."""
    STATUS = 3
    """``{npoints, loss, seq}``, about every ``log_interval``."""
    SAVED = 4
    """``{n, token, upto, size, mac, npoints, loss, reason, damaged}``: a checkpoint is in the store; commit it.
    ``damaged``: the newest one before it could not be used."""
    DONE = 5
    """``{npoints, loss}``: the goal is reached; comes after the SAVED of the final checkpoint."""
    RAISED = 6
    """``{type, text, traceback, point, node, npoints, loss}``: the learner's own error ended the lease."""
    STOPPED = 7
    """``{cause, npoints, loss}``: the lease ended as STOP asked; comes after the SAVED of its last points."""
    WARNING = 8
    """``{text}``: something the user should see in the log; the slot goes on."""


class Down(enum.IntEnum):
    """What an agent tells its slot."""

    LEASE = 1
    """``<u32 length><JSON><blobs>``, see `encode_lease`."""
    STOP = 2
    """JSON ``{cause, save}``: end this lease; start no evaluation, wait for those that run."""
    EXIT = 3
    """End the process; between leases."""
    SAVE = 4
    """Save a checkpoint now, even without new points; SAVED follows."""


class Frame(NamedTuple):
    """One frame as it was read."""

    kind: int
    body: bytes

    @property
    def raw(self) -> bytes:
        """The frame as it travelled, header included: what a journal batch is made of."""
        return HEADER.pack(len(self.body), self.kind) + self.body

    def json(self) -> dict[str, Any]:
        """The body as a JSON object."""
        record: dict[str, Any] = json.loads(self.body)
        return record


def encode(kind: int, body: bytes = b"") -> bytes:
    """One frame.

    Raises
    ------
    ValueError
        The body is larger than a frame can say (4 GiB).
    """
    if len(body) > MAX_BODY_BYTES:
        raise ValueError(f"a frame of {len(body)} bytes is larger than 4 GiB")
    return HEADER.pack(len(body), kind) + body


def encode_json(kind: int, record: Mapping[str, Any]) -> bytes:
    """One frame with a JSON body."""
    return encode(kind, json.dumps(record, separators=(",", ":")).encode())


def encode_lease(record: Mapping[str, Any], blobs: Sequence[tuple[Sequence[Any], bytes]]) -> bytes:
    """A LEASE frame.

    Parameters
    ----------
    record
        The lease as JSON, without ``blobs``.
    blobs
        Pairs of a label, as ``["learner"]`` or ``["journal", token, first, last]``, and signed bytes.
    """
    labels = [[*label, len(blob)] for label, blob in blobs]
    head = json.dumps({**record, "blobs": labels}, separators=(",", ":")).encode()
    return encode(Down.LEASE, b"".join([_LENGTH.pack(len(head)), head, *(blob for _, blob in blobs)]))


def decode_lease(body: bytes) -> tuple[dict[str, Any], list[tuple[list[Any], bytes]]]:
    """The record and the labelled blobs of a LEASE body; the opposite of `encode_lease`.

    Raises
    ------
    ValueError
        The lengths do not add up to the body.
    """
    (length,) = _LENGTH.unpack_from(body)
    start = _LENGTH.size + length
    record: dict[str, Any] = json.loads(body[_LENGTH.size : start])
    blobs = []
    for *label, size in record.pop("blobs"):
        blobs.append((label, body[start : start + size]))
        start += size
    if start != len(body):
        raise ValueError(f"a lease of {len(body)} bytes says that it has {start}")
    return record, blobs


class Decoder:
    """Cuts a stream of bytes into frames, whatever pieces it comes in."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[Frame]:
        """The frames that `data` completes, in order."""
        buffer = self._buffer
        buffer += data
        frames = []
        start = 0
        while len(buffer) - start >= HEADER.size:
            length, kind = HEADER.unpack_from(buffer, start)
            end = start + HEADER.size + length
            if len(buffer) < end:
                break
            frames.append(Frame(kind, bytes(buffer[start + HEADER.size : end])))
            start = end
        del buffer[:start]
        return frames

    @property
    def pending(self) -> int:
        """Bytes of a frame that is not complete yet; at the end of a stream they belong to a torn frame."""
        return len(self._buffer)


def write_all(fd: int, data: bytes) -> None:
    """Write all of `data` to a blocking file descriptor.

    Raises
    ------
    AgentGone
        Nobody reads any more.
    """
    rest = memoryview(data)
    try:
        while rest:
            rest = rest[os.write(fd, rest) :]
    except BrokenPipeError as error:
        raise AgentGone from error


def open_pipe(size: int = PIPE_BYTES) -> tuple[int, int]:
    """A pipe, read end first, as large as `size` bytes when the system allows it; both ends close on exec."""
    reader, writer = os.pipe()
    # An unprivileged user over pipe-user-pages-soft gets the default size: slower, not wrong.
    with contextlib.suppress(OSError):
        fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, size)
    return reader, writer

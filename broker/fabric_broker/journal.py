"""Journal entries: signed batches of finished points, readable from the outside.

An entry is ``b"<token> <first> <last> "`` followed by the signed blob; ``first`` and ``last`` are the sequence
numbers of its points. The prefix lets scripts trim without parsing the rest; it is covered by the signature (token
and first by name, last by the number of frames inside).
"""

from __future__ import annotations

from dataclasses import dataclass

from .errors import BrokerError


@dataclass(frozen=True, slots=True)
class Batch:
    """One journal entry: points ``first`` … ``last`` told under ``token``; ``blob`` is still signed."""

    token: int
    first: int
    last: int
    blob: bytes


def pack(batch: Batch) -> bytes:
    """The entry's bytes as they lie in the list."""
    return b"%d %d %d " % (batch.token, batch.first, batch.last) + batch.blob


def unpack(entry: bytes) -> Batch:
    """The batch of an entry; BrokerError if the bytes are none."""
    parts = entry.split(b" ", 3)
    if len(parts) != 4 or not all(part.isdigit() for part in parts[:3]):
        raise BrokerError(f"a journal entry begins with {entry[:40]!r}, which this release did not write")
    return Batch(int(parts[0]), int(parts[1]), int(parts[2]), parts[3])

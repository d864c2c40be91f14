"""Finished points of one lease as the raw frames in which they came, with their sequence numbers.

Pure: bytes in, bytes out. The agent never unpickles a point; it counts frames.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from .channel import HEADER, Frame, Up


@dataclass(frozen=True, slots=True)
class Points:
    """Whole POINT frames that follow one another; ``count`` of them."""

    count: int
    frames: bytes


class Batch(NamedTuple):
    """Points ``first`` … ``last`` as raw frames."""

    first: int
    last: int
    frames: bytes


class Splitter:
    """Cuts what a slot writes into stretches of points and single other frames, whatever pieces it comes in."""

    def __init__(self) -> None:
        self._rest: list[bytes] = []
        self._missing = 0

    def feed(self, data: bytes) -> list[Points | Frame]:
        """What `data` completes, in order; neighbouring points come as one."""
        if self._rest:
            self._rest.append(data)
            self._missing -= len(data)
            if self._missing > 0:  # a large frame: joined once, when it is whole
                return []
            data = b"".join(self._rest)
        found: list[Points | Frame] = []
        start = position = count = 0
        size, header = len(data), HEADER.size
        while position + header <= size:
            length, kind = HEADER.unpack_from(data, position)
            end = position + header + length
            if end > size:
                break
            if kind == Up.POINT:
                count += 1
            else:
                if count:
                    found.append(Points(count, data[start:position]))
                found.append(Frame(kind, data[position + header : end]))
                start, count = end, 0
            position = end
        if count:
            found.append(Points(count, data[start:position]))
        self._keep(data[position:])
        return found

    def _keep(self, rest: bytes) -> None:
        self._rest = [rest] if rest else []
        self._missing = 1
        if len(rest) >= HEADER.size:
            length, _ = HEADER.unpack_from(rest)
            self._missing = HEADER.size + length - len(rest)


def ends(frames: bytes) -> Iterator[int]:
    """Where each frame of `frames` ends."""
    position = 0
    while position < len(frames):
        length, _ = HEADER.unpack_from(frames, position)
        position += HEADER.size + length
        yield position


def after(batch: Batch, sequence: int) -> Batch:
    """The part of `batch` that comes after `sequence`, which lies within it."""
    skipped = sequence - batch.first + 1
    if skipped <= 0:
        return batch
    for number, end in enumerate(ends(batch.frames), start=1):
        if number == skipped:
            return Batch(sequence + 1, batch.last, batch.frames[end:])
    return Batch(sequence + 1, batch.last, b"")


class Window:
    """The points of a lease that may have to be sent (again): contiguous, oldest first.

    Parameters
    ----------
    base
        The sequence before the first point that will be added.
    """

    def __init__(self, base: int) -> None:
        self.base = self.last = base
        """`base` is the sequence before the oldest kept point, `last` that of the newest."""
        self.size = 0
        """Bytes kept."""
        self._batches: deque[Batch] = deque()

    def add(self, points: Points) -> None:
        """Append points; they get the next sequence numbers."""
        self._batches.append(Batch(self.last + 1, self.last + points.count, points.frames))
        self.last += points.count
        self.size += len(points.frames)

    def bytes_after(self, sequence: int) -> int:
        """About how many bytes come after `sequence` (a batch that holds it counts as a whole)."""
        total = 0
        for batch in reversed(self._batches):
            if batch.last <= sequence:
                break
            total += len(batch.frames)
        return total

    def after(self, sequence: int, most: int) -> list[Batch]:
        """All points after `sequence`, in batches of at most `most` bytes each (or one point).

        `sequence` must not lie before `base`.
        """
        tail: list[Batch] = []
        for batch in reversed(self._batches):
            if batch.last <= sequence:
                break
            tail.append(batch)
        parts: list[Batch] = []
        for batch in reversed(tail):
            parts += _split(after(batch, sequence), most)
        return list(_merge(parts, most))

    def forget(self, upto: int) -> None:
        """Drop the points up to `upto`."""
        while self._batches and self._batches[0].first <= upto:
            batch = self._batches.popleft()
            rest = after(batch, upto) if batch.last > upto else Batch(batch.last + 1, batch.last, b"")
            self.size -= len(batch.frames) - len(rest.frames)
            if rest.frames:
                self._batches.appendleft(rest)
                break
        self.base = max(self.base, min(upto, self.last))

    def shrink(self, most: int, upto: int) -> None:
        """Drop the oldest whole batches until at most `most` bytes are kept, but nothing after `upto`."""
        while self.size > most and self._batches and self._batches[0].last <= upto:
            self.forget(self._batches[0].last)


def _split(batch: Batch, most: int) -> list[Batch]:
    if len(batch.frames) <= most:
        return [batch]
    parts = []
    first, start, before, last = batch.first, 0, 0, batch.first - 1
    for end in ends(batch.frames):
        if end - start > most and last >= first:
            parts.append(Batch(first, last, batch.frames[start:before]))
            first, start = last + 1, before
        before, last = end, last + 1
    parts.append(Batch(first, last, batch.frames[start:before]))
    return parts


def _merge(parts: list[Batch], most: int) -> Iterator[Batch]:
    group: list[Batch] = []
    size = 0
    for part in parts:
        if group and size + len(part.frames) > most:
            yield _join(group)
            group, size = [], 0
        group.append(part)
        size += len(part.frames)
    if group:
        yield _join(group)


def _join(group: list[Batch]) -> Batch:
    if len(group) == 1:
        return group[0]
    return Batch(group[0].first, group[-1].last, b"".join(batch.frames for batch in group))

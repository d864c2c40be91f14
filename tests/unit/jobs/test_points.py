from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fabric_jobs import channel
from fabric_jobs.channel import Frame, Up
from fabric_jobs.points import Batch, Points, Splitter, Window, after

BODIES = st.binary(max_size=40)
FRAMES = st.lists(
    st.tuples(st.sampled_from([Up.POINT, Up.POINT, Up.POINT, Up.SAVED, Up.DONE]), BODIES), max_size=20
)


def frame(number: int) -> bytes:
    return channel.encode(Up.POINT, b"%06d" % number)


def bodies(frames: bytes) -> list[bytes]:
    return [frame.body for frame in channel.Decoder().feed(frames)]


def numbers(batches: list[Batch]) -> list[int]:
    """What the batches hold, after checking that they say so themselves."""
    found = []
    for batch in batches:
        inside = [int(body) for body in bodies(batch.frames)]
        assert inside == list(range(batch.first, batch.last + 1))
        found += inside
    return found


@given(FRAMES, st.lists(st.integers(1, 64), max_size=40))
def test_points_and_other_frames_come_in_order_whatever_the_pieces(frames, cuts):
    stream = b"".join(channel.encode(kind, body) for kind, body in frames)
    splitter, found = Splitter(), []
    for cut in cuts:
        found += splitter.feed(stream[:cut])
        stream = stream[cut:]
    found += splitter.feed(stream)
    flat = []
    for item in found:
        if isinstance(item, Points):
            inside = bodies(item.frames)
            assert len(inside) == item.count > 0
            flat += [Frame(Up.POINT, body) for body in inside]
        else:
            flat.append(item)
    assert flat == [Frame(kind, body) for kind, body in frames]


def test_neighbouring_points_come_as_one():
    assert Splitter().feed(frame(1) + frame(2)) == [Points(2, frame(1) + frame(2))]


def test_a_torn_frame_is_kept_back():
    splitter = Splitter()
    assert splitter.feed(frame(1) + frame(2)[:-1]) == [Points(1, frame(1))]
    assert splitter.feed(frame(2)[-1:]) == [Points(1, frame(2))]


@given(
    counts=st.lists(st.integers(1, 5), min_size=1, max_size=10),
    base=st.integers(0, 5),
    cut=st.integers(0, 60),
    forgotten=st.integers(0, 60),
    most=st.integers(1, 200),
)
def test_a_window_answers_every_point_after_a_sequence_once_and_in_order(counts, base, cut, forgotten, most):
    window = Window(base)
    number = base
    for count in counts:
        window.add(Points(count, b"".join(frame(number + i + 1) for i in range(count))))
        number += count
    window.forget(forgotten)
    assert window.base == max(base, min(forgotten, number))
    cut = min(max(cut, window.base), number)
    batches = window.after(cut, most)
    assert numbers(batches) == list(range(cut + 1, number + 1))
    assert all(len(batch.frames) <= most or batch.first == batch.last for batch in batches)
    assert window.size == len(frame(0)) * (number - window.base)
    assert window.bytes_after(cut) >= sum(len(batch.frames) for batch in batches)


def test_a_window_shrinks_only_by_what_it_is_told_is_safe():
    window = Window(0)
    for number in (1, 2, 3):
        window.add(Points(1, frame(number)))
    window.shrink(0, upto=2)
    assert numbers(window.after(2, 100)) == [3]
    assert window.base == 2


@pytest.mark.parametrize(("sequence", "left"), [(4, [5, 6, 7]), (5, [6, 7]), (7, [])])
def test_the_part_of_a_batch_after_a_sequence(sequence, left):
    batch = Batch(5, 7, frame(5) + frame(6) + frame(7))
    assert numbers([after(batch, sequence)]) == left

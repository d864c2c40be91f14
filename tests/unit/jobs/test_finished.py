from __future__ import annotations

import os
import pickle
import threading
from collections.abc import Iterator

import numpy as np
import pytest

from fabric_jobs import channel
from fabric_jobs.channel import AgentGone, Decoder, Up
from fabric_jobs.finished import Finished, dump


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    ends = channel.open_pipe()
    yield ends
    for fd in ends:
        os.close(fd)


def test_each_point_is_a_frame_and_counts(pipe):
    reader, writer = pipe
    finished = Finished(writer, seq=41)
    finished.put(0.5, np.float64(2))
    finished.put((1, [2]), "x" * 10_000)
    frames = Decoder().feed(os.read(reader, 1 << 20))
    assert [frame.kind for frame in frames] == [Up.POINT, Up.POINT]
    assert [pickle.loads(frame.body) for frame in frames] == [(0.5, 2.0), ((1, [2]), "x" * 10_000)]
    assert finished.seq == 43
    assert finished.size == sum(len(frame.body) for frame in frames)


@pytest.mark.parametrize("size", [4060, 4070, 4080, 4090, 4100])
def test_around_the_size_that_a_pipe_takes_whole(pipe, size):
    reader, writer = pipe
    Finished(writer, 0).put(1, b"y" * size)
    (frame,) = Decoder().feed(os.read(reader, 1 << 20))
    assert pickle.loads(frame.body) == (1, b"y" * size)


def test_a_full_pipe_is_waited_for(pipe):
    reader, writer = pipe
    value = os.urandom(2_500_000)
    sender = threading.Thread(target=Finished(writer, 0).put, args=(1, value))
    sender.start()
    decoder = Decoder()
    frames: list[channel.Frame] = []
    while not frames:
        frames = decoder.feed(os.read(reader, 1 << 20))
    sender.join(timeout=10)
    assert pickle.loads(frames[0].body) == (1, value)


def test_values_of_classes_that_cannot_be_imported_travel_whole():
    class Local:
        def __init__(self, y: int) -> None:
            self.y = y

    assert pickle.loads(dump(1, Local(7)))[1].y == 7


def test_a_value_that_cannot_travel_says_so(pipe):
    with pytest.raises(TypeError, match="pickle"):
        Finished(pipe[1], 0).put(1, threading.Lock())


def test_without_an_agent_there_is_nobody_to_tell():
    reader, writer = channel.open_pipe()
    os.close(reader)
    finished = Finished(writer, 0)
    with pytest.raises(AgentGone):
        finished.put(1, 2)
    with pytest.raises(AgentGone):
        finished.put(1, b"x" * 10_000)
    os.close(writer)
    assert finished.seq == 0

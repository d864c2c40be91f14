from __future__ import annotations

import fcntl
import os
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fabric_jobs import channel
from fabric_jobs.channel import Decoder, Down, Frame, Up

FRAMES = st.lists(st.tuples(st.sampled_from([*Up]), st.binary(max_size=200)), max_size=12)


@given(FRAMES, st.lists(st.integers(1, 64), max_size=40))
def test_frames_come_out_as_they_went_in_whatever_the_pieces(frames, cuts):
    stream = b"".join(channel.encode(kind, body) for kind, body in frames)
    decoder = Decoder()
    seen = []
    for cut in cuts:
        seen += decoder.feed(stream[:cut])
        stream = stream[cut:]
    seen += decoder.feed(stream)
    assert seen == [Frame(kind, body) for kind, body in frames]
    assert decoder.pending == 0


def test_a_frame_larger_than_the_pipe_arrives_whole():
    reader, writer = channel.open_pipe(4096)
    body = os.urandom(3_000_000)
    sender = threading.Thread(target=channel.write_all, args=(writer, channel.encode(Up.POINT, body)))
    sender.start()
    decoder = Decoder()
    frames = []
    while not frames:
        frames = decoder.feed(os.read(reader, 65536))
    sender.join(timeout=10)
    os.close(reader)
    os.close(writer)
    assert frames == [Frame(Up.POINT, body)]


def test_a_torn_frame_at_the_end_is_pending_and_not_a_frame():
    decoder = Decoder()
    assert decoder.feed(channel.encode(Up.POINT, b"abc")[:-1]) == []
    assert decoder.pending == 7


def test_the_raw_frame_is_what_travelled():
    raw = channel.encode(Up.POINT, b"abc")
    (frame,) = Decoder().feed(raw)
    assert frame.raw == raw


def test_a_lease_carries_its_record_and_its_blobs():
    blobs = [(["learner"], b"L" * 100_000), (["run"], b""), (["journal", 7, 1, 20], b"J")]
    (frame,) = Decoder().feed(channel.encode_lease({"learner": "r1.0", "name": "ü/="}, blobs))
    assert frame.kind == Down.LEASE
    assert channel.decode_lease(frame.body) == ({"learner": "r1.0", "name": "ü/="}, blobs)


def test_a_lease_with_bytes_missing_is_refused():
    (frame,) = Decoder().feed(channel.encode_lease({}, [(["learner"], b"abc")]))
    with pytest.raises(ValueError, match="says that it has"):
        channel.decode_lease(frame.body[:-1])


def test_a_json_frame_keeps_non_ascii():
    (frame,) = Decoder().feed(channel.encode_json(Up.WARNING, {"text": "é"}))
    assert frame.json() == {"text": "é"}


def test_a_write_without_a_reader_raises():
    reader, writer = channel.open_pipe()
    os.close(reader)
    with pytest.raises(channel.AgentGone):
        channel.write_all(writer, b"x")
    os.close(writer)


def test_pipes_are_large_and_close_on_exec():
    reader, writer = channel.open_pipe()
    assert fcntl.fcntl(writer, fcntl.F_GETPIPE_SZ) in (channel.PIPE_BYTES, 65536, 4096)
    assert not os.get_inheritable(reader)
    assert not os.get_inheritable(writer)
    os.close(reader)
    os.close(writer)

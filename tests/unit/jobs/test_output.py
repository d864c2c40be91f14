from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fabric_jobs import output
from fabric_jobs.output import JobLog, Lines


@given(
    st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\n\r"), max_size=30), max_size=30),
    st.data(),
)
def test_lines_come_out_whole_whatever_the_pieces(lines, data):
    stream = "".join(f"{line}\n" for line in lines).encode()
    cutter, found = Lines(), []
    while stream:
        cut = data.draw(st.integers(1, len(stream)))
        found += cutter.feed(stream[:cut])
        stream = stream[cut:]
    assert found == lines
    assert cutter.last_words == lines[-output.LAST_WORDS :]


def test_the_last_line_needs_no_end():
    lines = Lines()
    assert lines.feed(b"a\nb") == ["a"]
    assert lines.finish() == ["b"]
    assert lines.finish() == []
    assert lines.last_words == ["a", "b"]


def test_a_line_without_end_does_not_fill_the_memory():
    lines = Lines()
    cut = [line for _ in range(64) for line in lines.feed(b"x" * 1000)]
    assert sum(map(len, cut)) >= 64_000 - output.LINE_BYTES
    assert all(len(line) <= output.LINE_BYTES for line in cut)


class Logged:
    def __init__(self) -> None:
        self.now = 0.0
        self.reader, writer = os.pipe()
        os.set_blocking(self.reader, False)
        self.stream: list[tuple[str | None, str]] = []
        self.log = JobLog(writer, lambda learner, text: self.stream.append((learner, text)), lambda: self.now)

    def file(self) -> str:
        return os.read(self.reader, 1 << 16).decode()


@pytest.fixture
def logged():
    return Logged()


def test_lines_carry_their_slot_and_learner_in_the_file_and_their_learner_in_the_stream(logged):
    logged.log.printed(2, "r1.0", ["hello"])
    logged.log.say("drains")
    lines = [line.split(" ", 1)[1] for line in logged.file().splitlines()]
    assert lines == ["slot 2: r1.0: hello", "agent: drains"]
    assert logged.stream == [("r1.0", "hello"), (None, "drains")]


def test_a_flood_of_lines_goes_to_the_file_and_a_part_of_it_to_the_stream(logged):
    for _ in range(10):
        logged.log.printed(0, None, ["x"] * 100)
        assert logged.file().count("x") == 100
    assert len(logged.stream) == output.STREAM_BURST
    logged.now += 1
    logged.log.printed(0, None, ["y"])
    assert logged.stream[-2:] == [(None, "(800 lines are in the job's log file only)"), (None, "y")]


def test_a_log_that_cannot_be_written_stops_nobody():
    log = JobLog(-1, lambda learner, text: None)
    log.say("into the void")

"""How things are written."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fabric_broker.states import STATES
from fabric_tui import words
from fabric_tui.plots import heat_map, line_plot


@pytest.mark.parametrize(
    ("seconds", "text"), [(-3, "0s"), (9.9, "9s"), (250, "4m"), (11100, "3h05"), (1_047_600, "12d03h")]
)
def test_a_duration_is_short(seconds, text) -> None:
    assert words.duration(seconds) == text


def test_every_state_has_a_glyph_of_its_own_and_a_word() -> None:
    glyphs = [words.state(words.LEARNER, state)[0] for state in STATES]
    assert len({text.split()[0] for text in glyphs}) == len(STATES)
    assert [text.split()[1] for text in glyphs] == list(STATES)


@given(st.text())
def test_cleaned_text_cannot_steer_a_terminal(text) -> None:
    assert words.clean(text).isprintable()
    assert len(words.clean(text)) == len(text)


@given(st.dictionaries(st.sampled_from(STATES), st.integers(0, 10**5)), st.integers(1, 200))
def test_a_bar_fills_its_width_and_shows_the_smallest(parts, width) -> None:
    shared = dict(words.bar(parts, width))
    present = [name for name, number in parts.items() if number]
    if present:
        assert sum(shared.values()) == width
        assert set(shared) == set(present[:width])
        assert min(shared.values()) >= 1


FLOATS = st.floats(allow_nan=True, allow_infinity=True)


@given(
    st.lists(st.tuples(FLOATS, FLOATS), max_size=60),
    st.integers(0, 80),
    st.integers(0, 20),
    st.booleans(),
    st.none() | FLOATS,
)
def test_any_points_can_be_drawn_and_fit(points, width, height, logarithmic, goal) -> None:
    lines = line_plot(points, width, height, logarithmic=logarithmic, goal=goal)
    assert len(lines) in (0, height)


@given(st.lists(st.tuples(FLOATS, FLOATS, FLOATS), max_size=60), st.integers(0, 60), st.integers(0, 20))
def test_any_map_can_be_drawn_and_fits(points, width, height) -> None:
    assert len(heat_map(points, width, height)) in (0, height)


def test_a_peak_among_many_points_is_drawn() -> None:
    points = [(float(n), 0.0) for n in range(5000)]
    points[2500] = (2500.0, 1.0)
    assert any(ord(c) > 0x2800 for c in line_plot(points, 60, 10)[0])


def test_a_sparkline_is_as_high_as_its_highest() -> None:
    assert words.sparkline([0, 1, 2], 10) == "▁▅█"
    assert words.sparkline([0, 0], 10) == "▁▁"
    assert words.sparkline([], 10) == ""

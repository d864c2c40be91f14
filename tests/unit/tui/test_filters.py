"""The filter language: what it finds, what it refuses, and that it reads what it writes."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.tui.things import NOW, learner

from fabric_tui import tables
from fabric_tui.filters import FilterError, Term, compile_terms, parse
from fabric_tui.model import Model

FIELDS = tables.learners(Model(), lambda: NOW).fields
LEARNERS = [
    learner("r1.0", "failed", loss=0.5, job="i1.0", attempts=3),
    learner("r1.1", "done", loss=0.009, npoints=300),
    learner("r2.10", "leased", pool="gpu", job="i2.0", loss=2.0, since=NOW - 7200),
    learner("r2.11", "quarantined"),
]


def found(text: str) -> list[str]:
    passes = compile_terms(parse(text, FIELDS), FIELDS)
    return [each.id for each in LEARNERS if passes(each)]


@pytest.mark.parametrize(
    ("text", "ids"),
    [
        ("", ["r1.0", "r1.1", "r2.10", "r2.11"]),
        ("state:failed", ["r1.0"]),
        ("STATE:Fail", ["r1.0"]),
        ("state:failed,quarantined", ["r1.0", "r2.11"]),
        ("!state:done !state:leased", ["r1.0", "r2.11"]),
        ("loss>0.1", ["r1.0", "r2.10"]),
        ("loss>0.1 !pool:gpu", ["r1.0"]),
        ("!loss>0.1", ["r1.1", "r2.11"]),
        ("loss<=9e-3", ["r1.1"]),
        ("attempts:3", ["r1.0"]),
        ("attempts=0 state=done", ["r1.1"]),
        ("age>1h", ["r2.10"]),
        ("id:r2.1*", ["r2.10", "r2.11"]),
        ("id=r2.1", []),
        ("job:i2", ["r2.10"]),
        ("gpu", ["r2.10"]),
        ("!gpu r2", ["r2.11"]),
        ('"r1.0"', ["r1.0"]),
        ('state:"failed"', ["r1.0"]),
    ],
)
def test_a_filter_finds(text: str, ids: list[str]) -> None:
    assert found(text) == ids


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("colour:red", "there is no field 'colour'"),
        ("loss>many", "loss is a number"),
        ("points>3m", "points is a number"),
        ("state>3", "state is text"),
        ("state:", "nothing stands after state:"),
        ("!", "'!' stands before a term"),
        ('pool:"x', "a quote is not closed"),
    ],
)
def test_what_cannot_be_read_is_told(text: str, told: str) -> None:
    with pytest.raises(FilterError, match=told.replace("(", r"\(")):
        parse(text, FIELDS)


WORDS = st.text(st.characters(codec="ascii", exclude_categories=["Cc"]), max_size=12)
TERMS = st.one_of(
    st.builds(
        Term,
        st.sampled_from(sorted(FIELDS.texts)),
        st.sampled_from([":", "="]),
        WORDS.filter(bool),
        st.booleans(),
    ),
    st.builds(Term, st.just(""), st.just(""), WORDS.filter(bool), st.booleans()),
)


@given(st.lists(TERMS, max_size=5))
def test_a_filter_is_read_as_it_is_written(terms: list[Term]) -> None:
    assert list(parse(" ".join(map(str, terms)), FIELDS)) == terms


@given(st.text(max_size=30))
def test_any_text_is_read_or_refused(text: str) -> None:
    with contextlib.suppress(FilterError):
        compile_terms(parse(text, FIELDS), FIELDS)(LEARNERS[0])

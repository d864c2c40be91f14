"""A listing that is kept up to date is the listing that would be made anew."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from fabric_tui.listing import Listing, number_first

CHANGES = st.lists(st.tuples(st.integers(0, 15), st.one_of(st.none(), st.integers(0, 5))), max_size=30)


def order(id: str) -> tuple[int]:
    return (int(id),)


def test_few_changes_among_many_lead_where_a_fresh_look_leads() -> None:
    chance = random.Random(3)
    things = {str(n): chance.randrange(6) for n in range(400)}
    listing: Listing[int] = Listing(things, order)
    listing.show(sort=lambda value: (value,), passes=lambda value: value != 3)
    for _ in range(300):
        touched = [str(chance.randrange(420)) for _ in range(chance.choice((1, 3, 60)))]
        for id in touched:
            if chance.random() < 0.2:
                things.pop(id, None)
            else:
                things[id] = chance.randrange(6)
        listing.update(touched)
        assert listing.ids() == fresh(things, descending=False)


def fresh(things: dict[str, int], *, descending: bool) -> list[str]:
    shown = sorted((value, int(id), id) for id, value in things.items() if value != 3)
    ids = [id for *_, id in shown]
    return ids[::-1] if descending else ids


@given(st.lists(CHANGES, max_size=6), st.booleans())
def test_small_steps_lead_where_a_fresh_look_leads(rounds, descending) -> None:
    things: dict[str, int] = {}
    listing: Listing[int] = Listing(things, order)
    listing.show(sort=lambda value: (value,), passes=lambda value: value != 3, descending=descending)
    for changes in rounds:
        for key, value in changes:
            things.pop(str(key), None)
            if value is not None:
                things[str(key)] = value
        listing.update([str(key) for key, _ in changes])
        assert listing.ids() == fresh(things, descending=descending)
        assert [listing.row(id) for id in listing.ids()] == list(range(len(listing)))
        assert [listing[row] for row in range(len(listing))] == listing.ids()


def test_a_missing_number_comes_last_and_nan_is_missing() -> None:
    numbers = [None, 2.0, float("nan"), float("-inf"), 1.0]
    assert sorted(numbers, key=number_first)[:3] == [float("-inf"), 1.0, 2.0]


def test_ids_break_ties_by_number() -> None:
    things = {str(n): 0 for n in (10, 9, 1)}
    listing: Listing[int] = Listing(things, order)
    listing.rebuild()
    assert listing.ids() == ["1", "9", "10"]

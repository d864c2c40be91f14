"""How benchmarks judge and show figures; the figures themselves are never tested."""

import json

import pytest

from benchmarks.rounds import Spread, paired, repeated
from benchmarks.table import Budget, Row, table

SPREAD = Spread.of([3.0, 1.0, 2.0, 10.0, 2.5])


@pytest.mark.parametrize(
    ("budget", "met"),
    [
        (Budget(2.5, at_least=True), True),
        (Budget(2.5, at_least=False), False),
        (Budget(2.6, at_least=False), True),
        (Budget(1.0, at_least=True, worst=True), True),
        (Budget(2.5, at_least=True, worst=True), False),
        (Budget(10.0, at_least=False, worst=True), False),
    ],
)
def test_a_budget_judges_the_median_or_the_worst_round(budget, met):
    assert budget.met(SPREAD) is met


def test_pairs_alternate_and_the_warm_up_does_not_count():
    calls: list[str] = []
    figures = {"ours": iter([1000.0, 2.0, 4.0, 6.0]), "theirs": iter([1.0, 1.0, 4.0, 2.0])}

    def measure(who: str) -> float:
        calls.append(who)
        return next(figures[who])

    result = paired(3, lambda: measure("ours"), lambda: measure("theirs"))

    assert calls == ["theirs", "ours", "ours", "theirs", "theirs", "ours", "ours", "theirs"]
    assert (result.ours, result.theirs) == (Spread(2.0, 4.0, 6.0), Spread(1.0, 2.0, 4.0))
    assert result.ratio == Spread(1.0, 2.0, 3.0)


def test_repeats_leave_the_warm_up_out():
    assert repeated(2, iter([99.0, 1.0, 3.0]).__next__) == Spread(1.0, 2.0, 3.0)


def test_a_row_is_judged_by_its_ratio_where_there_is_one():
    alone = Row("time", "ms", SPREAD, Budget(5, at_least=False))
    beside = Row("rate", "points/s", SPREAD, Budget(5, at_least=True), "other", SPREAD, Spread(6, 7, 8))
    assert alone.passed
    assert beside.passed
    assert json.loads(json.dumps(beside.to_json()))["ratio"] == {"min": 6, "median": 7, "max": 8}


def test_every_line_of_the_table_is_as_wide():
    rows = [
        Row("kill → lease", "s", SPREAD, Budget(1, at_least=False, worst=True)),
        Row(
            "rate",
            "points/s",
            Spread(12345, 12345.6, 99999),
            Budget(5, at_least=True),
            "other",
            SPREAD,
            SPREAD,
        ),
    ]
    lines = table(rows).splitlines()
    assert len({len(line) for line in lines}) == 1
    assert "12,346 (12,345 … 99,999)" in lines[3]
    assert "FAIL" in lines[2]

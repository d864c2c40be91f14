"""With an overlap a job's replacement is queued before its walltime ends, and there are never too many."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.submitter.test_reconcile import NOW, intent, listing, of, see

from fabric_broker.errors import UsageError
from fabric_broker.intents import Ask
from fabric_submitter.adapters.scheduler import Listing, Seen
from fabric_submitter.specs import PBS, Slurm


def ends_in(name: str, seconds: float, *, holds: int = 1, **fields: object):
    return intent(name, holds=holds, walltime_end=NOW + seconds, **fields)


def test_a_replacement_is_wanted_once_the_walltime_nears_its_end_and_not_before():
    assert see(ends_in("a", 61), limit=1, overlap=60.0).want == {}
    assert see(ends_in("a", 60), limit=1, overlap=60.0).want == {"p": 1}
    assert see(ends_in("a", 60), limit=1).want == {}, "without an overlap, when it is gone"


@pytest.mark.parametrize("state", ["wanted", "enqueued", "submitting"])
def test_there_is_one_replacement_for_each(state):
    leaving = [ends_in("a", 30), ends_in("b", 40)]
    assert see(*leaving, limit=2, overlap=60.0).want == {"p": 2}
    assert see(*leaving, intent("c", state), limit=2, overlap=60.0).want == {"p": 1}
    assert see(*leaving, intent("c", state), intent("d", state), limit=2, overlap=60.0).want == {}


def test_a_job_that_drains_before_its_end_has_its_replacement_already():
    draining = ends_in("a", 20, jobstate="draining")
    assert see(draining, limit=1, queued=5, overlap=60.0).want == {"p": 1}
    assert see(draining, limit=1, queued=5).want == {}


def test_what_a_leaving_job_holds_is_work_for_its_replacement_and_nothing_else_is():
    assert see(ends_in("a", 30, holds=0), limit=3, overlap=60.0).want == {}
    assert see(ends_in("a", 30, holds=3, slots=4), limit=3, slots=2, overlap=60.0).want == {"p": 2}
    assert see(ends_in("a", 30, holds=3), ends_in("b", 900), limit=3, overlap=60.0).want == {"p": 2}


def test_a_replacement_that_waits_is_not_cancelled_as_surplus():
    plan = see(ends_in("a", 30), intent("b", jobstate="pending"), limit=1, overlap=60.0)
    assert of(plan, Ask) == []
    later = see(
        ends_in("a", 30),
        intent("b", jobstate="pending"),
        limit=1,
        overlap=60.0,
        memory=plan.memory,
        now=NOW + 20,
    )
    assert of(later, Ask) == []


def test_a_lowered_limit_drains_leaving_jobs_too():
    plan = see(ends_in("a", 30), ends_in("b", 40), limit=0, overlap=60.0)
    assert {(ask.job, ask.wish) for ask in of(plan, Ask)} == {("a.0", "drain"), ("b.0", "drain")}


def test_a_requeued_job_has_its_walltime_before_it_and_counts():
    waits = Listing(100.0, good=True, jobs={"a.0": Seen("1", "pending")}, number=1)
    assert see(ends_in("a", 30), limit=1, queued=3, overlap=60.0, listing=waits).want == {}
    assert see(ends_in("a", 30), limit=1, queued=3, overlap=60.0, listing=listing("a")).want == {"p": 1}


@given(
    ends=st.lists(st.integers(-100, 400), max_size=8),
    waiting=st.integers(0, 4),
    queued=st.integers(0, 30),
    limit=st.integers(0, 5),
    overlap=st.integers(0, 200),
)
def test_those_that_count_never_pass_the_limit_and_all_never_twice_the_limit(
    ends, waiting, queued, limit, overlap
):
    jobs = [ends_in(f"a{number}", end) for number, end in enumerate(ends)]
    jobs += [intent(f"b{number}", "wanted") for number in range(waiting)]
    want = see(*jobs, queued=queued, limit=limit, overlap=overlap).want.get("p", 0)
    near = sum(overlap > 0 and end <= overlap for end in ends)
    if want:
        assert len(jobs) - near + want <= limit
        assert len(jobs) + want <= 2 * limit


@pytest.mark.parametrize("kind", [Slurm, PBS])
def test_an_overlap_needs_a_longer_walltime(kind):
    assert kind(walltime=3600, overlap="0:10:00").to_dict()["overlap"] == 600.0
    for fields, says in (
        ({"overlap": 60}, "needs a walltime"),
        ({"overlap": 3600, "walltime": 3600}, "shorter than walltime"),
        ({"overlap": -1, "walltime": 3600}, "overlap"),
        ({"overlap": "soon", "walltime": 3600}, "overlap"),
    ):
        with pytest.raises(UsageError, match=says):
            kind(**fields)

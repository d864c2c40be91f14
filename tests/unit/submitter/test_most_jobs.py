"""All pools together never have more jobs than their fabric may have."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from fabric_broker.survey import IntentView, JobView, PoolView, Survey
from fabric_submitter.judging import Rules
from fabric_submitter.reconcile import Memory, Scene, reconcile

NOW = 1000.0


def job(job_id: str) -> JobView:
    return JobView(job_id, "running", "n", 1, 1, True, NOW, NOW - 9, None, "1", "", None)


def survey_of(limits: list[int], running: list[int]) -> Survey:
    pools, intents = {}, []
    for place, limit in enumerate(limits):
        name = f"p{place}"
        pools[name] = PoolView(name, "local", limit, 1, 30.0, 1000, 0)
        jobs = tuple(job(f"i{place}.{k}") for k in range(running[place]))
        if jobs:
            intents.append(
                IntentView(f"i{place}", name, "local", "submitted", NOW, 1, "", "", 0.0, 0.0, 0, jobs)
            )
    return Survey(NOW, False, pools, tuple(intents))


numbers = st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30)), min_size=1, max_size=5)


@given(numbers, st.none() | st.integers(0, 60))
def test_new_jobs_of_all_pools_keep_to_the_fabrics_own_limit(pools, most):
    seen = survey_of([limit for limit, _ in pools], [min(pair) for pair in pools])
    there = sum(min(pair) for pair in pools)
    wanted = sum(limit for limit, _ in pools) - there
    rules = Rules(batch=10**6)

    free = reconcile(seen, {"local": Scene()}, Memory(), 0.0, rules)
    bound = reconcile(seen, {"local": Scene()}, Memory(), 0.0, replace(rules, most=most))

    assert sum(free.want.values()) == wanted
    room = wanted if most is None else max(0, most - there)
    assert sum(bound.want.values()) == min(wanted, room)
    assert all(0 < count <= free.want[name] for name, count in bound.want.items())

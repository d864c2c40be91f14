"""Learners with resources of their own go to pools by equal specs, which are pools like others."""

from __future__ import annotations

from collections import Counter

import adaptive
import pytest
from tests.integration.client.conftest import everything

from adaptive_fabric import ExistsError, Fabric, Local, NotFoundError, Slurm, UsageError
from fabric_broker import calls, reads


def lines(number: int) -> list[adaptive.Learner1D]:
    return [adaptive.Learner1D(lambda x: x, (-1, 1 + bound)) for bound in range(number)]


def pools_of(fabric: Fabric) -> list[str]:
    return [name for name in reads.pool_names(fabric.broker) if name != "local"]


def test_equal_specs_share_a_pool_within_and_across_submissions(fabric: Fabric):
    small, big = Local(ttl=10), Local(ttl=10, cores=2)
    run = fabric.submit(lines(4), goal=3, resources=[small, big, Local(ttl="0:00:10"), big])
    places = [record.pool for record in run.learners()]
    assert places[0] == places[2] != places[1] == places[3]
    assert fabric.pool(places[0]).spec == small
    assert fabric.pool(places[1]).spec == big
    assert {pool.queued for pool in reads.pool_records(fabric.broker, places[:2])} == {2}
    again = fabric.submit(lines(2), goal=3, resources=lambda learner: big if learner.bounds[1] > 1 else small)
    assert [record.pool for record in again.learners()] == places[:2]
    assert sorted(pools_of(fabric)) == sorted(set(places))


def test_more_learners_than_fit_a_call_keep_their_pools(fabric: Fabric):
    specs = [Local(cores=1 + index % 3) for index in range(1201)]
    run = fabric.submit(lines(1201), goal=3, resources=specs)
    cores = {name: fabric.pool(name).spec.cores for name in pools_of(fabric)}
    assert [cores[record.pool] for record in run.learners()] == [spec.cores for spec in specs]
    assert Counter(cores.values()) == {1: 1, 2: 1, 3: 1}


def test_such_a_pool_is_shown_scaled_and_removed_like_others_and_keeps_its_number(fabric: Fabric):
    run = fabric.submit(lines(1), goal=3, resources=[Local(cores=3)])
    (name,) = pools_of(fabric)
    assert name.startswith("local-")
    assert fabric.pool(name).jobs == 2
    fabric.pool(name, jobs=7)
    second = fabric.submit(lines(1), goal=3, resources=[Local(cores=3)])
    assert fabric.pool(name).jobs == 7, "a later submission leaves it as it is"
    assert fabric.broker.do(calls.remove_pool(name)) == "in use"
    run.cancel()
    second.cancel()
    assert fabric.broker.do(calls.remove_pool(name)) == "ok"
    with pytest.raises(NotFoundError):
        fabric.pool(name)


def test_a_pool_of_paused_learners_is_not_removed(fabric: Fabric):
    run = fabric.submit(lines(2), goal=3, resources=[Local(cores=3)] * 2)
    (name,) = pools_of(fabric)
    run.pause()
    assert fabric.broker.do(calls.remove_pool(name)) == "in use"
    run.cancel()
    assert fabric.broker.do(calls.remove_pool(name)) == "ok"
    run.retry()
    assert [record.state for record in run.learners()] == ["queued"] * 2
    assert fabric.broker.do(calls.remove_pool(name)) == "no pool"
    fabric.pool(name, Local(cores=3), jobs=1)
    assert fabric.broker.do(calls.remove_pool(name)) == "in use"


def test_a_pool_that_was_changed_is_no_place_for_what_it_had_before(fabric: Fabric):
    fabric.submit(lines(1), goal=3, resources=[Local(cores=3)])
    (name,) = pools_of(fabric)
    fabric.pool(name, Local(cores=4))
    run = fabric.submit(lines(1), goal=3, resources=[Local(cores=3)])
    assert [record.pool for record in run.learners()] == [f"{name}-2"]
    assert fabric.pool(name).spec.cores == 4


def test_a_retried_or_paused_learner_goes_back_to_its_own_pool(fabric: Fabric):
    run = fabric.submit(lines(2), goal=3, resources=[Local(cores=1), Local(cores=2)])
    before = [record.pool for record in run.learners()]
    run.pause()
    run.resume()
    run.cancel()
    run.retry()
    assert [record.pool for record in run.learners()] == before
    assert {pool.queued for pool in reads.pool_records(fabric.broker, before)} == {1}


def test_what_cannot_be_changes_nothing(fabric: Fabric):
    fabric.submit(lines(1), goal=3, name="taken")
    before = everything(fabric.broker.redis)
    for learners, options, error in (
        (2, {"resources": [Local()]}, UsageError),
        (1, {"resources": [Local()], "pool": "local"}, UsageError),
        (1, {"resources": [Local(cores=2)], "name": "taken"}, ExistsError),
        # Its server listens on loopback, where no job of SLURM could reach it.
        (2, {"resources": [Local(cores=2), Slurm()]}, UsageError),
    ):
        with pytest.raises(error):
            fabric.submit(lines(learners), goal=3, **options)
    assert everything(fabric.broker.redis) == before

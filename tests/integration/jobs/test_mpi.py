"""Slots under MPI: a real agent, a real Redis, a real mpiexec. Whatever is killed, nothing below it lives on."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from typing import Any

import cloudpickle
import pytest
from tests.agents import World, counted

from fabric_broker.home import Home

cloudpickle.register_pickle_by_value(sys.modules[__name__])

pytestmark = pytest.mark.needs("mpi")


@pytest.fixture
def make_world(home: Home, private_redis) -> Iterator[Callable[..., World]]:
    """Make a World whose slots are under MPI, with two workers each."""
    made: list[World] = []

    def make(**spec: Any) -> World:
        made.append(World(home, private_redis, **{"executor": "mpi4py", "cores": 3, **spec}))
        return made[-1]

    yield make
    for world in made:
        world.close()


def test_learners_are_done_by_the_ranks_above_0(make_world):
    world = make_world()
    run = world.submit([counted(world.file(str(i)), 0.01) for i in range(2)], npoints=30)
    job = world.start()
    world.wait_done(run)
    print(world.log(job))

"""Whole fabrics whose learners are evaluated by the ranks of MPI."""

from __future__ import annotations

import os

import pytest
from tests.system.processes import wait_for

from adaptive_fabric.looking import pool_statuses

pytestmark = [pytest.mark.needs("mpi"), pytest.mark.long, pytest.mark.timeout(400)]
PATIENCE = 240.0


@pytest.fixture
def two_deaths(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of jobs are enough for a submitter that starts from now on."""
    monkeypatch.setenv("FABRIC_YOUNG_DEATHS", "2")


def test_slots_that_never_come_up_open_the_circuit_with_the_reason(two_deaths, scene):
    env = {"FABRIC_MPIEXEC": "sh -c 'echo no fabric for MPI; exit 7'", "PATH": os.environ["PATH"]}
    run = scene.submit(learners=1, points=5, jobs=1, executor="mpi4py", cores=2, env=env)
    wait_for(lambda: pool_statuses(scene.fabric)[0].circuit, "an open circuit", PATIENCE)
    circuit = pool_statuses(scene.fabric)[0].circuit or ""
    assert "slots cannot be started" in circuit
    assert "no fabric for MPI" in circuit
    (record,) = run.learners()
    assert (record.state, record.attempts) == ("queued", 0)
    run.cancel()

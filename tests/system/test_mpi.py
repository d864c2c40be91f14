"""Whole fabrics whose learners are evaluated by the ranks of MPI."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from tests.system.processes import of_home, wait_for

from adaptive_fabric.looking import pool_statuses

pytestmark = [pytest.mark.needs("mpi"), pytest.mark.long, pytest.mark.timeout(400)]
PATIENCE = 240.0

SCRIPT = """
import sys

import adaptive
from adaptive_fabric import Fabric, Local

SCALE = 3.0


def scaled(x):  # a function of __main__
    return SCALE * x


def initialize():
    import builtins

    builtins.offset = 7.0


if __name__ == "__main__":
    fabric = Fabric.connect(home=sys.argv[1])
    fabric.pool("mpi", Local(executor="mpi4py", cores=3, ttl=3.0, grace=5.0, idle_timeout=2.0), jobs=1)
    functions = [scaled, lambda x: x + offset]
    learners = [adaptive.SequenceLearner(function, [1.0, 2.0, 3.0]) for function in functions]
    run = fabric.submit(learners, pool="mpi", initializer=initialize)
    status = run.wait(timeout=200)
    print(status.counts, [learner.result() for learner in run.load()])
"""


def test_lambdas_functions_of_main_and_an_initializer(home, fabric, tmp_path):
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    command = [sys.executable, script, home.path]
    said = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert said.returncode == 0, said.stderr
    assert said.stdout.strip() == "{'done': 2} [[3.0, 6.0, 9.0], [8.0, 9.0, 10.0]]"
    wait_for(
        lambda: not [each for each in of_home(home.path) if "fabric_jobs" in each.command],
        "the end of the job",
        PATIENCE,
    )


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

"""Functions, lambdas and classes of a user's script (`__main__`), in each executor."""

from __future__ import annotations

import subprocess
import sys

import pytest
from tests.system.processes import of_home, wait_for

PATIENCE = 240.0

SCRIPT = """
import sys
from dataclasses import dataclass

import adaptive
from adaptive_fabric import Fabric, Local

SCALE = 3.0


def scaled(x):
    return SCALE * x


@dataclass
class Value:
    number: float


def boxed(x):
    return Value(x)


def initialize():
    import builtins

    builtins.offset = 7.0


def make():
    from concurrent.futures import ThreadPoolExecutor

    return ThreadPoolExecutor(2)


if __name__ == "__main__":
    home, executor = sys.argv[1:]
    fabric = Fabric.connect(home=home)
    spec = Local(
        executor=make if executor == "factory" else executor,
        cores={"serial": 1, "mpi4py": 3}.get(executor, 2),
        ttl=5.0,
        grace=5.0,
        idle_timeout=2.0,
    )
    fabric.pool("mine", spec, jobs=1)
    functions = [scaled, lambda x: x + offset, boxed]
    learners = [adaptive.SequenceLearner(function, [1.0, 2.0, 3.0]) for function in functions]
    run = fabric.submit(learners, pool="mine", initializer=initialize)
    status = run.wait(timeout=200)
    numbers, more, boxes = (learner.result() for learner in run.load())
    print(status.counts, numbers, more, [box.number for box in boxes])
"""


@pytest.mark.long
@pytest.mark.timeout(400)
@pytest.mark.parametrize(
    "executor",
    [
        "serial",
        "process-pool",
        "loky",
        pytest.param("mpi4py", marks=pytest.mark.needs("mpi")),
        pytest.param("dask", marks=pytest.mark.needs("dask")),
        pytest.param("ipyparallel", marks=pytest.mark.needs("ipyparallel")),
        "factory",
    ],
)
def test_functions_lambdas_and_classes_of_a_script_and_an_initializer(executor, home, fabric, tmp_path):
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    command = [sys.executable, script, home.path, executor]
    said = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert said.returncode == 0, said.stderr
    assert said.stdout.strip() == "{'done': 3} [3.0, 6.0, 9.0] [8.0, 9.0, 10.0] [1.0, 2.0, 3.0]"
    wait_for(
        lambda: not [each for each in of_home(home.path) if "fabric_jobs" in each.command],
        "the end of the job",
        PATIENCE,
    )

"""The command that starts a slot under MPI, and the words for what is wrong with it."""

from __future__ import annotations

import sys
from pathlib import Path

from fabric_broker.config import Config
from fabric_jobs.mpi import World, find_program, misfit, unable, world_of

WORLD = World("srun --label='a b' -N {nodes} -n {ranks} --ntasks-per-node={ranks_per_node}", 8, 2, 60.0)


def program(folder: Path, name: str) -> str:
    folder.mkdir(exist_ok=True)
    file = folder / name
    file.write_text("#!/bin/sh\n")
    file.chmod(0o755)
    return str(file)


def test_numbers_are_put_into_the_words_and_blanks_stay_within_them():
    assert WORLD.words() == ["srun", "--label=a b", "-N", "2", "-n", "8", "--ntasks-per-node=4"]
    assert (WORLD.program, WORLD.workers) == ("srun", 7)


def test_only_pools_of_mpi4py_have_a_world():
    assert world_of({"executor": "loky", "cores": 4}, Config()) is None
    world = world_of({"executor": "mpi4py", "cores": 4}, Config(start_timeout=7.0))
    assert world == World("mpiexec -n {ranks}", 4, 1, 7.0)


def test_the_mpiexec_of_the_wheel_comes_before_that_on_path(tmp_path, monkeypatch):
    theirs = program(tmp_path / "path", "mpiexec")
    env = {"PATH": str(tmp_path / "path")}
    monkeypatch.setattr(sys, "executable", str(tmp_path / "venv" / "python"))
    assert find_program("mpiexec", env) == theirs
    ours = program(tmp_path / "venv", "mpiexec")
    assert find_program("mpiexec", env) == ours
    assert find_program(theirs, {}) == theirs
    assert find_program("mpirun", env) is None


def test_a_failure_names_the_command_and_its_last_lines():
    lines = ["first", "", *(f"line {i}" for i in range(5))]
    text = WORLD.failure("ended with exit code 3", lines)
    assert text.startswith(
        "srun '--label=a b' -N 2 -n 8 --ntasks-per-node=4 ended with exit code 3; it said: "
    )
    assert text.endswith("line 3 / line 4")
    assert "first" not in text
    assert len(WORLD.failure("x", ["y" * 9999])) < 2000


def test_a_world_of_one_is_told_from_a_small_one():
    assert misfit(WORLD, 7, "MPICH") == "made a world of 7 where 8 ranks were asked for"
    assert "each rank is alone" in misfit(WORLD, 1, "MPICH 5")


def test_what_is_missing_is_named(monkeypatch):
    assert "no 'no-such' beside" in (unable(World("no-such -n 2", 2, 1, 1.0), {}) or "")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert "adaptive-fabric[mpi]" in (unable(WORLD, {}) or "")

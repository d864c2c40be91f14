"""What does not come up under MPI is an error in time, with numbers, the command and its last words; never a hang."""

from __future__ import annotations

import asyncio
import importlib.util
import os
from pathlib import Path
from typing import Any

import pytest
from tests import openmpi
from tests.agents import until

from fabric_broker.home import Home
from fabric_jobs.forks import Ended, Forked, ForkServerError
from fabric_jobs.launches import TAG, Launches
from fabric_jobs.mpi import World
from fabric_jobs.sweep import marked

PATIENT = 60.0


class Starter:
    """Starts slots under MPI for one test."""

    def __init__(self, home: Home) -> None:
        self.home = home
        self.printed = b""
        self.ended: list[Ended] = []

    def launches(self, command: str, ranks: int = 3, patience: float = PATIENT, **env: str) -> Launches:
        def on_print(_: int, data: bytes) -> None:
            self.printed += data

        return Launches(
            world=World(command, ranks, 1, patience),
            home=self.home.path,
            fabric="default",
            node="n7",
            env={**os.environ, **env},
            num_threads=1,
            on_print=on_print,
            on_end=self.ended.append,
        )

    def refusal(self, command: str, **more: Any) -> str:
        """Why no slot comes up."""

        async def main() -> Forked:
            return await self.launches(command, **more).fork(1)

        with pytest.raises(ForkServerError) as caught:
            asyncio.run(main())
        return str(caught.value)


@pytest.fixture
def starter(home: Home) -> Starter:
    return Starter(home)


@pytest.mark.needs("mpi")
def test_ranks_that_are_worlds_of_one_are_told_apart_from_a_world(starter):
    # `env` starts one rank without any MPI around it, as a wrong srun does N times.
    text = starter.refusal("env FABRIC_RANKS={ranks}")
    for word in (
        "FABRIC_RANKS=3",
        "made a world of 1 where 3 ranks were asked for",
        "MPICH",
        "each rank is alone",
    ):
        assert word in text


@pytest.mark.long
@pytest.mark.needs("mpi")
@pytest.mark.needs("openmpi")
def test_the_mpiexec_of_another_mpi_makes_worlds_of_one(starter):
    text = starter.refusal("mpiexec -n {ranks}", **openmpi.ENV)
    assert "made a world of 1 where 3 ranks were asked for" in text
    assert "Open MPI" in text


@pytest.mark.long
@pytest.mark.needs("mpi")
def test_a_world_that_is_too_small_is_refused_with_the_numbers(starter):
    assert "mpiexec -n 2 made a world of 2 where 3 ranks were asked for" in starter.refusal("mpiexec -n 2")


def test_an_mpiexec_that_ends_is_quoted(starter):
    text = starter.refusal("sh -c 'echo one; echo two >&2; exit 3'")
    assert "ended with exit code 3 before it was up; it said: one / two" in text
    assert starter.printed == b"one\ntwo\n"


def test_an_mpiexec_that_hangs_is_given_up_and_nothing_of_it_is_left(starter, tmp_path):
    mark = tmp_path / "its.environ"
    command = f"sh -c 'env >{mark}; trap \"\" TERM; sleep 1000 & sleep 1000'"
    text = starter.refusal(command, patience=0.5)
    assert "was not up after 0.5 s: none of its ranks came" in text
    (tag,) = [line for line in mark.read_text().splitlines() if line.startswith(f"{TAG}=")]
    assert list(marked({tag})) == []


def test_a_missing_mpiexec_is_named(starter):
    assert "there is no 'no-such-mpiexec' beside" in starter.refusal("no-such-mpiexec -n {ranks}")


def test_a_missing_mpi4py_is_named_with_its_extra(starter, monkeypatch):
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "mpi4py" else find_spec(name)
    )
    assert "adaptive-fabric[mpi]" in starter.refusal("mpiexec -n {ranks}")


def test_a_start_that_is_called_off_ends_at_once(starter):
    async def main() -> None:
        launches = starter.launches("sh -c 'sleep 1000'")
        starting = asyncio.create_task(launches.fork(1))
        await asyncio.sleep(0)
        launches.end(1)
        async with asyncio.timeout(PATIENT):
            with pytest.raises(ForkServerError, match="was ended before it was up"):
                await starting

    asyncio.run(main())


def test_the_agents_folder_and_its_socket_are_gone_when_a_slot_is_up_or_not(starter, tmp_path, monkeypatch):
    folder = tmp_path / "tmp"
    folder.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    starter.refusal("false")
    assert list(folder.iterdir()) == []


@pytest.mark.long
@pytest.mark.needs("mpi")
def test_a_slot_that_is_up_ends_when_it_is_told_to(starter):
    async def main() -> None:
        launches = starter.launches("mpiexec -n {ranks}", ranks=2)
        forked = await launches.fork(1)
        command = Path(f"/proc/{forked.pid}/cmdline").read_bytes()
        assert b"fabric_jobs.rank" in command
        launches.end(1)
        async with asyncio.timeout(PATIENT):
            while not starter.ended:
                await asyncio.sleep(0.01)
        assert not Path(f"/proc/{forked.pid}").exists() or until(
            lambda: not Path(f"/proc/{forked.pid}").exists()
        )
        for fd in (forked.up, forked.down, forked.out):
            os.close(fd)
        await launches.close()

    asyncio.run(main())
    (ended,) = starter.ended
    assert "its mpiexec" in ended.how

"""The fork server and its slots: who ends with whom. Whatever is killed, nothing below it lives on."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import adaptive
import cloudpickle
import psutil
import pytest
from tests.slots import Agent, Ledger, Seated

from fabric_broker.home import Home
from fabric_broker.signing import Signer, load_key
from fabric_jobs import channel
from fabric_jobs.channel import Down, Up
from fabric_jobs.forks import Ended, ForkServerError, thread_limits

cloudpickle.register_pickle_by_value(sys.modules[__name__])


@pytest.fixture
def signer(home: Home) -> Signer:
    return Signer(load_key(home.work_key), "default")


def slowly(x: Any) -> Any:
    time.sleep(0.05)
    return x


def endless(signer: Signer, store: Path, executor: str) -> Ledger:
    """A learner that takes minutes."""
    learner = adaptive.SequenceLearner(slowly, list(range(10_000)))
    return Ledger(signer, store, learner, executor=executor)


async def at_work(agent: Agent, ledger: Ledger) -> Seated:
    """A slot that has found a few points of the learner."""
    slot = await agent.slot()
    slot.tell(ledger.lease())
    async with asyncio.timeout(60):
        while ledger.seq < 3:
            for frame in await slot.read():
                ledger.heard(frame)
    return slot


def below(pid: int) -> list[psutil.Process]:
    return list(psutil.Process(pid).children(recursive=True))


def alive(processes: Iterable[psutil.Process]) -> list[psutil.Process]:
    """Those that still run; zombies do not."""
    found = []
    for process in processes:
        try:
            if process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except (psutil.NoSuchProcess, OSError):  # gone, perhaps while it was looked at
            continue
    return found


def wait_until_gone(processes: list[psutil.Process]) -> None:
    deadline = time.monotonic() + 20
    while left := alive(processes):
        assert time.monotonic() < deadline, f"still there: {[each.cmdline() for each in left]}"
        time.sleep(0.01)


FAR = [
    pytest.param("dask", marks=[pytest.mark.long, pytest.mark.needs("dask")]),
    pytest.param("ipyparallel", marks=[pytest.mark.long, pytest.mark.needs("ipyparallel")]),
]


@pytest.mark.parametrize(
    "executor", ["serial", "process-pool", pytest.param("loky", marks=pytest.mark.long), *FAR]
)
def test_nothing_of_a_killed_slot_is_left_and_the_server_goes_on(site, tmp_path, executor):
    async def main() -> None:
        slot = await at_work(site.agent, endless(site.signer, tmp_path, executor))
        workers = below(slot.pid)
        assert (len(workers) >= 2) == (executor != "serial")
        os.kill(slot.pid, signal.SIGKILL)
        ended = await slot.end()
        assert (ended.signal, ended.code, ended.serial) == ("SIGKILL", None, slot.serial)
        wait_until_gone(workers)
        other = await at_work(site.agent, endless(site.signer, tmp_path / "other", "serial"))
        site.agent.forks.kill(other.pid)

    site.runner.run(main())


def test_nothing_of_a_killed_fork_server_is_left_and_it_is_told(home, signer, tmp_path):
    async def main() -> None:
        async with Agent(home.path) as agent:
            await at_work(agent, endless(signer, tmp_path / "a", "serial"))
            await at_work(agent, endless(signer, tmp_path / "b", "process-pool"))
            others = below(agent.forks.pid)
            assert len(others) >= 4
            os.kill(agent.forks.pid, signal.SIGKILL)
            async with asyncio.timeout(20):
                await agent.gone.wait()
            wait_until_gone(others)
            with pytest.raises(ForkServerError, match="has ended"):
                await agent.slot()

    asyncio.run(main())


AGENT = """
import asyncio, sys, time
sys.path[:0] = sys.argv[4:]
from pathlib import Path
from fabric_broker.home import Home
from fabric_broker.signing import Signer, load_key
from tests.integration.jobs.test_forks import at_work, endless
from tests.slots import Agent

async def main():
    home = Home(sys.argv[1])
    signer = Signer(load_key(home.work_key), "default")
    async with Agent(home.path) as agent:
        for executor in sys.argv[3].split(","):
            await at_work(agent, endless(signer, Path(sys.argv[2]) / executor, executor))
        print("at work", flush=True)
        await asyncio.sleep(1000)

asyncio.run(main())
"""


@pytest.mark.long
@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    "executors",
    [
        "serial,process-pool",
        pytest.param("dask,ipyparallel", marks=[pytest.mark.needs("dask"), pytest.mark.needs("ipyparallel")]),
    ],
)
def test_nothing_of_a_killed_agent_is_left(home, tmp_path, executors):
    command = [sys.executable, "-c", AGENT, str(home.path), str(tmp_path), executors, *sys.path]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as agent:
        try:
            assert agent.stdout is not None
            assert agent.stdout.readline() == "at work\n"
            others = below(agent.pid)
            # The server, a slot for each executor, two workers.
            assert len(others) >= 3 + len(executors.split(","))
        finally:
            agent.kill()
    wait_until_gone(others)


def test_a_slot_ends_with_its_pipes(site, tmp_path):
    async def main() -> Ended:
        slot = await at_work(site.agent, endless(site.signer, tmp_path, "process-pool"))
        workers = below(slot.pid)
        site.agent.drop(slot)
        ended = await slot.end()
        wait_until_gone(workers)
        return ended

    assert site.runner.run(main()).code == 0


def test_a_slot_exits_when_it_is_told_and_leaves_no_worker(site, tmp_path):
    async def main() -> Ended:
        ledger = endless(site.signer, tmp_path, "loky")
        slot = await at_work(site.agent, ledger)
        workers = below(slot.pid)
        slot.stop("fenced", save=False)
        over = False
        while not over:
            over = any(ledger.heard(frame) for frame in await slot.read())
        slot.tell(channel.encode(Down.EXIT))
        ended = await slot.end()
        wait_until_gone(workers)
        return ended

    assert site.runner.run(main()).code == 0


def test_a_slot_is_killed_when_it_is_asked_for_and_only_while_it_is_ours(site, tmp_path):
    async def main() -> None:
        slot = await at_work(site.agent, endless(site.signer, tmp_path, "serial"))
        site.agent.forks.kill(os.getpid())  # no slot: nothing happens
        site.agent.forks.kill(slot.pid)
        assert (await slot.end()).signal == "SIGKILL"
        site.agent.forks.kill(slot.pid)
        other = await site.agent.slot()
        other.tell(channel.encode(Down.EXIT))
        assert (await other.end()).code == 0

    site.runner.run(main())


@pytest.mark.long
def test_closing_ends_the_server_and_all_slots(home, signer, tmp_path):
    async def main() -> list[psutil.Process]:
        async with Agent(home.path, OMP_NUM_THREADS="3") as agent:
            limited = Ledger(signer, tmp_path, adaptive.SequenceLearner(limits, [0]))
            await (await agent.slot()).lease(limited)
            # What the environment says wins over the number for all libraries.
            assert limited.journaled() == [((0, 0), ("3", "1"))]
            await at_work(agent, endless(signer, tmp_path, "process-pool"))
            found = [psutil.Process(agent.forks.pid), *below(agent.forks.pid)]
            assert not agent.gone.is_set()
        assert not agent.gone.is_set()  # it was asked to end
        return found

    wait_until_gone(asyncio.run(main()))


def limits(x: Any) -> Any:
    return os.environ["OMP_NUM_THREADS"], os.environ["OPENBLAS_NUM_THREADS"]


def test_a_server_that_cannot_start_is_told(home):
    home.work_key.unlink()

    async def main() -> None:
        async with Agent(home.path) as agent:
            with pytest.raises(ForkServerError, match="has ended"):
                await agent.slot()
            assert agent.gone.is_set()

    asyncio.run(main())


def test_limits_are_one_number_for_all_libraries():
    assert set(thread_limits(4).values()) == {"4"}


def test_slots_have_random_numbers_of_their_own(site, tmp_path):
    def draw(x):
        import random

        import numpy

        return random.random(), numpy.random.random()

    drawn = []
    for n in range(3):
        ledger = Ledger(site.signer, tmp_path, adaptive.SequenceLearner(draw, [0]), id=f"r0000000a.{n}")
        site.run(ledger)
        drawn += [value for _, value in ledger.journaled()]
    assert len({one for one, _ in drawn}) == len({other for _, other in drawn}) == 3


def test_the_agents_side_needs_nothing_heavy():
    code = (
        "import sys, fabric_jobs.forks, fabric_jobs.channel, fabric_jobs.deathsig\n"
        "print([m for m in ('numpy', 'adaptive', 'cloudpickle', 'loky', 'redis') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout == "[]\n"


def test_slots_of_several_runs_work_side_by_side(site, tmp_path):
    async def main() -> list[Up]:
        slots = [await site.agent.slot() for _ in range(2)]
        learners = [adaptive.SequenceLearner(slowly, list(range(5))) for _ in slots]
        ledgers = [
            Ledger(site.signer, tmp_path, learner, id=f"r0000000{run}.0")
            for run, learner in zip("ab", learners, strict=True)
        ]
        await asyncio.gather(*(slot.lease(ledger) for slot, ledger in zip(slots, ledgers, strict=True)))
        for slot in slots:
            slot.tell(channel.encode(Down.EXIT))
        return [ledger.ending()[0] for ledger in ledgers]

    assert site.runner.run(main()) == [Up.DONE, Up.DONE]

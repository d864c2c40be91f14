"""What a run may ask of its slots: status lines, a cache, globals that last, threads, an initializer."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from pathlib import Path
from typing import Any

import adaptive
import cloudpickle
import pytest
from tests.slots import Agent, Ledger, Seated, load

from fabric_broker.home import Home
from fabric_broker.signing import Signer, load_key
from fabric_jobs import channel
from fabric_jobs.channel import Down, Up

# The slot need not import the tests.
cloudpickle.register_pickle_by_value(sys.modules[__name__])

EACH = pytest.mark.parametrize(
    "executor", ["serial", "process-pool", pytest.param("loky", marks=pytest.mark.long)]
)


def items(function: Any, n: int) -> Any:
    return adaptive.SequenceLearner(function, list(range(n)))


def test_the_status_counts_what_the_workers_do(site, tmp_path):
    def burn(x):
        block = bytearray(80_000_000)
        until = time.monotonic() + 0.3
        while time.monotonic() < until:
            pass
        return len(block)

    ledgers = [
        Ledger(site.signer, tmp_path, items(function, 8), id=f"r0000000{letter}.0", **more)
        for letter, function, more in [
            ("a", burn, {"executor": "process-pool", "log_interval": 0.2}),
            ("b", lambda x: time.sleep(0.03), {"log_interval": 0.05}),
        ]
    ]
    for ledger in ledgers:
        site.run(ledger)
    busy, idle = (ledger.said(Up.STATUS)[-1] for ledger in ledgers)
    assert busy["memory"] > idle["memory"] + 150e6
    assert busy["cpu"] > idle["cpu"]


@EACH
def test_a_cache_saves_evaluations_for_other_learners_and_runs(site, tmp_path, executor):
    def noted(x):
        with (tmp_path / "evaluated").open("a") as file:
            file.write(f"{x}\n")
        return 3 * x

    told = []
    for run, n in (("a", 6), ("b", 9)):
        kwargs = {"cache": str(tmp_path / "cache")}
        ledger = Ledger(
            site.signer,
            tmp_path / "store",
            items(noted, n),
            id=f"r0000000{run}.0",
            executor=executor,
            runner_kwargs=kwargs,
        )
        site.run(ledger)
        kind, record = ledger.ending()
        assert (kind, record["npoints"]) == (Up.DONE, n), record
        told.append(load(ledger, items(abs, n)).data)
    assert sorted((tmp_path / "evaluated").read_text().split()) == [str(x) for x in range(9)]
    assert told == [{x: 3 * x for x in range(6)}, {x: 3 * x for x in range(9)}]


@EACH
def test_module_globals_last_from_learner_to_learner(site, tmp_path, monkeypatch, executor):
    """A big table that one learner loaded is there for the next, in the slot and in its workers."""
    (tmp_path / "with_a_table.py").write_text(
        "import os\n"
        "table = None\n"
        "def f(x):\n"
        "    global table\n"
        "    if table is None:\n"
        "        table = ['loaded for learner', x, os.getpid()]\n"
        "    return os.getpid(), table\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    import with_a_table  # type: ignore[import-not-found]

    async def act(slot: Seated) -> list[Any]:
        found = []
        for n in range(3):
            ledger = Ledger(
                site.signer,
                tmp_path / "s",
                adaptive.SequenceLearner(with_a_table.f, [f"{n}.{k}" for k in range(4)]),
                sys_path=(str(tmp_path),),
                id=f"r0000000a.{n}",
                executor=executor,
                cores=1,
            )
            await slot.lease(ledger)
            found += [value for _, value in ledger.journaled()]
        return found

    found = site.new_slot(act)
    assert len(found) == 12
    assert {table[1][0] for _, table in found} == {"0"}
    assert len({pid for pid, _ in found}) == 1


@pytest.mark.long
@pytest.mark.parametrize("executor", ["serial", "loky"])
def test_numerical_libraries_have_the_threads_that_were_asked_for(tmp_path, executor):
    """They read that when they are imported, which happens in the fork server, or in loky's fresh interpreters."""

    def threads(x):
        import numpy

        square = numpy.ones((600, 600))
        square @ square
        names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
        return {os.environ[name] for name in names}, len(list(Path("/proc/self/task").iterdir()))

    def run(num_threads: int) -> Any:
        home = Home(tmp_path / f"home{num_threads}").create()
        ledger = Ledger(
            Signer(load_key(home.work_key), "default"), tmp_path / "s", items(threads, 1), executor=executor
        )

        async def main() -> None:
            async with Agent(home.path, num_threads=num_threads) as agent:
                slot = await agent.slot()
                await slot.lease(ledger)
                slot.tell(channel.encode(Down.EXIT))
                await slot.end()

        asyncio.run(main())
        ((_, value),) = ledger.journaled()
        return value

    (one, few), (three, more) = run(1), run(3)
    assert (one, three) == ({"1"}, {"3"})
    if (os.cpu_count() or 1) > 1:
        assert more > few


def test_forked_workers_have_what_the_slot_initialized(site, tmp_path):
    def initialize():
        os.environ["CALLS"] = os.environ.get("CALLS", "") + "x"

    async def act(slot: Seated) -> list[Any]:
        found = []
        for n in range(2):
            learner = items(lambda x: os.environ["CALLS"], 3)
            ledger = Ledger(
                site.signer,
                tmp_path,
                learner,
                initializer=initialize,
                id=f"r0000000a.{n}",
                executor="process-pool",
            )
            await slot.lease(ledger)
            found += [value for _, value in ledger.journaled()]
        return found

    assert set(site.new_slot(act)) == {"x"}


UNDER_WAY: list[Any] = []


async def doubled(x: Any) -> Any:
    UNDER_WAY.append(x)
    await asyncio.sleep(0.02)
    found = len(UNDER_WAY)
    UNDER_WAY.remove(x)
    return 2 * x, found


@pytest.mark.parametrize("ntasks", [None, 4])
def test_async_functions_are_awaited_in_the_slot(site, tmp_path, ntasks):
    kwargs = {} if ntasks is None else {"ntasks": ntasks}
    ledger = Ledger(site.signer, tmp_path, items(doubled, 20), runner_kwargs=kwargs)
    site.run(ledger)
    assert ledger.ending()[0] is Up.DONE, ledger.ending()
    data = load(ledger, items(abs, 20)).data
    assert [value for value, _ in data.values()] == [2 * x for x in range(20)]
    assert max(found for _, found in data.values()) == (ntasks or 1)


async def first_of(x: Any) -> Any:
    await asyncio.sleep(0.001)
    return x**2


@pytest.mark.parametrize("wrap", ["BalancingLearner", "DataSaver"])
def test_async_functions_within_other_learners_are_awaited(site, tmp_path, wrap):
    child = adaptive.Learner1D(first_of, (-1, 1))
    learner = (
        adaptive.BalancingLearner([child])
        if wrap == "BalancingLearner"
        else adaptive.DataSaver(child, arg_picker=abs)
    )
    ledger = Ledger(site.signer, tmp_path, learner, goal=lambda learner: learner.npoints >= 9)
    site.run(ledger)
    assert ledger.ending()[0] is Up.DONE, ledger.ending()
    assert ledger.ending()[1]["npoints"] == 9


async def fails(x: Any) -> Any:
    if x == 2:
        sys.exit(3)
    return x


def test_an_async_function_that_ends_the_slot_ends_its_learner_only(site, tmp_path):
    async def act(slot: Seated) -> list[Any]:
        ends = []
        for n, function in enumerate([fails, doubled]):
            ledger = Ledger(site.signer, tmp_path, items(function, 5), id=f"r0000000a.{n}")
            ends.append((await slot.lease(ledger)).ending())
        return ends

    (first, record), (second, _) = site.new_slot(act)
    assert (first, record["type"], record["point"]) == (Up.RAISED, "SystemExit", "(2, 2)")
    assert second is Up.DONE


def test_a_drain_waits_for_coroutines(site, tmp_path):
    async def slow(x: Any) -> Any:
        await asyncio.sleep(0.3)
        return x

    ledger = Ledger(site.signer, tmp_path, items(slow, 30), runner_kwargs={"ntasks": 3})

    async def act(slot: Seated) -> None:
        def stop(frame: Any) -> None:
            if frame.kind == Up.POINT and ledger.seq == 1:
                slot.stop("drain")

        await slot.lease(ledger, on_frame=stop)

    site.new_slot(act)
    assert ledger.ending()[0] is Up.STOPPED
    assert 3 <= ledger.seq < 30

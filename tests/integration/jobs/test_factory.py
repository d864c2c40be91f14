"""A slot whose executor a function of the user makes: what it may return, what breaks it, what is left of it."""

from __future__ import annotations

import asyncio
import base64
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import Executor, Future
from pathlib import Path
from typing import Any

import adaptive
import cloudpickle
import psutil
import pytest
from tests.agents import World, until
from tests.integration.jobs.test_forks import below, wait_until_gone
from tests.slots import Ledger, Site

from fabric_broker.factory import Factory
from fabric_broker.signing import Signer, load_key
from fabric_jobs.channel import Up

cloudpickle.register_pickle_by_value(sys.modules[__name__])


def ledger_with(
    site: Site, store: Path, make: Callable[[], Any] | str, function: Callable[[Any], Any], points: int = 6
) -> Ledger:
    """A learner of a pool whose executor `make` makes."""
    if isinstance(make, str):
        factory = Factory.signed(site.signer, make)
    else:
        factory = Factory.signed(site.signer, "tests:make", cloudpickle.dumps(make))
    learner = adaptive.SequenceLearner(function, list(range(points)))
    return Ledger(site.signer, store, learner, executor="factory", factory=factory.code)


def values(ledger: Ledger) -> list[Any]:
    kind, told = ledger.ending()
    assert kind == Up.DONE, told
    return [value for _, value in sorted(ledger.journaled())]


def pids(ledger: Ledger) -> set[int]:
    return {pid for pid, _ in values(ledger)}


def where(x: Any) -> Any:
    import os

    return os.getpid(), x


def process_pool() -> Any:
    from concurrent.futures import ProcessPoolExecutor

    return ProcessPoolExecutor(2)


def loky_pool() -> Any:
    from loky import get_reusable_executor

    return get_reusable_executor(max_workers=2)


def dask_client() -> Any:
    from distributed import Client, LocalCluster

    return Client(LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None))


def ipyparallel_view() -> Any:
    import ipyparallel

    return ipyparallel.Cluster(n=1, log_level=40).start_and_connect_sync()[:]


@pytest.mark.timeout(500)
@pytest.mark.parametrize(
    "make",
    [
        process_pool,
        pytest.param(loky_pool, marks=pytest.mark.long),
        pytest.param(dask_client, marks=[pytest.mark.long, pytest.mark.needs("dask")]),
        pytest.param(ipyparallel_view, marks=[pytest.mark.long, pytest.mark.needs("ipyparallel")]),
    ],
)
def test_what_adaptive_takes_evaluates_and_nothing_of_it_is_left(site, tmp_path, make):
    ledger = ledger_with(site, tmp_path, make, where)
    found: list[psutil.Process] = []

    async def act(slot: Any) -> int:
        await slot.lease(ledger, timeout=240)
        found.extend(below(slot.pid))
        return int(slot.pid)

    pid = site.new_slot(act)  # which is killed afterwards
    assert pid not in pids(ledger)
    assert found
    wait_until_gone(found)


def test_a_factory_is_imported_by_its_name(site, tmp_path):
    ledger = ledger_with(site, tmp_path, "concurrent.futures:ThreadPoolExecutor", where)
    site.run(ledger)
    assert len(pids(ledger)) == 1


def test_a_factory_that_cannot_be_imported_is_named(site, tmp_path):
    ledger = ledger_with(site, tmp_path, "no_such_module:make", where)
    site.run(ledger)
    assert "executor='no_such_module:make' cannot be imported here" in ledger.ending()[1]["text"]


def test_what_is_no_executor_is_named_by_its_type(site, tmp_path):
    ledger = ledger_with(site, tmp_path, lambda: [1, 2], where)
    site.run(ledger)
    kind, told = ledger.ending()
    assert kind == Up.RAISED
    assert "tests:make returned a builtins.list, which is no executor" in told["text"]


def test_the_error_of_a_factory_is_told_as_it_is(site, tmp_path):
    def make() -> Any:
        return {}["no cluster today"]

    ledger = ledger_with(site, tmp_path, make, where)
    site.run(ledger)
    kind, told = ledger.ending()
    assert (kind, told["type"]) == (Up.RAISED, "KeyError")
    assert "no cluster today" in told["traceback"]


class Trap:
    """Leaves a trace when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


def test_a_factory_that_nobody_signed_is_not_unpickled(site, tmp_path):
    ledger = ledger_with(site, tmp_path / "store", process_pool, where)
    sprung = tmp_path / "sprung"
    forged = b"FAB1" + bytes(32) + b"m:f\0" + cloudpickle.dumps(Trap(sprung))
    other = site.signer.sign("run", b"m:f\0" + cloudpickle.dumps(Trap(sprung)))
    for blob in (forged, other):
        ledger.record["factory"] = base64.b64encode(blob).decode()
        site.run(ledger)
        assert ledger.ending()[1]["type"].endswith("SignatureError")
    assert not sprung.exists()


def test_a_factory_is_called_again_when_its_executor_breaks(site, tmp_path):
    calls = tmp_path / "calls"

    def make() -> Any:
        with calls.open("a") as file:
            file.write("called\n")
        return process_pool()

    def function(x: Any) -> Any:
        import os
        import signal

        died = calls.with_name("died")
        if x == 3 and not died.exists():
            died.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return where(x)

    ledger = ledger_with(site, tmp_path / "store", make, function)
    site.run(ledger)
    assert len(values(ledger)) == 6
    assert calls.read_text() == "called\ncalled\n"
    (warned,) = ledger.said(Up.WARNING)
    assert "a worker of the factory died of BrokenProcessPool" in warned["text"]


def test_what_an_executor_started_ends_with_a_killed_slot(site, tmp_path):
    def make() -> Any:
        # Of a session of its own, as clusters start their daemons.
        subprocess.Popen(["sleep", "1000"], start_new_session=True)
        return process_pool()

    def slowly(x: Any) -> Any:
        time.sleep(1000 if x > 2 else 0)
        return x

    async def main() -> None:
        ledger = ledger_with(site, tmp_path, make, slowly)
        slot = await site.agent.slot()
        slot.tell(ledger.lease())
        async with asyncio.timeout(60):
            while ledger.seq < 3:
                for frame in await slot.read():
                    ledger.heard(frame)
        found = below(slot.pid)
        assert len(found) == 3
        os.kill(slot.pid, signal.SIGKILL)
        await slot.end()
        wait_until_gone(found)
        site.agent.drop(slot)

    site.runner.run(main())


class Refusing(Executor):
    """Takes nothing, as a client whose cluster is gone."""

    def submit(self, *_: Any) -> Any:  # type: ignore[override]
        raise ConnectionError("no cluster today")


def test_an_executor_that_takes_nothing_ends_the_slot_and_is_no_error_of_the_learner(site, tmp_path):
    ledger = ledger_with(site, tmp_path, Refusing, where)

    async def act(slot: Any) -> tuple[int | None, str]:
        slot.tell(ledger.lease())
        return (await slot.end()).code, await slot.output()

    code, printed = site.new_slot(act)
    assert code == 71
    assert "the executor that tests:make made cannot evaluate: ConnectionError: no cluster today" in printed
    assert ledger.frames == []


class Idle(Executor):
    """Has no workers, as a client whose cluster does not grow."""

    def submit(self, *_: Any) -> Any:  # type: ignore[override]
        return Future()


def test_the_setting_start_timeout_says_how_long_workers_are_waited_for(home, private_redis):
    factory = Factory.signed(
        Signer(load_key(home.work_key), "default"), "tests:Idle", cloudpickle.dumps(Idle)
    )
    world = World(home, private_redis, executor=factory.to_dict())
    try:
        run = world.submit([abs])
        job = world.start(FABRIC_START_TIMEOUT="1")
        text = "the executor that tests:Idle made evaluated nothing within 1 s"
        until(lambda: text in world.log(job), "the slot's last words")
        until(lambda: world.count(run, "died"), "the end of the lease")
        assert world.learner(run).attempts == 0
    finally:
        world.close()


HANGS = """
import sys, time
from concurrent.futures import Executor, Future
from fabric_jobs.making import Made
from fabric_jobs.workers import Factory, NoWorkersError, Wanted

class Idle(Executor):
    def submit(self, *_):
        return Future()

def hang():
    time.sleep(1000)

try:
    Made(Wanted(1, factory=Factory("__main__:Idle", b""), start_s=0.2))
except NoWorkersError as error:
    print(error, flush=True)
Made(Wanted(1, factory=Factory("__main__:hang", b""), start_s=0.2))
"""


def test_a_factory_that_hangs_and_an_executor_without_workers_are_not_waited_for():
    done = subprocess.run(
        [sys.executable, "-c", HANGS], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.stdout == "the executor that __main__:Idle made evaluated nothing within 0.2 s\n"
    assert done.stderr == "__main__:hang did not return an executor within 0.2 s\n"
    assert done.returncode == 71

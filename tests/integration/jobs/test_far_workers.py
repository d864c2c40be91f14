"""Workers of dask and ipyparallel that a slot starts as programs: how they come, what is said when they do not."""

from __future__ import annotations

import asyncio
import importlib.util
import os
import signal
import time
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import cloudpickle
import psutil
import pytest
from tests.integration.jobs.test_forks import wait_until_gone
from tests.integration.jobs.test_pools import Desk, done, lives, sequence, workers_of

from fabric_jobs.executors import Pool
from fabric_jobs.making import executor_of
from fabric_jobs.workers import NoWorkersError, Wanted

pytestmark = pytest.mark.timeout(500)

DASK = pytest.param("dask", marks=pytest.mark.needs("dask"))
IPYPARALLEL = pytest.param("ipyparallel", marks=[pytest.mark.long, pytest.mark.needs("ipyparallel")])
EACH_KIND = pytest.mark.parametrize("kind", [DASK, IPYPARALLEL])
MODULES = {"dask": "distributed", "ipyparallel": "ipyparallel"}


@pytest.fixture
def cwd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder in which the slot is."""
    folder = tmp_path / "cwd"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder for temporary files, where nothing with a secret may be left."""
    folder = tmp_path / "tmp"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    yield folder
    assert not list(folder.rglob("fabric-*"))


def initialize() -> None:
    os.environ["INITIALIZED"] = "yes"


@EACH_KIND
def test_workers_come_work_where_the_run_is_at_home_and_leave_nothing(cwd, left, kind):
    before = children()
    pool = Pool(kind, Wanted(1, cloudpickle.dumps(initialize)))
    try:
        (pid,) = workers_of(pool)
        assert_only_loopback(pid)
        assert not list(left.rglob("invitation.json"))
        shift = 3
        learner = sequence(
            lambda x: (x + shift, os.getpid(), str(Path.cwd()), os.environ.get("INITIALIZED")), 3
        )
        assert Desk(pool).run(learner, done) is None
        assert list(learner.data.values()) == [(x + 3, pid, str(cwd), "yes") for x in range(3)]
        second = sequence(lambda x: os.getpid(), 3)
        assert Desk(pool).run(second, done) is None
        assert set(second.data.values()) == {pid}, "workers are warm for the next learner"
        if kind == "ipyparallel":
            assert_taken(pool._workers)
        mine = children(but=before)
    finally:
        pool.close()
    assert not lives(pid)
    wait_until_gone(mine)  # the controller's own child is ended by the kernel, after it
    assert not list(cwd.iterdir())


def assert_taken(engines: Any) -> None:
    """What ipyparallel has for users is taken from a factory, all of it."""
    client = engines._client
    for made in (client, client[:], client[:].executor, client.load_balanced_view()):
        assert executor_of(made, "tests:make").submit(abs, -1).result(60) == 1


def assert_only_loopback(pid: int) -> None:
    """What these processes listen on is reached from this host only."""
    for process in (psutil.Process(), psutil.Process(pid)):
        for each in process.net_connections("inet"):
            if each.status == psutil.CONN_LISTEN:
                assert each.laddr.ip == "127.0.0.1"


@pytest.mark.needs("dask")
@pytest.mark.long
def test_nobody_without_the_certificate_speaks_to_a_dask_scheduler():
    from distributed import Client

    async def knock(address: str) -> None:
        client = Client(address, asynchronous=True, timeout=2, set_as_default=False)
        try:
            await client
        finally:
            await client.close()

    pool = Pool("dask", Wanted(1))
    workers: Any = pool._workers
    try:
        address = workers._cluster.scheduler_address
        assert address.startswith("tls://127.0.0.1:")
        for each in (address, address.replace("tls", "tcp")):
            with pytest.raises((OSError, TypeError)):
                asyncio.run(knock(each))
    finally:
        pool.close()


def fail() -> None:
    raise LookupError("no table here")


def hang() -> None:
    time.sleep(600)


@pytest.mark.needs("ipyparallel")
@pytest.mark.long
def test_workers_that_end_before_they_come_are_counted_and_quoted(left):
    before = children()
    with pytest.raises(
        NoWorkersError, match=r"0 of 2 engines came before one of them ended \(exit code 1\)"
    ) as caught:
        Pool("ipyparallel", Wanted(2, cloudpickle.dumps(fail)))
    assert "LookupError: no table here" in str(caught.value)
    wait_until_gone(children(but=before))


@pytest.mark.needs("dask")
@pytest.mark.long
def test_workers_that_do_not_come_are_waited_for_until_the_deadline(left):
    before = children()
    with pytest.raises(NoWorkersError, match="0 of 2 dask workers came within 5 s"):
        Pool("dask", Wanted(2, cloudpickle.dumps(hang), start_s=5))
    wait_until_gone(children(but=before))


def children(but: Collection[psutil.Process] = ()) -> list[psutil.Process]:
    """What runs below this process; fixtures of other tests have some there, too."""
    return [each for each in psutil.Process().children(recursive=True) if each not in but]


@pytest.mark.parametrize("kind", ["dask", "ipyparallel"])
def test_a_missing_library_is_named_with_its_extra(kind, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        "fabric_jobs.missing.find_spec", lambda name: None if name == MODULES[kind] else find(name)
    )
    extra = rf"{MODULES[kind]} is not installed here: pip install 'adaptive-fabric\[{kind}\]'"
    with pytest.raises(NoWorkersError, match=extra):
        Pool(kind, Wanted(1))


@pytest.mark.needs("ipyparallel")
@pytest.mark.long
def test_a_killed_controller_costs_new_engines_and_no_learner():
    pool = Pool("ipyparallel", Wanted(1))
    workers: Any = pool._workers
    try:
        before = workers_of(pool)
        os.kill(workers._controller.pids[0], signal.SIGKILL)
        learner = sequence(lambda x: x, 3)
        assert Desk(pool).run(learner, done) is None
        assert len(learner.data) == 3
        assert set(workers_of(pool)).isdisjoint(before)
    finally:
        pool.close()

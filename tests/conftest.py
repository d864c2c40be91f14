"""What every test shares: Redis servers, homes, and the marker `needs` for what a machine may lack.

Fixtures: `redis` (a client of this process' server, emptied before the test), `redis_process` (that server),
`private_redis` (a server of the test's own, to kill, freeze, restart or configure), `home` (a home with keys),
`embedded` (makes `EmbeddedServer`s; what they started is gone after the test), `slurm` (a cluster of the test's own,
whose commands are on PATH; the test is marked `needs("slurm")`).

`FABRIC_TEST_REQUIRE=redis7,…` (or `all`) turns the skip into a failure: CI installs the components and must not
pass without them.
"""

import functools
import importlib.util
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from redis import Redis
from tests import openmpi
from tests import slurm as private_slurm
from tests.redis_process import RedisProcess
from tests.servers import kill_servers_of
from tests.slurm import Slurm

from fabric_broker.config import Config
from fabric_broker.home import Home
from fabric_broker.server import EmbeddedServer
from fabric_jobs.mpi import find_program

# How fast a busy machine makes examples says nothing of the product.
settings.register_profile("fabric", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("fabric")


def _redis7() -> str | None:
    """Why there is no Redis >= 7, or None."""
    binary = shutil.which("redis-server")
    if binary is None:
        return "no redis-server on PATH"
    told = subprocess.run(
        [binary, "--version"], capture_output=True, text=True, timeout=10, check=False
    ).stdout
    version = re.search(r"v=(\d+)", told)
    if version is None or int(version[1]) < 7:
        return f"{binary} is not Redis >= 7: {told.strip() or 'it told no version'}"
    return None


def _tmux() -> str | None:
    """Why there is no terminal to drive, or None."""
    return None if shutil.which("tmux") else "no tmux on PATH"


def _chromium() -> str | None:
    """Why there is no browser to drive, or None."""
    from tests.browser import NAMES, find_browser  # here because it takes aiohttp along

    return None if find_browser() else f"none of {', '.join(NAMES)} on PATH"


def _mpi() -> str | None:
    """Why there is no MPI, or None."""
    if importlib.util.find_spec("mpi4py") is None:
        return "mpi4py is not installed"
    return None if find_program("mpiexec", os.environ) else "no mpiexec beside this Python or on PATH"


def _modules(*names: str) -> str | None:
    """Why a kind of executor cannot be had, or None."""
    missing = [name for name in names if importlib.util.find_spec(name) is None]
    return f"not installed: {', '.join(missing)}" if missing else None


REQUIRED = os.environ.get("FABRIC_TEST_REQUIRE", "").split(",")
LACKS: dict[str, Callable[[], str | None]] = {
    "redis7": functools.cache(_redis7),
    "slurm": functools.cache(private_slurm.lack),
    "mpi": _mpi,
    "openmpi": openmpi.lack,
    "dask": functools.partial(_modules, "distributed", "cryptography"),
    "ipyparallel": functools.partial(_modules, "ipyparallel"),
    "tmux": _tmux,
    "chromium": _chromium,
}


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip what this machine cannot run, or fail where it was promised that it can."""
    for marker in item.iter_markers("needs"):
        (name,) = marker.args
        lack = LACKS[name]()
        if lack is None:
            continue
        if name in REQUIRED or "all" in REQUIRED:
            pytest.fail(f"FABRIC_TEST_REQUIRE names {name}: {lack}", pytrace=False)
        pytest.skip(f"needs {name}: {lack}")


@pytest.fixture(autouse=True)
def no_settings_from_outside(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Keep the tests from the home and the settings of whoever runs them."""
    for name in os.environ:
        if name.startswith("FABRIC_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


@pytest.fixture(scope="session")
def redis_process() -> Iterator[RedisProcess]:
    """The server of this test process: for tests that neither kill nor configure it."""
    process = RedisProcess()
    try:
        process.start()
        yield process
    finally:
        process.close()


@pytest.fixture
def redis(redis_process: RedisProcess) -> Iterator[Redis]:
    """A client of an empty Redis."""
    with redis_process.client() as client:
        client.flushall()
        yield client


@pytest.fixture
def private_redis() -> Iterator[RedisProcess]:
    """A server of the test's own."""
    process = RedisProcess()
    try:
        process.start()
        yield process
    finally:
        process.close()


@pytest.fixture
def home() -> Iterator[Home]:
    """A home with keys, its path short enough for a socket."""
    folder = Path(tempfile.mkdtemp(prefix="fabric-home-"))
    try:
        yield Home(folder / "h").create()
    finally:
        shutil.rmtree(folder)


@pytest.fixture
def embedded(home: Home) -> Iterator[Callable[..., EmbeddedServer]]:
    """Make an EmbeddedServer: `embedded()` for `home`, `embedded(other_home)`, settings by name."""
    homes: set[Home] = set()

    def make(of: Home = home, **settings: Any) -> EmbeddedServer:
        homes.add(of)
        return EmbeddedServer(of, Config(**settings))

    yield make
    for each in homes:
        kill_servers_of(each)


@pytest.fixture
def slurm(monkeypatch: pytest.MonkeyPatch) -> Iterator[Slurm]:
    """A SLURM of four nodes with four cores each."""
    folder = Path(tempfile.mkdtemp(prefix="fabric-slurm-"))
    folder.chmod(0o755)  # or munge refuses its socket there
    cluster = Slurm(folder)
    for name, value in cluster.env.items():
        monkeypatch.setenv(name, value)
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.stop()

"""The workers of dask: a scheduler in the slot, and a process of one thread for each core.

Encrypted and authenticated throughout, on loopback too: whoever can speak to a dask scheduler can run code.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from contextlib import suppress
from functools import cache
from typing import Any, Final

from fabric_broker.listen import outside_address

from .children import Children
from .dask_worker import clear
from .inviting import invitation
from .lent import Lent
from .missing import needs
from .spreading import commands
from .workers import NoWorkersError, Wanted

_CLOSE_S: Final = 5.0
_LOOPBACK: Final = "127.0.0.1"
_SETTINGS: Final[Mapping[str, Any]] = {
    # A point that kills its worker is for us to find: dask tries it once, and elsewhere never.
    "distributed.scheduler.allowed-failures": 0,
    "distributed.scheduler.work-stealing": False,
    "distributed.scheduler.idle-timeout": None,
    # A function that holds the interpreter for minutes is no dead worker; TCP finds dead nodes.
    "distributed.scheduler.worker-ttl": None,
    "distributed.scheduler.active-memory-manager.start": False,
    # Its web server cannot be left out, and knows no certificates: it has no pages.
    "distributed.scheduler.http.routes": [],
}


@cache
def _security() -> Any:
    """The certificate of this slot; making one takes a good part of a second."""
    from distributed import Security

    return Security.temporary()


class _Loop:
    """The event loop of scheduler and client, in a thread of its own.

    distributed would start one by itself, and fail with an assertion where that takes more than ten seconds.
    """

    def __init__(self, within: float) -> None:
        self.loop: Any = None
        self._over: asyncio.Event
        self._began = threading.Event()
        self._thread = threading.Thread(target=self._run, name="fabric: dask", daemon=True)
        self._thread.start()
        if not self._began.wait(within):
            raise NoWorkersError(f"no thread for the scheduler of dask began within {within:g} s")

    def _run(self) -> None:
        asyncio.run(self._until_closed())

    async def _until_closed(self) -> None:
        from tornado.ioloop import IOLoop

        self.loop, self._over = IOLoop.current(), asyncio.Event()
        self._began.set()
        await self._over.wait()

    def close(self) -> None:
        self.loop.add_callback(self._over.set)
        self._thread.join(_CLOSE_S)


class DaskWorkers:
    """See `Workers`.

    Raises
    ------
    NoWorkersError
        They did not come.
    """

    def __init__(self, wanted: Wanted) -> None:
        needs("distributed", "cryptography", extra="dask")
        import dask
        from distributed import LocalCluster

        dask.config.set({**_SETTINGS, "distributed.comm.timeouts.connect": f"{wanted.start_s:g}s"})
        security = _security()
        self._spread = wanted.nodes > 1
        self._children = Children(self._died, gently=self._spread)
        self._folders: list[str] = []
        self._client: Any = None
        self._lent: Lent | None = None
        self._loop = _Loop(wanted.start_s)
        self._cluster = LocalCluster(
            loop=self._loop.loop,
            n_workers=0,  # ours die with the slot, and those on other nodes are started by srun
            threads_per_worker=1,
            host=outside_address() if self._spread else _LOOPBACK,
            protocol="tls://",
            security=security,
            scheduler_kwargs={"dashboard": False, "dashboard_address": f"{_LOOPBACK}:0"},
            silence_logs=logging.CRITICAL,
        )
        try:
            self._start(wanted, security)
        except BaseException:
            self.close()
            raise

    def _start(self, wanted: Wanted, security: Any) -> None:
        words = {
            "host": None if self._spread else _LOOPBACK,
            "address": self._cluster.scheduler_address,
            "key": security.tls_worker_key,
            "certificate": security.tls_worker_cert,
            "start_s": wanted.start_s,
        }
        with invitation(wanted, **words) as path:
            self._children.start(commands(wanted, "fabric_jobs.dask_worker", "--invitation", str(path)))
            self._children.wait_for(
                lambda: len(self._cluster.scheduler.workers), wanted.workers, "dask workers", wanted.start_s
            )
        if not self._spread:
            self._folders = [each.local_directory for each in self._cluster.scheduler.workers.values()]
        from distributed import Client

        self._client = Client(self._cluster, set_as_default=False, timeout=wanted.start_s)
        self._lent = Lent(self._client.get_executor(pure=False, retries=0), wanted.workers)
        if self._children.dead is not None:
            self._died(self._children.dead)

    def _died(self, how: str) -> None:
        if self._lent is not None:
            self._lent.break_off(how)

    def submit(self, function: Callable[..., Any], /, *args: Any) -> Future[Any]:
        """Start a call; see `Workers.submit`."""
        assert self._lent is not None
        return self._lent.submit(function, *args)

    def bury(self) -> str:
        """End what is left; see `Workers.bury`."""
        died = self._children.deaths() or (self._lent and self._lent.broken) or ""
        self.close()
        return died

    def close(self) -> None:
        """End workers and scheduler; see `Workers.close`."""
        if not self._spread:  # else they end by themselves when the scheduler does
            self._children.close()
        client, cluster = self._client, self._cluster
        self._client = self._cluster = None
        # What does not end in time ends with the slot, whose learners have better to do than to wait.
        if client is not None:
            with suppress(TimeoutError):
                client.close(timeout=_CLOSE_S)
        if cluster is not None:
            with suppress(TimeoutError):
                cluster.close(timeout=_CLOSE_S)
            self._loop.close()
        self._children.close()
        for folder in self._folders:
            clear(folder)

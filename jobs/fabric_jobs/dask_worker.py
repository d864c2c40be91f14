"""``python -m fabric_jobs.dask_worker``: one worker of a slot's dask scheduler, started by `dask_pool`."""

from __future__ import annotations

import asyncio
import logging
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from fabric_broker.listen import outside_address

from .arriving import arrive, leave

_LOOK_S: Final = 0.2
"""Seconds until a worker notices that its scheduler is gone."""
_SETTINGS: Final = {
    "distributed.worker.profile.enabled": False,
    # Its web server cannot be left out, and knows no certificates: it has no pages.
    "distributed.worker.http.routes": [],
}


async def work(words: Mapping[str, Any]) -> None:
    """Work for the scheduler until it is gone."""
    import dask
    from distributed import Security, Status, Worker

    logging.getLogger("distributed").setLevel(logging.CRITICAL)
    dask.config.set({**_SETTINGS, "distributed.comm.timeouts.connect": f"{words['start_s']:g}s"})
    key, certificate = words["key"], words["certificate"]
    security = Security(
        require_encryption=True,
        tls_ca_file=certificate,
        tls_worker_key=key,
        tls_worker_cert=certificate,
        tls_client_key=key,
        tls_client_cert=certificate,
    )
    worker = await Worker(
        words["address"],
        host=words["host"] or outside_address(),
        nthreads=1,
        security=security,
        protocol="tls://",
        # Not where the run is at home, which dask would take.
        local_directory=str(dask.config.get("temporary-directory") or tempfile.gettempdir()),
        memory_limit=0,  # it is the job's memory, and nothing is kept here
        dashboard=False,
        dashboard_address="127.0.0.1:0",
    )
    while worker.status is Status.running:  # noqa: ASYNC110 - its own end waits for what it evaluates
        await asyncio.sleep(_LOOK_S)
    # Left to itself it would wait for what it evaluates, which nobody waits for any more.
    clear(worker.local_directory)


def clear(folder: str) -> None:
    """Remove a worker's folder and its lock; dask removes what is left behind when the next worker starts here."""
    shutil.rmtree(folder, ignore_errors=True)
    Path(f"{folder}.dirlock").unlink(missing_ok=True)


if __name__ == "__main__":
    asyncio.run(work(arrive("fabric_jobs.dask_worker")))
    leave()

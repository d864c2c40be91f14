"""The control queue's worker: a child of the submitter that runs its tasks, each in a process of its own."""

from __future__ import annotations

import logging
import subprocess
import sys
import time

from fabric_broker.connection import connect
from fabric_broker.home import Home

from . import tasks
from .context import Context
from .processes import die_with_parent

WORKER_TTL_S = 30
"""RQ waits for tasks in pieces that are 15 s shorter than this, on a connection that times out 10 s later."""
MAINTENANCE_S = 30
MONITORING_S = 5
FIRST_WAIT_S, LONGEST_WAIT_S, SETTLED_S = 1.0, 30.0, 60.0

_log = logging.getLogger(__name__)


def work(context: Context, parent: int) -> None:
    """Run tasks until SIGTERM, or until the submitter (pid `parent`) ends.

    Raises
    ------
    FabricError, redis.RedisError
        Redis cannot be reached, or a key file not be read; the submitter starts another worker later.
    """
    die_with_parent(parent)
    context.prepare_rq()
    # Only now: rq reads its key prefix when it is imported.
    from .control import ControlJob, ControlQueue, ControlWorker, worker_name

    tasks.bind(context)
    with connect(context.locate(), timeout=float(WORKER_TTL_S)) as client:
        control = ControlQueue(context, client)
        control.bury_dead_workers()
        worker = ControlWorker(
            [control.queue],
            name=worker_name(),
            connection=client,
            job_class=ControlJob,
            serializer=control.serializer,
            worker_ttl=WORKER_TTL_S,
            maintenance_interval=MAINTENANCE_S,
            job_monitoring_interval=MONITORING_S,
            log_job_description=False,
        )
        worker.work(logging_level="WARNING")


class WorkerChild:
    """Keeps one worker process alive; restarts wait longer each time that it dies at once."""

    def __init__(self, home: Home) -> None:
        self._home = home
        self._process: subprocess.Popen[bytes] | None = None
        self._started = 0.0
        self._wait = FIRST_WAIT_S
        self._not_before = 0.0

    @property
    def pid(self) -> int | None:
        """The worker's pid; None while there is none."""
        return self._process.pid if self._process else None

    def look_after(self, parent: int) -> None:
        """See whether it lives, and start it if it may be started now; it ends with the process `parent`."""
        now = time.monotonic()
        if self._process is not None:
            status = self._process.poll()
            if status is None:
                return
            self._process = None
            self._wait = (
                FIRST_WAIT_S if now - self._started > SETTLED_S else min(LONGEST_WAIT_S, self._wait * 2)
            )
            self._not_before = now + self._wait
            _log.warning("the worker ended with status %s; the next one starts in %.0f s", status, self._wait)
        elif now >= self._not_before:
            command = [sys.executable, "-m", "fabric_submitter", "worker", "--home", str(self._home.path)]
            self._process = subprocess.Popen([*command, "--parent", str(parent)], stdin=subprocess.DEVNULL)
            self._started = now

    def stop(self, timeout: float) -> None:
        """End it: it finishes the task it is at, if that takes less than `timeout` s."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(timeout)
        self._process = None

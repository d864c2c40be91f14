"""The control queue: RQ, where work is short and repeatable, with signed tasks and a list of what they may call.

Importing this imports rq, whose key prefix is read then: `Context.prepare_rq` comes first.

Only a task's data are signed. Everything else in RQ's hashes (callbacks, web hooks, repeats, dependencies, time
limits) could be written by whoever can write to Redis, so it is not taken from there.
"""

from __future__ import annotations

import json
import logging
import re
import socket
from collections.abc import Callable
from typing import Any, Final, Literal

from redis import Redis
from rq import Queue, Retry, Worker
from rq.defaults import RQ_KEY_PREFIX
from rq.exceptions import DeserializationError, InvalidJobOperation, NoSuchJobError
from rq.job import Job, JobStatus
from rq.rate_limit import RateLimit, RateLimitRegistry

from fabric_broker.errors import FabricError
from fabric_broker.lock import ProcessId, boot_id
from fabric_broker.signing import Signer

from . import tasks
from .context import Context

QUEUE: Final = "control"
TASK_LIMIT_S: Final = 180
FAILURE_TTL_S: Final = 24 * 3600
RETRIES: Final = 3

Task = Literal["submit", "cancel"]
ALLOWED: Final[dict[str, Callable[[str], None]]] = {
    "fabric_submitter.tasks.submit": tasks.submit,
    "fabric_submitter.tasks.cancel": tasks.cancel,
}
_INTENT = re.compile(r"[A-Za-z0-9]{1,64}")
_log = logging.getLogger(__name__)


class SignedSerializer:
    """JSON that is signed with the control key; nothing is read that does not carry a valid signature."""

    def __init__(self, signer: Signer) -> None:
        self._signer = signer
        # RQ's worker asks every serializer for its name, as if it were a class.
        self.__qualname__ = type(self).__qualname__

    def dumps(self, value: Any) -> bytes:
        """Return the signed JSON of `value`."""
        return self._signer.sign("task", json.dumps(value).encode())

    def loads(self, blob: bytes) -> Any:
        """Return the value; raises SignatureError."""
        return json.loads(self._signer.verify("task", bytes(blob)))


class ControlJob(Job):
    """An RQ job that can call the listed functions with one intent's id, and nothing else."""

    def restore(self, raw_data: Any) -> None:
        """Take over what is in Redis, as far as it can be believed."""
        super().restore(raw_data)
        self._success_callback_name = self._failure_callback_name = self._stopped_callback_name = None
        self.webhooks = []
        self.repeats_left = self.repeat_intervals = None
        self._dependency_ids = []
        self.timeout, self.result_ttl, self.failure_ttl = TASK_LIMIT_S, 0, FAILURE_TTL_S
        try:
            self._deserialize_data()
        except DeserializationError as error:
            # Once is enough: no retry makes the signature valid.
            self.retries_left = 0
            _log.error("task %s is refused: %s", self.id, error.__cause__ or error)

    def _deserialize_data(self) -> None:
        """Verify, then read; raises DeserializationError for whatever is not one of our calls."""
        super()._deserialize_data()  # type: ignore[no-untyped-call]
        call = [self._func_name, self._instance, self._args, self._kwargs]
        if not _is_call(call):
            self.data = self.data  # what was read is forgotten again
            raise DeserializationError(f"{call!r} is not a task of the fabric")

    @property
    def func(self) -> Callable[[str], None]:
        """The function of the list, never an import."""
        return ALLOWED[str(self.func_name)]


def _is_call(call: list[Any]) -> bool:
    """Whether it is a function of the list with an intent's id, as RQ puts it: name, instance, args, kwargs."""
    match call:
        case [str(name), None, [str(intent)], {}]:
            return name in ALLOWED and not call[3] and _INTENT.fullmatch(intent) is not None
    return False


class ControlWorker(Worker):
    """RQ's plain worker; it looks for Redis more often when that is away."""

    max_connection_wait_time = 5.0


class ControlQueue:
    """The queue as the submitter uses it.

    Raises
    ------
    FabricError
        rq was imported before its key prefix was set.
    """

    def __init__(self, context: Context, redis: Redis) -> None:
        if context.rq_prefix != RQ_KEY_PREFIX:
            raise FabricError(f"rq uses the keys {RQ_KEY_PREFIX}:*, not {context.rq_prefix}:*")
        self._redis = redis
        self.serializer = SignedSerializer(context.signer())
        self.queue = Queue(QUEUE, connection=redis, job_class=ControlJob, serializer=self.serializer)

    def enqueue(self, task: Task, intent: str, *, kind: str, attempt: int) -> None:
        """Enqueue a task, the `attempt`-th (from 0) for this intent; one at a time runs per kind of scheduler."""
        if attempt:
            self._supersede(_task_id(task, intent, attempt - 1), kind)
        self.queue.enqueue_call(
            func=f"fabric_submitter.tasks.{task}",
            args=(intent,),
            timeout=TASK_LIMIT_S,
            result_ttl=0,
            failure_ttl=FAILURE_TTL_S,
            job_id=_task_id(task, intent, attempt),
            retry=Retry(max=RETRIES),
            rate_limit=RateLimit(kind, 1),
        )

    def _supersede(self, task_id: str, kind: str) -> None:
        """Take a task that another one replaces out of the way: what it held must not hold up others."""
        try:
            job = ControlJob.fetch(task_id, connection=self._redis, serializer=self.serializer)
        except NoSuchJobError:
            job = None
        if job is not None and job.get_status(refresh=False) is not JobStatus.STARTED:
            job.delete()
            self.queue.intermediate_queue.remove(task_id)
        _release(self._redis, kind, task_id)

    def bury_dead_workers(self) -> None:
        """Free what this host's dead workers held; RQ itself would wait for their heartbeats, a minute or more."""
        for worker in ControlWorker.all(queue=self.queue, serializer=self.serializer, job_class=ControlJob):
            if _is_dead(worker.name):
                _log.info("worker %s is dead", worker.name)
                for execution in worker.get_current_executions(refresh=True):
                    self._bury(execution.job_id)
                worker.register_death()  # type: ignore[no-untyped-call]

    def _bury(self, task_id: str) -> None:
        try:
            job = ControlJob.fetch(task_id, connection=self._redis, serializer=self.serializer)
        except NoSuchJobError:
            return
        # Its intent says how far it came; the leader sees to it.
        try:
            job.delete()
        except (InvalidJobOperation, ValueError) as error:
            _log.info("task %s is half gone already: %s", task_id, error)
        if job.rate_limit_key:
            _release(self._redis, job.rate_limit_key, task_id)


def _release(redis: Redis, kind: str, task_id: str) -> None:
    limit = RateLimitRegistry(kind, redis)
    redis.zrem(limit.rate_limited_key, task_id)
    limit.release_and_enqueue(task_id)


def _task_id(task: Task, intent: str, attempt: int) -> str:
    return f"{task}-{intent}-{attempt}"


def worker_name() -> str:
    """Return this process's name as an RQ worker; it tells whether the worker still lives."""
    me = ProcessId.current()
    return f"{socket.gethostname()}/{boot_id()}/{me.pid}/{me.start}"


def _is_dead(name: str) -> bool:
    host, _, rest = name.partition("/")
    boot, pid, start = rest.split("/") if rest.count("/") == 2 else ("", "", "")
    if host != socket.gethostname() or not (pid.isdigit() and start.isdigit()):
        return False
    return boot != boot_id() or not ProcessId(int(pid), int(start)).alive()

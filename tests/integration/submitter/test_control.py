"""The control queue with a real Redis and a real RQ worker: only signed and listed tasks are ever executed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from redis import Redis
from rq.exceptions import DeserializationError
from rq.executions import Execution
from tests.integration.submitter.conftest import wait_for
from tests.redis_process import RedisProcess

from fabric_broker.home import Home
from fabric_broker.signing import Signer, load_key
from fabric_submitter.context import Context
from fabric_submitter.control import ControlJob, ControlQueue, SignedSerializer

PREFIX = "fabric-rq:{default}"


@pytest.fixture
def context(
    home: Home, redis_process: RedisProcess, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> Context:
    monkeypatch.setenv("FABRIC_URL", redis_process.url)
    return Context.load(home)


@pytest.fixture
def queue(context: Context, redis: Redis) -> ControlQueue:
    return ControlQueue(context, redis)


StartWorker = Callable[[], subprocess.Popen[bytes]]


@pytest.fixture
def start_worker(context: Context) -> Iterator[StartWorker]:
    """Start a worker as the submitter does."""
    started: list[subprocess.Popen[bytes]] = []

    def start() -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "fabric_submitter", "worker", "--home", str(context.home.path)]
        started.append(subprocess.Popen([*command, "--parent", str(os.getpid())], env=dict(os.environ)))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.wait(20)


def log(context: Context) -> str:
    path = context.home.submitter_log
    return path.read_text() if path.exists() else ""


def forge(queue: ControlQueue, blob: bytes, **fields: Any) -> ControlJob:
    """Put a task into the queue as somebody would who may write to Redis and has no key."""
    queue.enqueue("submit", "iforged", kind="local", attempt=0)
    job = ControlJob("submit-iforged-0", connection=queue.queue.connection)
    queue.queue.connection.hset(job.key, mapping={"data": zlib.compress(blob)} | fields)
    return job


def call(name: str, *args: object) -> bytes:
    return json.dumps([name, None, list(args), {}]).encode()


def test_all_of_rqs_keys_lie_outside_of_the_fabrics(queue, redis):
    queue.enqueue("submit", "i1", kind="local", attempt=0)
    keys = [key.decode() for key in redis.keys("*")]
    assert keys
    assert all(key.startswith(f"{PREFIX}:") for key in keys), keys


def test_a_task_carries_nothing_but_the_intents_id(queue, redis, context):
    queue.enqueue("submit", "i1", kind="local", attempt=0)
    data = zlib.decompress(redis.hget(f"{PREFIX}:job:submit-i1-0", "data"))
    signer = Signer(load_key(context.home.control_key), "default")
    assert json.loads(signer.verify("task", data)) == ["fabric_submitter.tasks.submit", None, ["i1"], {}]


def test_a_task_is_executed_once(queue, start_worker, context):
    start_worker()
    queue.enqueue("submit", "inothing", kind="local", attempt=0)
    wait_for(lambda: "intent inothing needs no submit" in log(context))
    wait_for(lambda: not queue.queue.connection.exists(f"{PREFIX}:job:submit-inothing-0"))
    assert log(context).count("intent inothing") == 1


def harmful(path: Path) -> tuple[str, list[object]]:
    return "os.mkdir", [str(path)]


@pytest.mark.parametrize("signed_by", ["nobody", "another key", "the key, as another kind"])
def test_a_task_without_a_valid_signature_is_refused_and_never_executed(
    queue, start_worker, context, redis, tmp_path, signed_by
):
    name, args = harmful(tmp_path / "done")
    body = call(name, *args)
    blob = {
        "nobody": body,
        "another key": Signer(bytes(32), "default").sign("task", body),
        "the key, as another kind": Signer(load_key(context.home.control_key), "default").sign("run", body),
    }[signed_by]
    job = forge(queue, blob)
    start_worker()
    wait_for(lambda: redis.hget(job.key, "status") == b"failed")
    assert not (tmp_path / "done").exists()
    assert "task submit-iforged-0 is refused: the task does not carry a valid signature" in log(context)
    assert b"DeserializationError" in zlib.decompress(
        redis.hget(job.key, "exc_info") or zlib.compress(b"")
    ) or (redis.xlen(f"{PREFIX}:results:{job.id}") == 1)


@pytest.mark.parametrize(
    "body",
    [
        call("os.system", "true"),
        call("fabric_submitter.tasks.bind", "i1"),
        call("fabric_submitter.tasks.submit"),
        call("fabric_submitter.tasks.submit", "i1", "i2"),
        call("fabric_submitter.tasks.submit", "../i1"),
        call("fabric_submitter.tasks.submit", 1),
        json.dumps(["fabric_submitter.tasks.submit", "instance", ["i1"], {}]).encode(),
        json.dumps(["fabric_submitter.tasks.submit", None, ["i1"], {"x": 1}]).encode(),
        json.dumps("fabric_submitter.tasks.submit").encode(),
    ],
)
def test_a_signed_call_that_is_not_in_the_list_is_refused(queue, context, redis, body):
    signer = Signer(load_key(context.home.control_key), "default")
    job = forge(queue, signer.sign("task", body))
    fetched = ControlJob.fetch(job.id, connection=redis, serializer=queue.serializer)
    with pytest.raises(DeserializationError):
        fetched.perform()
    assert fetched.retries_left == 0


def test_callbacks_web_hooks_and_repeats_in_redis_are_not_believed(queue, start_worker, context, redis):
    signer = Signer(load_key(context.home.control_key), "default")
    hook = {"url": "http://127.0.0.1:9/", "job_status": "finished", "method": "GET"}
    fields = {
        "success_callback_name": "os.mkdir",
        "failure_callback_name": "os.mkdir",
        "stopped_callback_name": "os.mkdir",
        "webhooks": json.dumps([hook]),
        "repeats_left": "3",
        "repeat_intervals": "[1]",
        "timeout": "-1",
        "result_ttl": "-1",
    }
    job = forge(queue, signer.sign("task", call("fabric_submitter.tasks.submit", "iplain")), **fields)
    fetched = ControlJob.fetch(job.id, connection=redis, serializer=queue.serializer)
    callbacks = [fetched.success_callback, fetched.failure_callback, fetched.stopped_callback]
    assert callbacks == [None] * 3
    assert (fetched.webhooks, fetched.repeats_left, fetched.timeout, fetched.result_ttl) == ([], None, 180, 0)
    start_worker()
    wait_for(lambda: "intent iplain needs no submit" in log(context))
    wait_for(lambda: not redis.exists(job.key))
    assert "Traceback" not in log(context)


def test_tasks_of_one_scheduler_wait_for_each_other_and_those_of_another_do_not(queue, redis):
    for intent, kind in (("i1", "local"), ("i2", "local"), ("i3", "slurm")):
        queue.enqueue("submit", intent, kind=kind, attempt=0)
    assert queue.queue.get_job_ids() == ["submit-i1-0", "submit-i3-0"]


def test_a_task_that_replaces_another_is_not_held_up_by_it(queue, redis):
    queue.enqueue("submit", "i1", kind="local", attempt=0)
    # A worker took it and died: it is in no queue any more but still has the scheduler's one place.
    redis.lmove(queue.queue.key, queue.queue.intermediate_queue_key)
    queue.enqueue("submit", "i2", kind="local", attempt=0)
    assert queue.queue.get_job_ids() == []
    queue.enqueue("submit", "i1", kind="local", attempt=1)
    assert queue.queue.get_job_ids() == ["submit-i2-0"], "first come, first served"
    assert not redis.llen(queue.queue.intermediate_queue_key)


def test_dead_workers_are_buried_and_living_ones_are_not(queue, start_worker, redis):
    worker = start_worker()
    workers = f"{PREFIX}:workers"
    wait_for(lambda: redis.scard(workers) == 1)
    queue.bury_dead_workers()
    assert redis.scard(workers) == 1
    (key,) = redis.smembers(workers)
    worker.kill()
    worker.wait(20)
    # Else Redis might hand the task to a worker that is no more.
    wait_for(lambda: redis.info("clients")["blocked_clients"] == 0)
    _as_if_it_ran(queue, redis, key.decode().removeprefix(f"{PREFIX}:worker:"))
    queue.enqueue("submit", "i2", kind="local", attempt=0)
    assert queue.queue.get_job_ids() == []
    queue.bury_dead_workers()
    assert redis.scard(workers) == 0
    assert queue.queue.get_job_ids() == ["submit-i2-0"]
    assert not redis.exists(f"{PREFIX}:job:submit-i1-0")


def _as_if_it_ran(queue: ControlQueue, redis: Redis, worker: str) -> None:
    """Write what RQ writes when a worker begins a task."""
    queue.enqueue("submit", "i1", kind="local", attempt=0)
    redis.lpop(queue.queue.key)
    job = ControlJob.fetch("submit-i1-0", connection=redis, serializer=queue.serializer)
    with redis.pipeline() as pipeline:
        Execution.create(job, 65, pipeline, worker_name=worker)
        job.prepare_for_execution(worker, pipeline)
        pipeline.execute()


def test_the_serializer_reads_only_what_it_signed():
    mine, other = (SignedSerializer(Signer(bytes([n]) * 32, "f")) for n in (1, 2))
    blob = mine.dumps(["a", None, [1], {}])
    assert mine.loads(blob) == ["a", None, [1], {}]
    for wrong in (other.dumps([]), blob[:-1], blob[4:], b"", json.dumps([]).encode()):
        with pytest.raises(Exception, match="valid signature"):
            mine.loads(wrong)

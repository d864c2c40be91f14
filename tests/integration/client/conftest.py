"""A fabric on a real server, without submitter and jobs: tests play the agent themselves."""

from __future__ import annotations

import gzip
import pickle
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import cloudpickle
import pytest
import redis as redis_py
from tests.redis_process import RedisProcess

from adaptive_fabric import Fabric, Local
from fabric_broker import calls
from fabric_broker.config import Config
from fabric_broker.home import Home
from fabric_broker.journal import Batch
from fabric_broker.payload import RunPayload
from fabric_broker.records import Holder, Lease, Outcome, Pointer
from fabric_broker.replay import FRAME, POINT
from fabric_broker.store import Store, checkpoint_path, payload_path

TTL = 30.0


@pytest.fixture
def fabric(redis: redis_py.Redis, redis_process: RedisProcess, home: Home) -> Iterator[Fabric]:
    """A fabric with one pool, "local"."""
    with Fabric.open(home, Config(), url=redis_process.url) as fabric:
        fabric.pool("local", Local(), jobs=1)
        yield fabric


def everything(redis: redis_py.Redis) -> dict[bytes, bytes | None]:
    """All keys with their values: what "nothing changed" means."""
    return {key: redis.dump(key) for key in redis.scan_iter() if not key.endswith((b":events", b":meta"))}


@dataclass
class Agent:
    """Plays a job that leases one learner at a time, with the bytes that a real slot writes."""

    fabric: Fabric
    job: str = "itestagent0.0"
    nonce: str = "n"
    held: dict[str, Lease] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._requests = count()
        broker = self.fabric.broker
        broker.redis.hset(broker.keys.job(self.job), mapping={"pool": "local", "state": "submitting"})
        broker.do(calls.claim(self.job, nonce=self.nonce, restart=0, node="here", pid=1))

    @property
    def holder(self) -> Holder:
        return Holder(self.job, self.nonce, 0)

    def lease(self) -> tuple[str, Any]:
        """Lease the next learner; answers its id and the unpickled learner."""
        request = f"q{next(self._requests)}"
        answer = self.fabric.broker.do(
            calls.acquire(self.job, self.nonce, request=request, slots=[0], ttl=TTL)
        )
        (lease,) = answer.leases
        self.held[lease.learner] = lease
        return lease.learner, self.learner(lease.learner)

    def learner(self, learner: str) -> Any:
        broker = self.fabric.broker
        run = learner.partition(".")[0]
        blob: Any = broker.redis.get(broker.keys.payload(learner))
        if blob is None:
            blob = Store(self.fabric.store.base).read(payload_path(run, learner))
        return cloudpickle.loads(self.fabric.signer.verify("learner", blob, learner=learner))

    def payload(self, run: str) -> RunPayload:
        broker = self.fabric.broker
        blob: Any = broker.redis.get(broker.keys.payload(run))
        return RunPayload.unpack(self.fabric.signer.verify("run", blob, learner=run))

    def evaluate(self, learner_id: str, learner: Any, n: int) -> None:
        """Evaluate `n` points and journal them as one batch."""
        lease = self.held[learner_id]
        first = self.seq(learner_id) + 1
        frames = b""
        for _ in range(n):
            (point,), _ = learner.ask(1)
            value = learner.function(point)
            body = pickle.dumps((point, value), 5)
            frames += FRAME.pack(len(body), POINT) + body
            learner.tell(point, value)
        blob = self.fabric.signer.sign(
            "journal", frames, learner=learner_id, token=lease.token, sequence=first
        )
        batch = Batch(lease.token, first, first + n - 1, blob)
        answer = self.fabric.broker.do(calls.journal(self.holder, learner_id, batch, points=n))
        assert answer.outcome is Outcome.OK

    def seq(self, learner_id: str) -> int:
        broker = self.fabric.broker
        seq: Any = broker.redis.hget(broker.keys.learner(learner_id), "seq")
        return int(seq or 0)

    def save(self, learner_id: str, learner: Any) -> str:
        """Write and commit a checkpoint; answers its path in the store."""
        lease, broker = self.held[learner_id], self.fabric.broker
        n = int(broker.redis.hget(broker.keys.learner(learner_id), "checkpoint_n") or 0) + 1
        blob = gzip.compress(cloudpickle.dumps(learner._get_data()))
        path = checkpoint_path(lease.run, learner_id, lease.token, n)
        self.fabric.store.write(path, blob)
        mac = self.fabric.signer.mac("checkpoint", blob, learner=learner_id, token=lease.token, sequence=n)
        pointer = Pointer(lease.token, n, self.seq(learner_id), len(blob), mac)
        answer = broker.do(
            calls.commit(self.holder, learner_id, pointer, npoints=learner.npoints, loss=learner.loss())
        )
        assert answer.outcome is Outcome.OK
        return path

    def complete(self, learner_id: str, learner: Any) -> None:
        lease = self.held[learner_id]
        call = calls.complete(self.holder, learner_id, lease.token, npoints=learner.npoints, loss=0.0)
        assert self.fabric.broker.do(call) is Outcome.OK

    def fail(self, learner_id: str) -> None:
        lease = self.held[learner_id]
        trace = "Traceback (most recent call last):\n  …\nValueError: no luck\n"
        problem = {"type": "ValueError", "text": "no luck", "traceback": trace, "point": "0.5", "node": "n7"}
        self.fabric.broker.do(calls.fail(self.holder, learner_id, lease.token, problem))


@pytest.fixture
def agent(fabric: Fabric) -> Agent:
    return Agent(fabric)

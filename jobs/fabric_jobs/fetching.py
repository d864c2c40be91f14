"""What a slot needs to begin with a lease, and how it is read from Redis: signed bytes, passed on unopened. Pure."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

from fabric_broker.journal import unpack
from fabric_broker.keys import Keys
from fabric_broker.scripts import Call

from . import channel
from .held import Held

_RUNS_KEPT: Final = 4
_RUN_FIELDS: Final = ("store", "save_interval", "log_interval")


@dataclass(frozen=True, slots=True)
class Plain:
    """A Redis command that is no script."""

    args: tuple[Any, ...]


Ask = Call[Any] | Plain


@dataclass(frozen=True, slots=True)
class Sending:
    """One thing to ask Redis, and who takes the answer. A lost answer is simply not taken."""

    ask: Ask
    take: Callable[[Any], None]


@dataclass(frozen=True, slots=True)
class RunData:
    """What all learners of a run share; intervals in seconds."""

    store: str
    save_interval: float
    log_interval: float
    payload: bytes


class Runs:
    """The last few runs' data, so that they are read once and not for each learner."""

    def __init__(self, keys: Keys) -> None:
        self._keys = keys
        self._runs: OrderedDict[str, RunData] = OrderedDict()

    def get(self, run: str) -> RunData | None:
        """The run's data if they are here."""
        data = self._runs.get(run)
        if data is not None:
            self._runs.move_to_end(run)
        return data

    def asks(self, run: str) -> list[Sending]:
        """What to ask to get the run's data here."""
        fields: list[Any] = []

        def put(payload: bytes | None) -> None:
            if payload is None or None in fields:
                return
            store, save_interval, log_interval = (field.decode() for field in fields)
            self._runs[run] = RunData(store, float(save_interval), float(log_interval), payload)
            while len(self._runs) > _RUNS_KEPT:
                self._runs.popitem(last=False)

        return [
            Sending(Plain(("HMGET", self._keys.run(run), *_RUN_FIELDS)), fields.extend),
            Sending(Plain(("GET", self._keys.payload(run))), put),
        ]


@dataclass(slots=True)
class Fetch:
    """A lease whose data are on their way; when both are here it can start."""

    held: Held
    payload: bytes | None = None
    """None also when it is so large that it lies in the store."""
    journal: list[bytes] | None = None

    def asks(self, keys: Keys) -> list[Sending]:
        """What to ask; the journal comes last, so that it being here means that all is."""
        learner = self.held.lease.learner

        def put_payload(payload: bytes | None) -> None:
            self.payload = payload

        def put_journal(entries: list[bytes]) -> None:
            self.journal = entries

        return [
            Sending(Plain(("GET", keys.payload(learner))), put_payload),
            Sending(Plain(("LRANGE", keys.journal(learner), 0, -1)), put_journal),
        ]

    def frame(self, run: RunData, spec: Mapping[str, Any], start_timeout: float) -> bytes:
        """The LEASE for the slot, whose workers have so many seconds to come."""
        lease = self.held.lease
        executor = spec["executor"]  # a name, or what makes one
        record = {
            "learner": lease.learner,
            "run": lease.run,
            "name": lease.name,
            "token": lease.token,
            "seq": lease.seq,
            "checkpoint": None if lease.checkpoint is None else asdict(lease.checkpoint),
            "previous": None if lease.previous is None else asdict(lease.previous),
            "next_n": lease.checkpoint_n + 1,
            "store": run.store,
            "leased_s": lease.leased_s,
            "save_interval": run.save_interval,
            "log_interval": run.log_interval,
            "executor": executor if isinstance(executor, str) else "factory",
            "factory": None if isinstance(executor, str) else executor["code"],
            "cores": spec["cores"],
            "nodes": spec.get("nodes", 1),
            "start_timeout": start_timeout,
        }
        blobs: list[tuple[list[Any], bytes]] = [(["run"], run.payload)]
        if self.payload is not None:
            blobs.append((["learner"], self.payload))
        for entry in self.journal or ():
            batch = unpack(entry)
            blobs.append((["journal", batch.token, batch.first, batch.last], batch.blob))
        return channel.encode_lease(record, blobs)

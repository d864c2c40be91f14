"""What a LEASE frame says, as the slot reads it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from fabric_broker.journal import Batch
from fabric_broker.records import Pointer

from . import channel


@dataclass(frozen=True, slots=True)
class LeaseOrder:
    """A learner to go on with, and all that is needed for it; the blobs are signed and not yet verified."""

    learner: str
    run: str
    name: str
    token: int
    seq: int
    """highest journaled sequence"""
    checkpoint: Pointer | None
    previous: Pointer | None
    next_n: int
    """number of the next checkpoint"""
    store: str
    leased_s: float
    """seconds leased before this lease"""
    save_interval: float
    """seconds"""
    log_interval: float
    """seconds"""
    executor: str
    cores: int
    nodes: int
    start_timeout: float
    """seconds within which workers must be up"""
    factory: str | None
    """code of what makes the executor named factory"""
    run_payload: bytes
    learner_payload: bytes | None
    """None: it lies in the store"""
    journal: tuple[Batch, ...]

    @classmethod
    def decode(cls, body: bytes) -> LeaseOrder:
        """The order in the body of a LEASE frame; ValueError, KeyError or TypeError when it is none."""
        record, blobs = channel.decode_lease(body)
        payloads: dict[str, bytes] = {}
        journal = []
        for (kind, *numbers), blob in blobs:
            if kind == "journal":
                token, first, last = numbers
                journal.append(Batch(token, first, last, blob))
            else:
                payloads[kind] = blob
        record["checkpoint"] = _pointer(record["checkpoint"])
        record["previous"] = _pointer(record["previous"])
        return cls(
            **record,
            run_payload=payloads["run"],
            learner_payload=payloads.get("learner"),
            journal=tuple(journal),
        )


def _pointer(record: dict[str, Any] | None) -> Pointer | None:
    return None if record is None else Pointer(**record)

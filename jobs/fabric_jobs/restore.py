"""Put a learner back to where its last holder left it: payload, newest valid checkpoint, journal.

Everything is verified first, and only the verified bytes are unpickled.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import cloudpickle

from fabric_broker.errors import CorruptError, SignatureError, StoreError
from fabric_broker.records import Pointer
from fabric_broker.replay import kept_points, points, requeue, set_data
from fabric_broker.signing import Signer
from fabric_broker.store import Store, checkpoint_path, payload_path

from .lease import LeaseOrder
from .memo import Memo


@dataclass(frozen=True, slots=True)
class Restored:
    """A learner that knows all that was acknowledged, or has it in its memo."""

    learner: Any
    memo: Memo
    base: Pointer | None
    """the checkpoint that was used"""
    damaged: bool
    """the newest checkpoint could not be used: save a new one soon"""


def restore(order: LeaseOrder, signer: Signer, store: Store, warn: Callable[[str], None]) -> Restored:
    """Load the learner of a lease.

    Parameters
    ----------
    warn
        Gets a line for each checkpoint that is damaged and for points that are lost.

    Raises
    ------
    SignatureError
        The payload or a journal batch is not signed by this fabric; it was not unpickled.
    StoreError
        The store cannot be read now.
    Exception
        Whatever unpickling the user's learner raises.
    """
    learner = cloudpickle.loads(_payload(order, signer, store))
    learner.remove_unfinished()
    memo = Memo()
    base, kept = _set_newest(learner, order, signer, store, warn)
    for point, value in kept:
        _tell(learner, memo, point, value)
    for point, value in _journal(order, signer, 0 if base is None else base.upto, warn):
        _tell(learner, memo, point, value)
    requeue(learner)
    return Restored(learner, memo, base, damaged=base != order.checkpoint)


def memo_file(memo: Memo) -> bytes:
    """What follows the data in a checkpoint file: points that the learner has not taken yet.

    They would be lost otherwise, since the journal up to the checkpoint is trimmed. Plain `learner.load()` reads one
    pickle and ignores what follows.
    """
    body: bytes = cloudpickle.dumps(memo.pairs(), pickle.HIGHEST_PROTOCOL)
    return body


def _payload(order: LeaseOrder, signer: Signer, store: Store) -> bytes:
    blob = order.learner_payload
    if blob is None:
        blob = store.read(payload_path(order.run, order.learner))
    return signer.verify("learner", blob, learner=order.learner)


def _set_newest(
    learner: Any, order: LeaseOrder, signer: Signer, store: Store, warn: Callable[[str], None]
) -> tuple[Pointer | None, list[tuple[Any, Any]]]:
    """Load the newest checkpoint that is whole; answers it, and the points it keeps for a memo."""
    damaged: list[str] = []
    for pointer in (order.checkpoint, order.previous):
        if pointer is None:
            continue
        path = checkpoint_path(order.run, order.learner, pointer.token, pointer.n)
        try:
            blob = _verified(order.learner, pointer, path, signer, store)
        except (CorruptError, SignatureError) as error:
            damaged.append(f"checkpoint {path} cannot be used ({error}); {_aside(store, path)}")
            continue
        if damaged:
            warn(f"{'; '.join(damaged)}; checkpoint {path} is used")
        set_data(learner, blob)
        return pointer, kept_points(blob)
    if damaged:
        warn(f"{'; '.join(damaged)}; no checkpoint is left, only the journal is used")
    return None, []


def _verified(learner: str, pointer: Pointer, path: str, signer: Signer, store: Store) -> bytes:
    blob = store.read(path)
    if len(blob) != pointer.size:
        raise CorruptError(f"it has {len(blob)} bytes instead of {pointer.size}")
    signer.check_mac(
        "checkpoint", blob, pointer.mac, learner=learner, token=pointer.token, sequence=pointer.n
    )
    return blob


def _aside(store: Store, path: str) -> str:
    try:
        return f"it was set aside as {store.set_aside(path)}"
    except StoreError as error:
        return f"it could not be set aside ({error})"


def _journal(
    order: LeaseOrder, signer: Signer, upto: int, warn: Callable[[str], None]
) -> Iterator[tuple[Any, Any]]:
    """The journal's points after `upto`, in order."""
    last = upto
    for batch in order.journal:
        if batch.last <= last:
            continue
        body = signer.verify(
            "journal", batch.blob, learner=order.learner, token=batch.token, sequence=batch.first
        )
        found = list(points(body))
        if len(found) != batch.last - batch.first + 1:
            raise SignatureError(f"a journal batch of {order.learner} claims more or less than it holds")
        if batch.first > last + 1:
            warn(_lost(last + 1, batch.first - 1))
        yield from found[max(0, last - batch.first + 1) :]
        last = batch.last
    if last < order.seq:
        warn(_lost(last + 1, order.seq))


def _lost(first: int, last: int) -> str:
    return f"points {first} to {last} are in no checkpoint and no journal; they will be evaluated again"


def _tell(learner: Any, memo: Memo, point: Any, value: Any) -> None:
    try:
        learner.tell(point, value)
    except Exception:  # noqa: BLE001 - also a user's loss or arg_picker; if it matters, it is raised when asked for
        memo.add(point, value)

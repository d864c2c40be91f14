"""Read a run's learners with their data: the newest valid checkpoint, then the journal that it does not cover."""

from __future__ import annotations

import sys
import warnings
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pickle import UnpicklingError
from typing import TYPE_CHECKING, Any, Final

from fabric_broker import journal
from fabric_broker.errors import CorruptError, NotFoundError, SignatureError
from fabric_broker.keys import split_learner_id
from fabric_broker.payload import RunPayload
from fabric_broker.records import Pointer, pointer_from
from fabric_broker.replay import kept_points, points, replay, requeue, set_data, take_memo
from fabric_broker.store import Store, checkpoint_path, payload_path

from .children import Names, attached

if TYPE_CHECKING:
    from fabric_broker.broker import Broker
    from fabric_broker.signing import Signer

PAGE: Final = 200
"""Learners whose journals are read in one round trip."""

_LOOKS = 10

_DAMAGED = (CorruptError, SignatureError, OSError, EOFError, zlib.error, UnpicklingError)


class DataWarning(UserWarning):
    """Data of a learner could not be read; what is there was loaded."""


class _MovedError(Exception):
    """The learner committed, or was completed, between our reads of hash, files and journal."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What Redis has of one learner: its payload, its two checkpoints and its journal."""

    learner: str
    seq: int
    """highest journaled sequence"""
    pointers: tuple[Pointer, ...]
    """newest first"""
    payload: bytes | None
    """None when it lies in the store"""
    entries: tuple[bytes, ...]


class Reader:
    """Reads learners of one run."""

    def __init__(self, broker: Broker, signer: Signer, run: str) -> None:
        self._broker = broker
        self._signer = signer
        self._run = run
        settings, payload = self._settings()
        self._store = Store(settings)
        self._sys_path = RunPayload.unpack(signer.verify("run", payload, learner=run)).sys_path

    def learners(self, ids: Sequence[str]) -> Iterator[Any]:
        """The learners of these ids, in this order, each a fresh object with all its data."""
        for start in range(0, len(ids), PAGE):
            page = ids[start : start + PAGE]
            with importing(self._sys_path):
                filled = [self._filled(snapshot) for snapshot in self._look(page)]
            yield from filled

    def children_names(self, learner: str) -> Names | None:
        """The names of a BalancingLearner's children, if they were given."""
        payload: Any = self._broker.redis.get(self._broker.keys.payload(learner))
        return attached(self._body(learner, payload))

    def _settings(self) -> tuple[str, bytes]:
        keys = self._broker.keys
        pipe = self._broker.redis.pipeline(transaction=False)
        pipe.hget(keys.run(self._run), "store")
        pipe.get(keys.payload(self._run))
        store, payload = pipe.execute()
        if store is None or payload is None:
            raise NotFoundError(f"no run {self._run!r} in fabric {keys.name!r}; `fabric runs` lists them")
        return store.decode(), payload

    def _look(self, ids: Sequence[str]) -> list[Snapshot]:
        keys = self._broker.keys
        pipe = self._broker.redis.pipeline(transaction=False)
        for learner in ids:
            # In this order: a journal that is read after the pointers may be longer than they say, never shorter
            # without `_points` noticing the gap.
            pipe.hgetall(keys.learner(learner))
            pipe.get(keys.payload(learner))
            pipe.lrange(keys.journal(learner), 0, -1)
        answers: list[Any] = pipe.execute()
        return [_snapshot(learner, *answers[3 * index : 3 * index + 3]) for index, learner in enumerate(ids)]

    def _filled(self, snapshot: Snapshot) -> Any:
        for _ in range(_LOOKS):
            try:
                return self._fill(snapshot, strictly=True)
            except _MovedError:
                (again,) = self._look([snapshot.learner])
                if again == snapshot:
                    break  # it did not move: something is damaged
                snapshot = again
        return self._fill(snapshot, strictly=False)

    def _fill(self, snapshot: Snapshot, *, strictly: bool) -> Any:
        learner = self._fresh(snapshot)
        upto, kept = self._set_newest(learner, snapshot, strictly=strictly)
        found, last = self._points(snapshot, upto)
        if last < snapshot.seq:
            if strictly:
                raise _MovedError
            _warn(
                f"{snapshot.learner}: points {last + 1} to {snapshot.seq} are in no checkpoint and no journal"
            )
        take_memo(learner, replay(learner, kept + found))
        requeue(learner)
        return learner

    def _fresh(self, snapshot: Snapshot) -> Any:
        import cloudpickle

        return cloudpickle.loads(self._body(snapshot.learner, snapshot.payload))

    def _body(self, learner: str, payload: bytes | None) -> bytes:
        if payload is None:
            payload = self._store.read(payload_path(self._run, learner))
        return self._signer.verify("learner", payload, learner=learner)

    def _set_newest(
        self, learner: Any, snapshot: Snapshot, *, strictly: bool
    ) -> tuple[int, list[tuple[Any, Any]]]:
        """Load the newest checkpoint that is whole; answers the sequence it covers, and points it keeps apart."""
        for pointer in snapshot.pointers:
            try:
                blob = self._read(snapshot.learner, pointer)
                set_data(learner, blob)
            except _DAMAGED as error:
                if strictly:
                    # Perhaps the pointers moved on and this file was removed: look again before complaining.
                    raise _MovedError from error
                _warn(f"{snapshot.learner}: checkpoint {pointer.token}-{pointer.n} cannot be used: {error}")
            else:
                return pointer.upto, kept_points(blob)
        return 0, []

    def _read(self, learner: str, pointer: Pointer) -> bytes:
        blob = self._store.read(checkpoint_path(self._run, learner, pointer.token, pointer.n))
        self._signer.check_mac(
            "checkpoint", blob, pointer.mac, learner=learner, token=pointer.token, sequence=pointer.n
        )
        return blob

    def _points(self, snapshot: Snapshot, upto: int) -> tuple[list[tuple[Any, Any]], int]:
        """The journal's points after `upto`, and the last sequence up to which nothing is missing."""
        found: list[tuple[Any, Any]] = []
        last = upto
        for entry in snapshot.entries:
            batch = journal.unpack(entry)
            if batch.last <= last:
                continue
            if batch.first > last + 1:
                break
            frames = self._signer.verify(
                "journal", batch.blob, learner=snapshot.learner, token=batch.token, sequence=batch.first
            )
            told = list(points(frames))
            if len(told) != batch.last - batch.first + 1:
                raise SignatureError(
                    f"a journal batch of {snapshot.learner} claims more or less than it holds"
                )
            found += told[last - batch.first + 1 :]
            last = batch.last
        return found, last


def hand_over(own: Any, filled: Any) -> None:
    """Give the submitter's own learner the data of a filled copy, keeping its functions and its children.

    BalancingLearner and DataSaver keep the learners they wrap, so that whoever refers to those sees the data too.
    """
    mine, theirs = vars(own), vars(filled)
    if isinstance(mine.get("learners"), list) and isinstance(
        theirs.get("learners"), list
    ):  # BalancingLearner
        for child, filled_child in zip(mine["learners"], theirs["learners"], strict=True):
            hand_over(child, filled_child)
        for cache in ("_ask_cache", "_loss", "_pending_loss"):
            mine.get(cache, {}).clear()
        return
    if "extra_data" in mine and "learner" in mine:  # DataSaver
        hand_over(mine["learner"], theirs["learner"])
        mine["extra_data"] = theirs["extra_data"]
        return
    mine.update({name: value for name, value in theirs.items() if not callable(value)})


@contextmanager
def importing(folders: Iterable[str]) -> Iterator[None]:
    """Import from these folders too, after those that are searched anyway."""
    added = [folder for folder in folders if folder not in sys.path]
    sys.path += added
    try:
        yield
    finally:
        for folder in added:
            if folder in sys.path:
                sys.path.remove(folder)


def _snapshot(learner: str, raw: dict[bytes, bytes], payload: bytes | None, entries: list[bytes]) -> Snapshot:
    if not raw:
        run, _ = split_learner_id(learner)
        raise NotFoundError(f"learner {learner} is not there; run {run} was not submitted completely")
    fields = {name.decode(): value.decode() for name, value in raw.items()}
    pointers = (pointer_from(fields, "checkpoint"), pointer_from(fields, "previous"))
    return Snapshot(
        learner=learner,
        seq=int(fields.get("seq", 0)),
        pointers=tuple(pointer for pointer in pointers if pointer is not None),
        payload=payload,
        entries=tuple(entries),
    )


def _warn(text: str) -> None:
    warnings.warn(text, DataWarning, stacklevel=2)

"""Checkpoints of a running learner: the data are copied in the slot's thread, the rest happens beside it."""

from __future__ import annotations

import gzip
import math
import pickle
import threading
import time
from collections.abc import Callable
from typing import Any, Final

import cloudpickle

from fabric_broker.errors import FabricError, StoreError
from fabric_broker.signing import Signer
from fabric_broker.store import Store, checkpoint_path

from .channel import Up
from .finished import Finished
from .lease import LeaseOrder
from .memo import Memo
from .restore import Restored, memo_file

JOURNAL_BYTES: Final = 4 << 20
"""A checkpoint is due when so many bytes of points, and as many as the last one had, were written since."""
_LEVEL: Final = 1
"""gzip's level: floats compress no better at 9, at ten times the cost."""

Send = Callable[[Up, dict[str, Any]], None]


class _Save:
    """One checkpoint on its way to the store."""

    def __init__(self, record: dict[str, Any], data: bytes, memo: bytes) -> None:
        self.record = record
        """What SAVED will say, and the pointer's fields when it is written."""
        self.error: BaseException | None = None
        self._data = data
        self._memo = memo

    def write(self, store: Store, signer: Signer, order: LeaseOrder) -> None:
        """Compress, sign and write; an error is kept for whoever waits."""
        record = self.record
        try:
            blob = gzip.compress(self._data, _LEVEL)
            if self._memo:
                blob += gzip.compress(self._memo, _LEVEL)
            mac = signer.mac(
                "checkpoint", blob, learner=order.learner, token=order.token, sequence=record["n"]
            )
            store.write(checkpoint_path(order.run, order.learner, order.token, record["n"]), blob)
        except Exception as error:  # noqa: BLE001 - it belongs to the slot's thread, which raises or tells it
            self.error = error
        else:
            record.update(size=len(blob), mac=mac)
        self._data = self._memo = b""


class Saver:
    """Saves one learner during one lease; one checkpoint at a time.

    Parameters
    ----------
    send
        Sends SAVED and WARNING; called in the slot's thread only.
    """

    def __init__(
        self, order: LeaseOrder, restored: Restored, finished: Finished, signer: Signer, send: Send
    ) -> None:
        self._order = order
        self._learner = restored.learner
        self._memo: Memo = restored.memo
        self._finished = finished
        self._store = Store(order.store)
        self._signer = signer
        self._send = send
        self._n = order.next_n
        self._covered = None if restored.base is None else restored.base.upto
        self._limit = max(JOURNAL_BYTES, 0 if restored.base is None else restored.base.size)
        self._size_at_last = 0
        self._asked = restored.damaged
        self._due = time.monotonic() + order.save_interval
        self._not_before = 0.0
        self._progress: tuple[tuple[int, int], dict[str, Any]] | None = None
        self._saving: tuple[threading.Thread, _Save] | None = None

    def progress(self) -> dict[str, Any]:
        """How far the learner is; asked again only after new points, because it may be costly."""
        state = self._finished.seq, self._learner.npoints  # the memo adds points that are not finished now
        if self._progress is None or self._progress[0] != state:
            self._progress = state, progress(self._learner)
        return self._progress[1]

    def ask(self) -> None:
        """Save as soon as possible, even without new points."""
        self._asked = True

    def tick(self) -> None:
        """Report a save that ended; begin one that is due."""
        if self._saving is not None:
            if self._saving[0].is_alive():
                return
            self._warn_if_failed(self._end_saving())
        reason = self._reason(time.monotonic())
        if reason is None:
            return
        try:
            save = self._copy(reason)
        except StoreError as error:
            self._warn_if_failed(error)
            return
        thread = threading.Thread(
            target=save.write, args=(self._store, self._signer, self._order), name="saving", daemon=True
        )
        thread.start()
        self._saving = thread, save

    def finish(self, *, first_too: bool = False) -> None:
        """Save what no checkpoint has, now.

        Parameters
        ----------
        first_too
            Also when there is nothing new but no checkpoint either.

        Raises
        ------
        StoreError
            It cannot be written.
        """
        if self._saving is not None:
            self._saving[0].join()
            self._warn_if_failed(self._end_saving())
        if not self._asked and not self._has_new and not (first_too and self._covered is None):
            return
        save = self._copy("end")
        save.write(self._store, self._signer, self._order)
        error = self._ended(save)
        if error is not None:
            raise _as_store_error(error) from error

    @property
    def _has_new(self) -> bool:
        return self._finished.seq > (self._covered or 0)

    def _reason(self, now: float) -> str | None:
        if now < self._not_before:
            return None
        if self._asked:
            return "asked"
        if not self._has_new:
            return None
        if now >= self._due:
            return "interval"
        if self._finished.size - self._size_at_last > self._limit:
            return "journal"
        return None

    def _copy(self, reason: str) -> _Save:
        """Copy the data: the only time that evaluations wait for a checkpoint.

        Raises StoreError when the data cannot be pickled.
        """
        learner, seq = self._learner, self._finished.seq
        try:
            data = cloudpickle.dumps(learner._get_data(), pickle.HIGHEST_PROTOCOL)
            memo = memo_file(self._memo) if self._memo.entries else b""
        except Exception as error:
            raise StoreError(
                f"the learner's data cannot be pickled: {type(error).__name__}: {error}"
            ) from error
        record = {
            "n": self._n,
            "token": self._order.token,
            "upto": seq,
            **self.progress(),
            "reason": reason,
        }
        self._n += 1  # also when it fails: names are never used twice
        self._asked = False
        self._size_at_last = self._finished.size
        self._due = time.monotonic() + self._order.save_interval
        return _Save(record, data, memo)

    def _end_saving(self) -> BaseException | None:
        assert self._saving is not None
        _, save = self._saving
        self._saving = None
        return self._ended(save)

    def _ended(self, save: _Save) -> BaseException | None:
        if save.error is None:
            self._covered = save.record["upto"]
            self._limit = max(JOURNAL_BYTES, save.record["size"])
            self._send(Up.SAVED, save.record)
        elif save.record["reason"] == "asked":
            self._asked = True
        return save.error

    def _warn_if_failed(self, error: BaseException | None) -> None:
        if error is not None:
            self._not_before = time.monotonic() + self._order.save_interval
            again = f"it will be tried again in {self._order.save_interval:g} s"
            self._send(
                Up.WARNING, {"text": f"a checkpoint could not be saved: {_as_store_error(error)}; {again}"}
            )


def progress(learner: Any) -> dict[str, Any]:
    """How far a learner is; the loss is None when it is infinite or cannot be told. May be costly."""
    try:
        loss = float(learner.loss())
    except Exception:  # noqa: BLE001 - a user's loss function may raise anything, before there are points above all
        loss = math.inf
    return {"npoints": int(learner.npoints), "loss": loss if math.isfinite(loss) else None}


def _as_store_error(error: BaseException) -> FabricError:
    if isinstance(error, FabricError):
        return error
    return StoreError(f"{type(error).__name__}: {error}")

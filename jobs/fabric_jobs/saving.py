"""Checkpoints of a running learner: evaluations wait while the data are copied, the rest happens beside them.

Few data are copied by pickling them, and a thread does the rest. When pickling takes long (a million numpy floats:
seconds) a forked child does it, which has the data as they were; then evaluations wait for the fork alone.
"""

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
from fabric_broker.memo import Memo
from fabric_broker.signing import Signer
from fabric_broker.store import Store, checkpoint_path

from .channel import Up
from .child import Child
from .finished import Finished
from .lease import LeaseOrder
from .restore import Restored, memo_file

JOURNAL_BYTES: Final = 4 << 20
"""A checkpoint is due when so many bytes of points, and as many as the last one had, were written since."""
_LEVEL: Final = 1
"""gzip's level: floats compress no better at 9, at ten times the cost."""

SLOW_S: Final = 0.05
"""A copy that took so long is made by a forked child the next time."""
LARGE_BYTES: Final = 1 << 20
"""So is the first copy of a lease, if the checkpoint that it came from and its points are larger together."""
FORKING: Final = ("serial", "process-pool", "loky")
"""Executors whose slots may be forked; MPI's and those with many threads may not."""

Send = Callable[[Up, dict[str, Any]], None]


class _Save:
    """One checkpoint on its way to the store."""

    def __init__(self, record: dict[str, Any]) -> None:
        self.record = record
        """What SAVED will say, and the pointer's fields when it is written."""
        self.error: BaseException | None = None
        self.lost = False
        """The child that should have saved it died."""
        self.copy_s = 0.0
        """How long pickling took."""
        self._data = self._memo = b""

    def copy(self, learner: Any, memo: Memo) -> None:
        """Pickle the data; StoreError when they cannot be."""
        began = time.monotonic()
        try:
            self._data = _dumps(learner._get_data())
            self._memo = memo_file(memo) if memo.entries else b""
        except Exception as error:
            raise StoreError(
                f"the learner's data cannot be pickled: {type(error).__name__}: {error}"
            ) from error
        self.copy_s = time.monotonic() - began

    def in_child(
        self, learner: Any, memo: Memo, store: Store, signer: Signer, order: LeaseOrder
    ) -> dict[str, Any]:
        """Copy and write in a forked child; what it answers is for `take`."""
        try:
            self.copy(learner, memo)
        except StoreError as error:
            return {"error": str(error)}
        self.write(store, signer, order)
        if self.error is not None:
            return {"error": str(_as_store_error(self.error))}
        return {"copy_s": self.copy_s, "size": self.record["size"], "mac": self.record["mac"]}

    def take(self, answer: dict[str, Any] | None) -> None:
        """What the child answered, if it lived to answer."""
        if answer is None:
            self.lost = True
            self.error = StoreError("the process that saved it died")
        elif "error" in answer:
            self.error = StoreError(answer["error"])
        else:
            self.copy_s = answer.pop("copy_s")
            self.record.update(answer)

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
        self._base_size = 0 if restored.base is None else restored.base.size
        self._limit = max(JOURNAL_BYTES, self._base_size)
        self._size_at_last = 0
        self._asked = self._damaged = restored.damaged
        self._due = time.monotonic() + order.save_interval
        self._not_before = 0.0
        self._progress: tuple[tuple[int, int], dict[str, Any]] | None = None
        self._saving: tuple[threading.Thread | Child, _Save] | None = None
        self._may_fork = order.executor in FORKING
        self._copy_s: float | None = None
        """How long the last copy took."""

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
        save = self._new(reason)
        try:
            self._saving = self._begin(save), save
        except (StoreError, OSError) as error:
            self._asked = reason == "asked"
            self._warn_if_failed(error)

    def _begin(self, save: _Save) -> threading.Thread | Child:
        """Have a checkpoint saved beside the evaluations, which wait only for what this does.

        Raises StoreError when the data cannot be pickled, OSError when the process cannot be forked.
        """
        edge = self._store, self._signer, self._order
        beside: threading.Thread | Child
        if self._may_fork and self._is_slow:
            beside = Child(lambda: save.in_child(self._learner, self._memo, *edge), save.take)
            self._may_fork = False  # until it has answered: one that hangs is not tried again
        else:
            save.copy(self._learner, self._memo)
            beside = threading.Thread(target=save.write, args=edge, name="saving", daemon=True)
        beside.start()
        return beside

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
        save = self._new("end")
        save.copy(self._learner, self._memo)
        save.write(self._store, self._signer, self._order)
        error = self._ended(save)
        if error is not None:
            raise _as_store_error(error) from error

    def abandon(self) -> None:
        """Nothing of this lease counts any more."""
        if self._saving is not None and isinstance(self._saving[0], Child):
            self._saving[0].kill()
            self._saving[0].join()

    @property
    def _is_slow(self) -> bool:
        if self._copy_s is None:
            return self._base_size + self._finished.size > LARGE_BYTES
        return self._copy_s > SLOW_S

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

    def _new(self, reason: str) -> _Save:
        """A checkpoint of what the learner knows now."""
        record = {
            "n": self._n,
            "token": self._order.token,
            "upto": self._finished.seq,
            **self.progress(),
            "reason": reason,
            "damaged": self._damaged,
        }
        self._n += 1  # also when it fails: names are never used twice
        self._asked = False
        self._size_at_last = self._finished.size
        self._due = time.monotonic() + self._order.save_interval
        return _Save(record)

    def _end_saving(self) -> BaseException | None:
        assert self._saving is not None
        beside, save = self._saving
        self._saving = None
        if isinstance(beside, Child) and not save.lost:
            self._may_fork = True
        return self._ended(save)

    def _ended(self, save: _Save) -> BaseException | None:
        if save.error is None:
            self._covered = save.record["upto"]
            self._limit = max(JOURNAL_BYTES, save.record["size"])
            self._damaged = False
            self._copy_s = save.copy_s
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


def _dumps(data: Any) -> bytes:
    try:
        # With many numpy values cloudpickle takes half as long again.
        return pickle.dumps(data, pickle.HIGHEST_PROTOCOL)
    except (pickle.PicklingError, AttributeError, TypeError):
        # Classes of a notebook or of the user's script travel by value, which only cloudpickle does.
        body: bytes = cloudpickle.dumps(data, pickle.HIGHEST_PROTOCOL)
        return body


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

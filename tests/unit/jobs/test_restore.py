"""What the next holder makes of what the one before left, and of what somebody forged or damaged."""

from __future__ import annotations

import gzip
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import adaptive
import cloudpickle
import pytest
from tests.slots import LEARNER, Ledger

from fabric_broker.errors import SignatureError, StoreError
from fabric_broker.journal import Batch
from fabric_broker.records import Pointer
from fabric_broker.signing import Signer
from fabric_broker.store import Store, checkpoint_path, payload_path
from fabric_jobs import channel
from fabric_jobs.channel import Decoder, Frame
from fabric_jobs.finished import dump
from fabric_jobs.lease import LeaseOrder
from fabric_jobs.restore import Restored, restore

SIGNER = Signer(b"k" * 32, "default")
STRANGER = Signer(b"s" * 32, "default")


class Boobytrap:
    """Creates a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return os.mkdir, (str(self.path),)


def line() -> Any:
    return adaptive.Learner1D(abs, (0, 100))


def order(ledger: Ledger) -> LeaseOrder:
    (frame,) = Decoder().feed(ledger.lease())
    return LeaseOrder.decode(frame.body)


def told(ledger: Ledger, *xs: float) -> None:
    """The slot finished these points."""
    for x in xs:
        ledger.heard(Frame(channel.Up.POINT, dump(x, x)))


def saved(ledger: Ledger, learner: Any) -> Pointer:
    """The slot saved this learner."""
    n = ledger.n + 1
    blob = gzip.compress(cloudpickle.dumps(learner._get_data()))
    ledger.store.write(checkpoint_path(ledger.run, ledger.id, ledger.token, n), blob)
    mac = SIGNER.mac("checkpoint", blob, learner=ledger.id, token=ledger.token, sequence=n)
    pointer = Pointer(ledger.token, n, ledger.seq, len(blob), mac)
    ledger._commit({"token": ledger.token, "n": n, "upto": ledger.seq, "size": len(blob), "mac": mac})
    return pointer


def line_with(*xs: float) -> Any:
    learner = line()
    for x in xs:
        learner.tell(x, x)
    return learner


class Warned(list[str]):
    """Restores, and keeps the warnings."""

    def restore(self, ledger: Ledger) -> Restored:
        return restore(order(ledger), SIGNER, ledger.store, self.append)


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    """Points 1 … 4 found; checkpoint 1 has two of them, checkpoint 2 three."""
    made = Ledger(SIGNER, tmp_path / "store", line(), goal=9)
    told(made, 1, 2)
    saved(made, line_with(1, 2))
    told(made, 3)
    saved(made, line_with(1, 2, 3))
    told(made, 4)
    return made


@pytest.fixture
def warned() -> Warned:
    return Warned()


def test_the_newest_checkpoint_and_the_journal_after_it_are_the_data(ledger, warned):
    restored = warned.restore(ledger)
    assert list(restored.learner.data) == [1, 2, 3, 4]
    assert (restored.base, restored.damaged, warned) == (ledger.checkpoint, False, [])


def test_a_large_payload_is_read_from_the_store(ledger, warned):
    ledger.store.write(payload_path(ledger.run, ledger.id), ledger.learner_blob)
    ledger.learner_blob = None
    assert list(warned.restore(ledger).learner.data) == [1, 2, 3, 4]


def spoil(path: Path, how: str) -> None:
    if how == "truncated":
        os.truncate(path, path.stat().st_size - 1)
    elif how == "corrupt":
        path.write_bytes(b"!" + path.read_bytes()[1:])
    elif how == "empty":
        path.write_bytes(b"")
    else:
        path.unlink()


@pytest.mark.parametrize("how", ["truncated", "corrupt", "empty", "missing"])
def test_a_damaged_checkpoint_is_set_aside_and_the_one_before_is_used(ledger, warned, how):
    newest, before = ledger.path(ledger.checkpoint), ledger.path(ledger.previous)
    spoil(newest, how)

    restored = warned.restore(ledger)

    assert list(restored.learner.data) == [1, 2, 3, 4]
    assert (restored.base, restored.damaged) == (ledger.previous, True)
    (text,) = warned
    assert f"{LEARNER}/{newest.name} cannot be used" in text
    assert f"{LEARNER}/{before.name} is used" in text
    assert not newest.exists()
    aside = list(newest.parent.glob(f"{newest.name}.corrupt-*"))
    assert len(aside) == (how != "missing")
    assert all(path.name in text for path in aside)


def test_without_a_checkpoint_before_the_journal_is_used(tmp_path, warned):
    ledger = Ledger(SIGNER, tmp_path, line(), goal=9)
    told(ledger, 1, 2)
    saved(ledger, line_with(1, 2))
    spoil(ledger.path(ledger.checkpoint), "corrupt")

    restored = warned.restore(ledger)

    assert list(restored.learner.data) == [1, 2]
    assert (restored.base, restored.damaged) == (None, True)
    assert "only the journal is used" in warned[0]


def test_points_that_are_nowhere_are_named_and_the_others_are_kept(ledger, warned):
    for pointer in (ledger.checkpoint, ledger.previous):
        spoil(ledger.path(pointer), "missing")

    restored = warned.restore(ledger)

    assert list(restored.learner.data) == [3, 4]
    assert "points 1 to 2 are in no checkpoint and no journal" in warned[1]


def test_an_unreadable_store_is_not_taken_for_a_damaged_checkpoint(ledger, warned, monkeypatch):
    def unreadable(self, relative):
        raise StoreError("cannot read: Input/output error")

    monkeypatch.setattr(Store, "read", unreadable)
    with pytest.raises(StoreError, match="Input/output"):
        warned.restore(ledger)
    assert ledger.path(ledger.checkpoint).exists()


def test_a_checkpoint_that_cannot_be_set_aside_does_not_stop_the_learner(ledger, warned, monkeypatch):
    def read_only(self, relative):
        raise StoreError("cannot rename: Read-only file system")

    monkeypatch.setattr(Store, "set_aside", read_only)
    spoil(ledger.path(ledger.checkpoint), "corrupt")
    assert list(warned.restore(ledger).learner.data) == [1, 2, 3, 4]
    assert "could not be set aside (cannot rename: Read-only file system)" in warned[0]


def test_a_payload_with_a_wrong_signature_is_refused_and_never_unpickled(ledger, warned, tmp_path):
    trap = tmp_path / "sprung"
    for blob in (
        STRANGER.sign("learner", cloudpickle.dumps(Boobytrap(trap)), learner=LEARNER),
        SIGNER.sign("learner", cloudpickle.dumps(Boobytrap(trap)), learner="r0000000a.1"),
        SIGNER.sign("journal", cloudpickle.dumps(Boobytrap(trap)), learner=LEARNER),
        cloudpickle.dumps(Boobytrap(trap)),
    ):
        ledger.learner_blob = blob
        with pytest.raises(SignatureError):
            warned.restore(ledger)
    assert not trap.exists()


def test_a_journal_batch_with_a_wrong_signature_is_refused_and_never_unpickled(ledger, warned, tmp_path):
    trap = tmp_path / "sprung"
    told(ledger, 5)
    token, sequence, _ = ledger.journal[-1]
    body = cloudpickle.dumps((1, Boobytrap(trap)))
    ledger.journal[-1] = (token, sequence, channel.encode(channel.Up.POINT, body))
    ledger.signer = STRANGER
    with pytest.raises(SignatureError):
        warned.restore(ledger)
    assert not trap.exists()


def test_a_checkpoint_that_somebody_replaced_is_set_aside_and_never_unpickled(ledger, warned, tmp_path):
    trap = tmp_path / "sprung"
    blob = gzip.compress(cloudpickle.dumps(Boobytrap(trap)))
    path = ledger.path(ledger.checkpoint)
    path.write_bytes(blob)
    newest = ledger.checkpoint
    ledger.checkpoint = Pointer(newest.token, newest.n, newest.upto, len(blob), newest.mac)
    assert list(warned.restore(ledger).learner.data) == [1, 2, 3, 4]
    assert not trap.exists()
    assert not path.exists()


def test_a_batch_that_says_it_holds_more_is_refused(ledger, warned):
    token, _, frame = ledger.journal[-1]
    blob = SIGNER.sign("journal", frame, learner=LEARNER, token=token, sequence=4)
    longer = replace(order(ledger), journal=(Batch(token, 4, 6, blob),))
    with pytest.raises(SignatureError, match="more or less than it holds"):
        restore(longer, SIGNER, ledger.store, warned.append)


def test_batches_that_overlap_the_checkpoint_are_told_from_where_it_ends(tmp_path, warned):
    ledger = Ledger(SIGNER, tmp_path, adaptive.SequenceLearner(abs, [5, 6, 7]))
    bodies = [dump((n, n + 5), "from the journal") for n in range(3)]
    for body in bodies[:2]:
        ledger.heard(Frame(channel.Up.POINT, body))
    learner = adaptive.SequenceLearner(abs, [5, 6, 7])
    learner.tell((0, 5), "from the checkpoint")
    learner.tell((1, 6), "from the checkpoint")
    saved(ledger, learner)
    ledger.heard(Frame(channel.Up.POINT, bodies[2]))
    read = order(ledger)
    frames = b"".join(channel.encode(channel.Up.POINT, body) for body in bodies)
    blob = SIGNER.sign("journal", frames, learner=LEARNER, token=101, sequence=1)

    restored = restore(replace(read, journal=(Batch(101, 1, 3, blob),)), SIGNER, ledger.store, warned.append)

    assert dict(restored.learner.data) == {
        0: "from the checkpoint",
        1: "from the checkpoint",
        2: "from the journal",
    }
    assert warned == []


def test_points_that_cannot_be_hashed_and_are_refused_come_into_the_memo(tmp_path, warned):
    class Picky(adaptive.SequenceLearner):  # type: ignore[misc]
        def tell(self, point: Any, value: Any) -> None:
            if point[1] == [2]:
                raise ValueError("not yet")
            super().tell(point, value)

    ledger = Ledger(SIGNER, tmp_path, Picky(abs, [[1], [2], [3]]))
    for n in range(3):
        ledger.heard(Frame(channel.Up.POINT, dump((n, [n + 1]), n)))
    restored = warned.restore(ledger)
    assert list(restored.learner.data) == [0, 2]
    assert restored.memo.pairs() == [((1, [2]), 1)]


def test_a_point_whose_telling_fails_in_user_code_stops_no_one(tmp_path, warned):
    def pick(result: Any) -> Any:
        return result.y

    learner = adaptive.DataSaver(adaptive.SequenceLearner(abs, [5, 6]), pick)
    ledger = Ledger(SIGNER, tmp_path, learner)
    ledger.heard(Frame(channel.Up.POINT, dump((0, 5), "has no y")))
    restored = warned.restore(ledger)
    assert restored.learner.ask(1)[0] == [(0, 5)]
    assert restored.memo.pairs() == [((0, 5), "has no y")]


def test_unfinished_points_of_the_submitted_learner_are_asked_again(tmp_path, warned):
    learner = line()
    learner.ask(2)
    assert warned.restore(Ledger(SIGNER, tmp_path, learner)).learner.ask(2)[0] == [0, 100]

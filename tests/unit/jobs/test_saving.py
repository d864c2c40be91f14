"""When a running learner is saved, what its file holds, and what happens when the store refuses."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import adaptive
import pytest
from tests.slots import Ledger, load

from fabric_broker.errors import StoreError
from fabric_broker.signing import Signer
from fabric_jobs import channel, saving
from fabric_jobs.channel import Decoder, Frame, Up
from fabric_jobs.finished import Finished
from fabric_jobs.lease import LeaseOrder
from fabric_jobs.restore import restore
from fabric_jobs.saving import Saver, progress

SIGNER = Signer(b"k" * 32, "default")


class Lease:
    """A learner during a lease, driven by hand."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self.reader, self.writer = channel.open_pipe()
        (frame,) = Decoder().feed(ledger.lease())
        order = LeaseOrder.decode(frame.body)
        restored = restore(order, SIGNER, ledger.store, pytest.fail)
        self.learner = restored.learner
        self.finished = Finished(self.writer, order.seq)
        self.saver = Saver(order, restored, self.finished, SIGNER, self.send)

    def send(self, kind: Up, record: dict[str, Any]) -> None:
        self.ledger.heard(Frame(kind, channel.encode_json(kind, record)[channel.HEADER.size :]))

    def find(self, *xs: float) -> None:
        """Points were evaluated."""
        for x in xs:
            self.finished.put(x, x)
            self.learner.tell(x, x)
        for frame in Decoder().feed(os.read(self.reader, 1 << 20)):
            self.ledger.heard(frame)

    def tick_until(self, kind: Up, n: int = 1) -> list[dict[str, Any]]:
        """Tick until so many frames of a kind were sent."""
        deadline = time.monotonic() + 20
        while len(self.ledger.said(kind)) < n:
            assert time.monotonic() < deadline
            self.saver.tick()
        return self.ledger.said(kind)

    def close(self) -> None:
        os.close(self.reader)
        os.close(self.writer)


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(SIGNER, tmp_path / "store", line(), goal=9)


@pytest.fixture
def leased(ledger: Ledger) -> Iterator[Lease]:
    made = Lease(ledger)
    yield made
    made.close()


def line() -> Any:
    return adaptive.Learner1D(abs, (0, 100))


def pending(saver: Saver) -> bool:
    return saver._saving is not None


def test_nothing_is_saved_before_the_interval_is_over(leased):
    leased.find(1, 2)
    leased.saver.tick()
    assert not pending(leased.saver)


def test_new_points_are_saved_when_the_interval_is_over(ledger):
    ledger.record["save_interval"] = 0.0
    leased = Lease(ledger)
    leased.saver.tick()
    assert not pending(leased.saver)  # nothing new
    leased.find(1, 2)
    (saved,) = leased.tick_until(Up.SAVED)
    leased.close()
    assert (saved["upto"], saved["npoints"], saved["reason"], saved["n"]) == (2, 2, "interval", 1)
    leased.saver.tick()
    assert not pending(leased.saver)
    assert dict(load(ledger, line()).data) == {1: 1, 2: 2}


def test_many_bytes_of_points_are_saved_early(leased, monkeypatch):
    monkeypatch.setattr(leased.saver, "_limit", 1000)
    leased.find(*range(10))
    leased.saver.tick()
    assert not pending(leased.saver)
    leased.find(*range(10, 90))
    (saved,) = leased.tick_until(Up.SAVED)
    assert (saved["upto"], saved["reason"]) == (90, "journal")
    assert leased.saver._limit == saving.JOURNAL_BYTES


def test_a_save_that_is_asked_for_needs_no_new_points(leased):
    leased.saver.ask()
    (saved,) = leased.tick_until(Up.SAVED)
    assert (saved["upto"], saved["reason"], saved["loss"]) == (0, "asked", None)


def test_evaluations_go_on_while_the_file_is_written(leased, monkeypatch):
    import threading

    may_write, store = threading.Event(), leased.ledger.store
    write = type(store).write

    def slowly(self, relative, data):
        assert may_write.wait(20)
        write(self, relative, data)

    monkeypatch.setattr(type(store), "write", slowly)
    leased.find(1, 2)
    leased.saver.ask()
    leased.saver.tick()
    leased.find(3)
    leased.saver.tick()
    assert leased.ledger.said(Up.SAVED) == []
    may_write.set()
    (saved,) = leased.tick_until(Up.SAVED)
    assert saved["upto"] == 2
    assert dict(load(leased.ledger, line()).data) == {1: 1, 2: 2}
    leased.saver.finish()
    assert leased.ledger.said(Up.SAVED)[-1]["upto"] == 3


def test_the_end_saves_what_no_checkpoint_has_and_nothing_else(leased):
    leased.saver.finish()
    assert leased.ledger.said(Up.SAVED) == []
    leased.find(1)
    leased.saver.finish()
    leased.saver.finish(first_too=True)
    assert [record["upto"] for record in leased.ledger.said(Up.SAVED)] == [1]


def test_a_learner_that_is_done_at_once_has_a_file_too(leased):
    leased.saver.finish(first_too=True)
    assert [record["upto"] for record in leased.ledger.said(Up.SAVED)] == [0]


def test_after_a_damaged_checkpoint_a_new_one_is_saved_soon(ledger):
    first = Lease(ledger)
    first.find(1)
    first.saver.finish()
    first.close()
    ledger.path(ledger.checkpoint).unlink()
    warned: list[str] = []
    (frame,) = Decoder().feed(ledger.lease())
    order = LeaseOrder.decode(frame.body)
    restored = restore(order, SIGNER, ledger.store, warned.append)
    saver = Saver(order, restored, Finished(-1, order.seq), SIGNER, first.send)
    saver.finish()
    assert [(record["n"], record["damaged"]) for record in ledger.said(Up.SAVED)] == [(2, True)]
    assert dict(load(ledger, line()).data) == {1: 1}
    saver.ask()
    saver.finish()
    assert [(record["n"], record["damaged"]) for record in ledger.said(Up.SAVED)][1:] == [(3, False)]


def test_a_refused_save_is_loud_and_tried_again_under_another_name(ledger, tmp_path):
    ledger.record["save_interval"] = 0.05
    (tmp_path / "store").write_text("a file where the folder should be")
    leased = Lease(ledger)
    leased.find(1)
    (warning, _) = leased.tick_until(Up.WARNING, 2)
    assert "a checkpoint could not be saved: cannot write" in warning["text"]
    assert "it will be tried again in 0.05 s" in warning["text"]
    (tmp_path / "store").unlink()
    saved = leased.tick_until(Up.SAVED)
    leased.close()
    assert saved[0]["n"] >= 3
    assert dict(load(ledger, line()).data) == {1: 1}


def test_a_refused_save_is_not_tried_again_before_the_interval(leased, tmp_path):
    (tmp_path / "store").write_text("a file where the folder should be")
    leased.saver.ask()
    leased.tick_until(Up.WARNING)
    leased.find(1)
    leased.saver.tick()
    assert not pending(leased.saver)


def test_the_last_save_raises_when_it_is_refused(leased, tmp_path):
    leased.find(1)
    (tmp_path / "store").write_text("a file where the folder should be")
    with pytest.raises(StoreError, match="cannot write"):
        leased.saver.finish(first_too=True)


def test_data_that_cannot_be_pickled_are_a_refused_save(leased):
    leased.find(1)
    leased.learner.data[7] = (each for each in ())
    leased.saver.ask()
    leased.tick_until(Up.WARNING)
    with pytest.raises(StoreError, match="data cannot be pickled: TypeError"):
        leased.saver.finish()


class Gated:
    """Waits, when it is pickled, until a file is there; leaves the pid of who pickled it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> Any:
        (self.folder / "pickled by").write_text(str(os.getpid()))
        deadline = time.monotonic() + 20
        while not (self.folder / "go").exists() and time.monotonic() < deadline:
            time.sleep(0.005)
        return float, (7,)


@pytest.fixture
def slow(leased, tmp_path, monkeypatch):
    """A lease whose last copy took long, with a value that takes as long to pickle as the test wants."""
    monkeypatch.setattr(saving, "SLOW_S", -1.0)
    leased.find(1, 2)
    leased.saver.ask()
    leased.tick_until(Up.SAVED)
    leased.learner.data[7] = Gated(tmp_path)
    return leased


def test_evaluations_go_on_while_much_is_pickled(slow, tmp_path):
    slow.saver.ask()
    slow.saver.tick()
    slow.find(3)
    slow.saver.tick()
    assert len(slow.ledger.said(Up.SAVED)) == 1
    (tmp_path / "go").touch()
    saved = slow.tick_until(Up.SAVED, 2)[-1]
    assert int((tmp_path / "pickled by").read_text()) != os.getpid()
    assert (saved["upto"], saved["n"], saved["reason"]) == (2, 2, "asked")
    assert {1, 2, 7} == set(load(slow.ledger, line()).data)
    slow.saver.finish()
    assert slow.ledger.said(Up.SAVED)[-1]["upto"] == 3
    assert {1, 2, 3, 7} == set(load(slow.ledger, line()).data)


def child_of(tmp_path: Path) -> int:
    while not (tmp_path / "pickled by").exists():
        time.sleep(0.005)
    while not (found := (tmp_path / "pickled by").read_text()):
        time.sleep(0.005)
    return int(found)


def test_a_child_that_dies_is_a_refused_save_and_the_next_is_made_here(slow, tmp_path):
    slow.saver.ask()
    slow.saver.tick()
    os.kill(child_of(tmp_path), signal.SIGKILL)
    (warning,) = slow.tick_until(Up.WARNING)
    assert "the process that saved it died" in warning["text"]
    (tmp_path / "go").touch()
    slow.saver._not_before = 0.0
    slow.tick_until(Up.SAVED, 2)
    assert int((tmp_path / "pickled by").read_text()) == os.getpid()


def test_a_child_that_hangs_is_given_up(slow, tmp_path, monkeypatch):
    monkeypatch.setattr("fabric_jobs.child.PATIENCE_S", 0.05)
    slow.saver.ask()
    (warning,) = slow.tick_until(Up.WARNING)
    assert "the process that saved it died" in warning["text"]


def test_what_a_child_cannot_write_or_pickle_is_told(slow, tmp_path):
    (tmp_path / "go").touch()
    store, aside = tmp_path / "store", tmp_path / "aside"
    store.rename(aside)
    store.write_text("no folder")
    slow.saver.ask()
    (warning,) = slow.tick_until(Up.WARNING)
    assert "cannot write" in warning["text"]
    store.unlink()
    aside.rename(store)
    slow.learner.data[8] = (each for each in ())
    slow.saver._not_before = 0.0
    warning = slow.tick_until(Up.WARNING, 2)[-1]
    assert "the learner's data cannot be pickled: TypeError" in warning["text"]
    del slow.learner.data[8]
    slow.saver._not_before = 0.0
    assert slow.tick_until(Up.SAVED, 2)[-1]["n"] == 4


def test_a_learner_that_is_somebody_elses_is_not_saved_on(slow, tmp_path):
    slow.saver.ask()
    slow.saver.tick()
    child = child_of(tmp_path)
    slow.saver.abandon()
    with pytest.raises(ProcessLookupError):
        os.kill(child, 0)


def test_slots_with_mpi_are_not_forked(ledger, tmp_path, monkeypatch):
    monkeypatch.setattr(saving, "SLOW_S", -1.0)
    ledger.record["executor"] = "mpi4py"
    leased = Lease(ledger)
    (tmp_path / "go").touch()
    for n in (1, 2):
        leased.learner.data[7] = Gated(tmp_path)
        leased.find(n)
        leased.saver.ask()
        leased.tick_until(Up.SAVED, n)
    leased.close()
    assert int((tmp_path / "pickled by").read_text()) == os.getpid()


FULL = """
import resource, signal, sys
sys.dont_write_bytecode = True  # they would be cut off, and all later imports fail
sys.path[:0] = sys.argv[2:]
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))
from pathlib import Path
from tests.slots import Ledger
from tests.unit.jobs.test_saving import SIGNER, Lease, line
from fabric_jobs.channel import Up
leased = Lease(Ledger(SIGNER, Path(sys.argv[1]), line(), goal=9))
leased.find(*range(50))
leased.saver.ask()
print(leased.tick_until(Up.WARNING)[0]["text"])
try:
    leased.saver.finish(first_too=True)
except Exception as error:
    print(type(error).__name__, error)
"""


@pytest.mark.long
def test_a_disk_that_takes_no_more_is_told_and_leaves_no_half_file(tmp_path):
    command = [sys.executable, "-c", FULL, str(tmp_path), *sys.path]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    first, last = done.stdout.splitlines()
    assert "File too large; free some space there" in first
    assert last.startswith("StoreError cannot write")
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_the_loss_is_none_when_it_cannot_be_told():
    learner = line()
    assert progress(learner) == {"npoints": 0, "loss": None}
    learner.loss = lambda: 1 / 0
    assert progress(learner)["loss"] is None

"""The store: files appear whole or not at all, are never overwritten, and a full disk is said so."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.mounting import FULL, READ_ONLY, run_python_on

from fabric_broker.errors import CorruptError, ExistsError, StoreError, UsageError
from fabric_broker.store import Store, checkpoint_path, payload_path


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "store")


def files(store: Store) -> set[str]:
    return {str(path.relative_to(store.base)) for path in store.base.rglob("*") if path.is_file()}


def test_what_was_written_is_read_and_lies_where_plain_tools_find_it(store):
    path = checkpoint_path("r1", "r1.7", 1700000000000, 3)
    store.write(path, b"data")
    assert store.read(path) == b"data"
    assert (store.base / "r1" / "r1.7" / "1700000000000-3").read_bytes() == b"data"
    assert store.path(path) == store.base / "r1" / "r1.7" / "1700000000000-3"


def test_payload_and_checkpoints_of_a_learner_never_meet(store):
    paths = {
        payload_path("r1", "r1.7"),
        *(checkpoint_path("r1", "r1.7", t, n) for t in (1, 11) for n in (1, 11)),
    }
    assert len(paths) == 5


@pytest.mark.parametrize("data", [b"", b"x" * 3_000_000, bytearray(b"ab"), memoryview(b"abc")])
def test_any_bytes_are_written_whole(store, data):
    store.write("a/b", data)
    assert store.read("a/b") == bytes(data)


def test_a_name_that_is_taken_is_refused_and_the_file_left_alone(store):
    store.write("a", b"first")
    with pytest.raises(ExistsError, match="never overwritten"):
        store.write("a", b"second")
    assert store.read("a") == b"first"


def test_a_missing_file_is_corrupt_for_somebody_has_a_pointer_to_it(store):
    for path in ("nowhere/a", "a"):
        with pytest.raises(CorruptError, match=path):
            store.read(path)
        with pytest.raises(CorruptError):
            store.set_aside(path)


def test_a_file_set_aside_keeps_its_bytes_under_a_name_of_its_own(store):
    asides = set()
    for data in (b"one", b"two"):
        store.write("r/l/5-1", data)
        aside = store.set_aside("r/l/5-1")
        assert store.read(aside) == data
        asides.add(aside)
    assert files(store) == asides
    assert all(aside.startswith("r/l/5-1.corrupt-") for aside in asides)


def test_removing_is_done_once_and_asked_as_often_as_one_likes(store):
    store.write("r/a", b"")
    store.remove("r/a")
    store.remove("r/a")
    store.remove("never/was")
    assert files(store) == set()


@pytest.mark.parametrize("path", ["", "/etc/passwd", "../x", "a/../../x"])
def test_a_path_that_leaves_the_store_is_refused(store, path):
    with pytest.raises(UsageError, match="within the store"):
        store.write(path, b"")


@pytest.mark.parametrize("url", ["s3://bucket/x", "file:///tmp/x", "memory://"])
def test_a_url_is_no_store_yet(url):
    with pytest.raises(UsageError, match="folders"):
        Store(url)


def test_a_file_and_its_folders_are_synced_before_write_returns(store, monkeypatch):
    synced = []
    fsync = os.fsync

    def record(descriptor):
        synced.append(str(Path(f"/proc/self/fd/{descriptor}").readlink()))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", record)
    store.write("r/l/1-1", b"data")
    base = str(store.base)
    made = [str(store.base.parent), base, f"{base}/r"]  # each holds a folder that was made just now
    assert synced == [*made, f"{base}/r/l/1-1", f"{base}/r/l"]
    synced.clear()
    store.write("r/l/1-2", b"data")
    assert synced == [f"{base}/r/l/1-2", f"{base}/r/l"]


def test_a_write_that_fails_half_way_leaves_no_file(store, monkeypatch):
    write = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: write(descriptor, data[:3]))
    store.write("short", b"written three bytes at a time")
    assert store.read("short") == b"written three bytes at a time"

    def fail(descriptor):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(StoreError, match="Input/output error"):
        store.write("failed", b"data")
    monkeypatch.undo()
    assert files(store) == {"short"}


WRITE = """
import sys
from fabric_broker.errors import StoreError
from fabric_broker.store import Store
store = Store(sys.argv[1])
for act in (lambda: store.write("r/l/1-1", bytes(200_000)), lambda: store.write("old-2", b"x" * 200_000)):
    try: act()
    except StoreError as error: print(error)
print(sorted(str(path.relative_to(store.base)) for path in store.base.rglob("*") if path.is_file()))
"""


def test_a_full_disk_is_one_clear_line_and_leaves_no_part_of_a_file(store):
    store.base.mkdir()
    first, second, left = run_python_on(store.base, FULL, WRITE).splitlines()
    assert first.startswith(f"cannot write {store.base}/r/l/1-1: No space left on device; free some space")
    assert "old-2" in second
    assert left == "[]"


def test_a_read_only_store_is_one_clear_line_and_can_still_be_read(store):
    store.write("old", b"data")
    program = WRITE + "print(store.read('old'))\n"
    for act in ("remove('old')", "set_aside('old')"):
        program += f"try: store.{act}\nexcept StoreError as error: print(error)\n"
    *written, left, old, removed, renamed = run_python_on(store.base, READ_ONLY, program).splitlines()
    assert [line.split("; ")[0] for line in written] == [
        f"cannot write {store.base}/r/l/1-1: Read-only file system",
        f"cannot write {store.base}/old-2: Read-only file system",
    ]
    assert all("make it writable" in line for line in (*written, removed, renamed))
    assert (left, old) == ("['old']", "b'data'")


def test_a_limit_on_the_size_of_files_is_a_full_disk(tmp_path):
    # Needs no mount: past RLIMIT_FSIZE a write is refused, after part of the file was written.
    limited = f"import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))\n{WRITE}"
    told = subprocess.run(
        [sys.executable, "-c", limited, tmp_path / "s"],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    ).stdout.splitlines()
    assert told[0].startswith(f"cannot write {tmp_path}/s/r/l/1-1: File too large; free some space")
    assert told[-1] == "[]"


def test_a_store_below_a_file_is_a_store_error(tmp_path):
    (tmp_path / "file").write_text("")
    store = Store(tmp_path / "file" / "store")
    with pytest.raises(StoreError, match="Not a directory"):
        store.write("a", b"")
    with pytest.raises(CorruptError):
        store.read("a")


def test_a_relative_store_is_made_absolute(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    store = Store("here")
    monkeypatch.chdir("/")
    store.write("a", b"")
    assert (tmp_path / "here" / "a").exists()
    assert Store(Path("~/x")).base == Path("~/x").expanduser()

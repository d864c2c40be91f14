"""Evaluations on disk: found again by function and point, whoever wrote them, and never believed unsigned."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from fabric_broker.signing import Signer
from fabric_jobs.cache import Cache
from fabric_jobs.finished import dump

SIGNER = Signer(b"k" * 32, "default")


class Counted:
    """Wraps a function; counts its calls outside of what is pickled."""

    def __init__(self, folder: Path, function: Any, signer: Signer = SIGNER) -> None:
        self.calls: list[Any] = []
        self.warned: list[str] = []
        self.cache = Cache(folder, signer, function, self.warned.append)
        self._inner = function
        self.cache._function = self._count

    def _count(self, x: Any) -> Any:
        self.calls.append(x)
        return self._inner(x)


def files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def test_what_was_evaluated_once_is_not_evaluated_again(tmp_path):
    shift = 3

    def function(x):
        return x + shift

    first, again = Counted(tmp_path, function), Counted(tmp_path, function)
    assert [first.cache(x) for x in (1, 2.5, 1)] == [4, 5.5, 4]
    assert [again.cache(x) for x in (2.5, 1, 7)] == [5.5, 4, 10]
    assert (first.calls, again.calls, again.cache.hits) == ([1, 2.5], [7], 2)


def test_another_closure_is_another_function(tmp_path):
    def of(shift: int) -> Any:
        return lambda x: x + shift

    assert [Counted(tmp_path, of(shift)).cache(1) for shift in (1, 2, 1)] == [2, 3, 2]
    assert len(files(tmp_path)) == 2
    assert Counted(tmp_path, of(2)).cache.get(1) == 3


@pytest.mark.parametrize("value", [None, float("nan"), [1, {"a": (2,)}], threading.Lock], ids=str)
def test_any_value_comes_back(tmp_path, value):
    Counted(tmp_path, abs).cache.put(7, dump(7, value))
    found = Counted(tmp_path, abs).cache.get(7)
    assert found == value or (found != found and value != value)


def test_points_that_cannot_be_hashed_are_found(tmp_path):
    counted = Counted(tmp_path, sum)
    assert [counted.cache(point) for point in ([1, 2], [1, 2], [2, 1])] == [3, 3, 3]
    assert counted.calls == [[1, 2], [2, 1]]


@pytest.mark.parametrize("damage", ["torn", "empty", "another's", "moved"])
def test_a_file_that_is_not_what_we_wrote_is_evaluated_over(tmp_path, damage):
    counted = Counted(tmp_path, abs)
    counted.cache(-1)
    (path,) = files(tmp_path)
    if damage == "torn":
        path.write_bytes(path.read_bytes()[:-1])
    elif damage == "empty":
        path.write_bytes(b"")
    elif damage == "moved":
        counted.cache(-2)
        (other,) = set(files(tmp_path)) - {path}
        path.write_bytes(other.read_bytes())
    else:
        stranger = Counted(tmp_path, abs, Signer(b"s" * 32, "default"))
        assert stranger.cache(-1) == 1
        assert stranger.calls == [-1]
    counted.calls.clear()
    assert (counted.cache(-1), counted.cache(-1)) == (1, 1)
    assert counted.calls == [-1]
    assert counted.warned == []


def test_a_failure_is_not_kept(tmp_path):
    counted = Counted(tmp_path, lambda x: 1 / x)
    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            counted.cache(0)
    assert counted.calls == [0, 0]
    assert files(tmp_path) == []


def test_a_folder_that_cannot_be_used_is_told_once_and_costs_nothing_else(tmp_path):
    (tmp_path / "file").write_text("")
    counted = Counted(tmp_path / "file", abs)
    assert [counted.cache(x) for x in (-1, -1, -2)] == [1, 1, 2]
    assert counted.calls == [-1, -1, -2]
    (warning,) = counted.warned
    assert "evaluations go on without" in warning


def test_writers_at_the_same_time_leave_whole_files(tmp_path):
    def write() -> None:
        cache = Cache(tmp_path, SIGNER, abs, pytest.fail)
        for _ in range(50):
            cache.put(-1, dump(-1, "x" * 100_000))
            assert cache.get(-1) == "x" * 100_000

    threads = [threading.Thread(target=write) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(files(tmp_path)) == 1


SCRIPT = """
import sys
sys.path[:0] = sys.argv[2:]
import cloudpickle
from pathlib import Path
from fabric_broker.signing import Signer
from fabric_jobs.cache import Cache
limit = 3
names = ["a", "b", "c"]
def inner(x):
    return len(names) * x
def function(x):
    print("evaluated")
    return min(inner(x), limit) + 3 if x is None else max(inner(x), limit)
travelled = cloudpickle.loads(cloudpickle.dumps({"function": function}))["function"]
print(Cache(Path(sys.argv[1]), Signer(b"k" * 32, "default"), travelled, print)(2))
"""


def test_another_process_knows_the_same_function_by_its_code(tmp_path):
    (tmp_path / "script.py").write_text(SCRIPT)
    command = [sys.executable, str(tmp_path / "script.py"), str(tmp_path / "cache"), *sys.path]
    said = [
        subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
            env={**os.environ, "PYTHONHASHSEED": seed},
        ).stdout.split()
        for seed in ("1", "2")
    ]
    assert said == [["evaluated", "6"], ["6"]]

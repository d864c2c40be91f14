"""What cannot travel is named, with the reason; the user's own folders travel along."""

import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from adaptive_fabric.packing import check_runner_kwargs, import_path, pickled, run_payload
from fabric_broker.errors import PickleError, UsageError


def test_what_cannot_be_pickled_is_named_with_the_reason() -> None:
    lock = threading.Lock()

    with pytest.raises(PickleError, match=r"learner 3 cannot be pickled: TypeError: .*lock"):
        pickled("learner 3", lambda: lock)


def test_an_error_of_the_users_own_pickling_is_reported() -> None:
    class Stubborn:
        def __reduce__(self) -> Any:
            raise RuntimeError("over\nmy dead body")

    with pytest.raises(PickleError, match="RuntimeError: over my dead body"):
        pickled("the goal", Stubborn())


def test_goal_and_initializer_are_told_apart() -> None:
    lock = threading.Lock()
    with pytest.raises(PickleError, match="the initializer cannot be pickled"):
        run_payload(goal=3, initializer=lambda: lock, runner_kwargs={})
    with pytest.raises(UsageError, match="initializer is a str"):
        run_payload(goal=3, initializer="setup", runner_kwargs={})


def test_the_scripts_folder_travels_and_the_installation_does_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", ["", str(tmp_path / "gone"), *sys.path])

    found = import_path()

    assert found[0] == str(tmp_path)
    assert str(tmp_path / "gone") not in found
    assert not any("site-packages" in folder for folder in found)


def test_runner_arguments_of_the_contract_are_taken() -> None:
    given = {"ntasks": 4, "retries": 0, "raise_if_retries_exceeded": False}

    assert check_runner_kwargs(given) == given
    assert check_runner_kwargs(None) == {}


def test_a_cache_is_an_absolute_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    assert check_runner_kwargs({"cache": "found"}) == {"cache": str(tmp_path / "found")}
    assert check_runner_kwargs({"cache": tmp_path}) == {"cache": str(tmp_path)}


@pytest.mark.parametrize(
    "given",
    [
        {"cache": ""},
        {"cache": True},
        {"executor": None},
        {"log": True},
        {"ntasks": 0},
        {"ntasks": True},
        {"retries": -1},
        {"retries": 1.5},
        {"raise_if_retries_exceeded": 1},
    ],
)
def test_other_runner_arguments_are_refused(given: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="runner_kwargs"):
        check_runner_kwargs(given)

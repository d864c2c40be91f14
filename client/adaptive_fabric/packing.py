"""Make learners and a run's functions into bytes that a job can load; say which one cannot be, and why."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fabric_broker.errors import PickleError, UsageError
from fabric_broker.payload import RunPayload

RUNNER_KWARGS = ("ntasks", "retries", "raise_if_retries_exceeded", "cache")
"""The arguments of adaptive's runners that a run may set (the fabric sets the others itself), and `cache`, a folder."""


def pickled(what: str, thing: object) -> bytes:
    """`thing` by cloudpickle; PickleError names `what` and the reason."""
    import cloudpickle

    try:
        return bytes(cloudpickle.dumps(thing))
    except Exception as error:  # a user's __reduce__ or __getstate__ may raise anything
        reason = " ".join(str(error).split()) or "no reason given"
        raise PickleError(f"{what} cannot be pickled: {type(error).__name__}: {reason}") from error


def check_runner_kwargs(runner_kwargs: Mapping[str, object] | None) -> dict[str, object]:
    """The runner's arguments, or UsageError for one that the fabric sets itself or a value that is none."""
    given = dict(runner_kwargs or {})
    for name, value in given.items():
        if name not in RUNNER_KWARGS:
            raise UsageError(f"runner_kwargs: {name!r} is not one of {', '.join(RUNNER_KWARGS)}")
        if name == "raise_if_retries_exceeded":
            if not isinstance(value, bool):
                raise UsageError(f"runner_kwargs: {name} is True or False, not {value!r}")
        elif name == "cache":
            given[name] = _cache_folder(value)
        elif isinstance(value, bool) or not isinstance(value, int) or value < (name == "ntasks"):
            raise UsageError(f"runner_kwargs: {name} is a whole number, not {value!r}")
    return given


def _cache_folder(value: object) -> str:
    """Absolute, because jobs run elsewhere; it need not be there."""
    if not isinstance(value, str | os.PathLike) or not os.fspath(value):
        raise UsageError(f"runner_kwargs: cache is a folder, not {value!r}")
    return str(Path(value).expanduser().absolute())


def run_payload(*, goal: object, initializer: object, runner_kwargs: Mapping[str, Any]) -> RunPayload:
    """What all learners of a run share; PickleError says if it is the goal or the initializer that cannot travel."""
    if initializer is not None and not callable(initializer):
        raise UsageError(f"initializer is a {type(initializer).__name__}; pass a function without arguments")
    for what, function in (("the goal", goal), ("the initializer", initializer)):
        pickled(what, function)
    return RunPayload(
        cwd=str(Path.cwd()),
        sys_path=tuple(import_path()),
        runner_kwargs=dict(runner_kwargs),
        functions=pickled("the goal and the initializer", {"goal": goal, "initializer": initializer}),
    )


def import_path() -> list[str]:
    """The folders that this process imports the user's own modules from: `sys.path` without the installation.

    They travel, so that a function of a module beside the script can be imported in the job as well.
    """
    installed = {Path(prefix).resolve() for prefix in (sys.prefix, sys.base_prefix, sys.exec_prefix)}
    found: dict[str, None] = {}
    for entry in sys.path:
        path = Path(entry or ".").resolve()
        belongs_to_python = any(path.is_relative_to(prefix / "lib") for prefix in installed)
        if path.exists() and not belongs_to_python and "site-packages" not in path.parts:
            found[str(path)] = None
    return list(found)

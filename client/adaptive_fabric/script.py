"""Read learners from a Python file, as ``fabric submit FILE`` does."""

from __future__ import annotations

import contextlib
import sys
import traceback
from dataclasses import dataclass
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any, Final

from fabric_broker.errors import FabricError, UsageError

MODULE: Final = "__fabric_file__"
"""The name under which the file runs: not "__main__", so that what it guards for its own use stays out."""


class ScriptError(FabricError):
    """The file raised while it was read."""


@dataclass(frozen=True, slots=True)
class Script:
    """What a file defines."""

    learners: Any
    names: Any = None
    goal: Any = None


def read_script(path: str | Path) -> Script:
    """Run the file and take `learners`, and `names` and `goal` if it defines them.

    Its folder is imported from, as when Python runs it; its functions and classes are pickled by value. What it
    prints goes to stderr.

    Raises
    ------
    ScriptError
        The file raised; the message says what, and in which line.
    UsageError
        There is no such file, or it defines no learners.
    """
    file = Path(path).expanduser().resolve()
    if not file.is_file():
        raise UsageError(f"there is no file {path}")
    module = _run(file)
    if not hasattr(module, "learners"):
        raise UsageError(f"{path} defines no learners; it has to set `learners` to a list of them")
    return Script(module.learners, getattr(module, "names", None), getattr(module, "goal", None))


def _run(file: Path) -> ModuleType:
    import cloudpickle

    spec = spec_from_file_location(MODULE, file)
    if spec is None or spec.loader is None:
        raise UsageError(f"{file} is no Python file; its name has to end in .py")
    module = module_from_spec(spec)
    sys.modules[MODULE] = module  # dataclasses and pickle look their module up
    sys.path.insert(0, str(file.parent))
    try:
        with contextlib.redirect_stdout(sys.stderr):
            spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:  # whatever a user's file raises
        raise ScriptError(f"{file.name} raised {_what(error)}{_where(error, file)}") from error
    cloudpickle.register_pickle_by_value(module)
    return module


def _what(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _where(error: BaseException, file: Path) -> str:
    if isinstance(error, SyntaxError) and error.filename == str(file):
        return f" (line {error.lineno})"
    lines = [
        frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(file)
    ]
    return f" (line {lines[-1]})" if lines else ""

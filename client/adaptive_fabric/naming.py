"""Names of runs and learners: what is accepted, and which file a learner's name becomes."""

from __future__ import annotations

import getpass
import re
import socket
from collections.abc import Iterable
from pathlib import PurePosixPath
from urllib.parse import quote

from fabric_broker.errors import UsageError

LONGEST_NAME = 4096
"""Bytes of UTF-8 that a learner's name may take."""

LONGEST_RUN_NAME = 200
"""Bytes of UTF-8 that a run's name may take."""

LONGEST_WHO = 64
"""Characters that may be remembered of whoever asked for something."""

_LEARNER_ID = re.compile(r"r[a-z2-7]{8}\.\d+")
_RUN_ID = re.compile(r"r[a-z2-7]{8}")
_LONGEST_COMPONENT = 200
_LONGEST_PATH = 1000


def whoever() -> str:
    """Who asks, for others who look: ``user@host``."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # nobody has this number: a bare container
        user = "somebody"
    return f"{user}@{socket.gethostname()}"[:LONGEST_WHO]


def is_learner_id(text: str) -> bool:
    """Whether `text` looks like ``<run>.<index>``."""
    return _LEARNER_ID.fullmatch(text) is not None


def check_run_name(name: object) -> str:
    """The name of a run, or UsageError."""
    if not isinstance(name, str):
        raise UsageError(f"a run's name is a str, not {type(name).__name__}")
    _check_text("run name", name, LONGEST_RUN_NAME)
    if not name.isprintable() or name != name.strip():
        raise UsageError(f"run name {name!r}: no control characters, no blanks at its ends")
    if _RUN_ID.fullmatch(name) or is_learner_id(name):
        raise UsageError(f"run name {name!r} looks like an id; choose another")
    return name


def learner_names(names: Iterable[object] | None, count: int) -> list[str]:
    """The names of `count` learners: those given, or "0", "1", …; UsageError when they do not fit."""
    if names is None:
        return [str(index) for index in range(count)]
    if isinstance(names, str | bytes):
        raise UsageError("names is one string; pass a list with one name per learner")
    given = list(names)
    if len(given) != count:
        raise UsageError(f"{len(given)} names for {count} learners; pass one name per learner")
    seen: dict[str, int] = {}
    for index, name in enumerate(given):
        if not isinstance(name, str):
            raise UsageError(f"name {index} is a {type(name).__name__}; names are str")
        _check_text(f"name {index}", name, LONGEST_NAME)
        if name in seen:
            raise UsageError(
                f"names are not unique: {name!r} is the name of learners {seen[name]} and {index}"
            )
        seen[name] = index
    return list(seen)


def file_names(names: Iterable[str]) -> list[PurePosixPath]:
    """One relative path per name, all different and all inside the folder they will be joined to.

    A name that is a sound relative path stays as it is, so ``a=1/b=2`` becomes a file in a folder. Others
    (``..``, ``/x``, one that is another name's folder) are written with %XX for what cannot stand in a file.
    """
    names = list(names)
    folders = {str(parent) for name in names for parent in PurePosixPath(name).parents}
    plain = {name for name in names if _is_sound(name) and name not in folders}
    taken = set(plain)
    paths = []
    for name in names:
        path = name
        if name not in plain:
            path = _quoted(name)
            while path in taken or path in folders:
                path += "%"
            taken.add(path)
        paths.append(PurePosixPath(path))
    return paths


def _is_sound(name: str) -> bool:
    parts = name.split("/")
    return (
        "\0" not in name
        and len(name.encode()) <= _LONGEST_PATH
        and all(part not in ("", ".", "..") and len(part.encode()) <= _LONGEST_COMPONENT for part in parts)
    )


def _quoted(name: str) -> str:
    text = quote(name, safe=" =,;+-_@()[]{}!")
    text = text.replace(".", "%2E") if set(name) <= {"."} else text
    return text[:_LONGEST_COMPONENT] or "%"


def _check_text(what: str, text: str, longest: int) -> None:
    if not text:
        raise UsageError(f"{what} is empty")
    try:
        size = len(text.encode())
    except UnicodeEncodeError as error:
        raise UsageError(f"{what} is not valid text: {error.reason}") from None
    if size > longest:
        raise UsageError(f"{what} is {size} bytes long; at most {longest} are allowed")

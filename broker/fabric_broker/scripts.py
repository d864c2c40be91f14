"""The Lua scripts: assembled from ``lua/``, called by digest, loaded when the server does not know them.

A script's first line names the library files it uses (``-- uses: move lease``); they are put before it, in a fixed
order, after the clock and the base that every script has. Its header says what it does, its named arguments, its
answers, and which write comes first and why.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any, Final, Generic, TypeVar

from . import states

T = TypeVar("T")

_LIBRARY_ORDER: Final = ("move", "lease", "judge", "progress", "checkpoint", "act")


@dataclass(frozen=True, slots=True)
class Script:
    """One script's text and its SHA-1, by which Redis knows it."""

    name: str
    text: str
    sha: str


@dataclass(frozen=True, slots=True)
class Call(Generic[T]):
    """A script call that has not been made: pure data, so that sync and async callers share it."""

    script: str
    args: Mapping[str, Any]
    parse: Callable[[Any], T]
    blobs: tuple[bytes, ...] = ()

    def argv(self) -> tuple[bytes, ...]:
        """The script's ARGV: one JSON object, then the blobs."""
        return (json.dumps(self.args, separators=(",", ":")).encode(), *self.blobs)


def ms(seconds: float) -> int:
    """A duration as scripts count."""
    return round(seconds * 1000)


def text(reply: Any) -> str:
    """A text that a script answered with."""
    return reply.decode() if isinstance(reply, bytes) else str(reply)


def word(reply: Any) -> Any:
    """A word of the few that the script answers with; the call's type says which they are."""
    return text(reply)


def _read(name: str) -> str:
    return resources.files(__package__).joinpath("lua", f"{name}.lua").read_text(encoding="utf-8")


@cache
def script(name: str, clock: str | None = None) -> Script:
    """The assembled script ``name``; ``clock`` replaces the text of ``_clock.lua`` (tests step time with it)."""
    body = _read(name)
    uses = body.partition("\n")[0].removeprefix("-- uses:").split()
    parts = [clock if clock is not None else _read("_clock"), _read("_base")]
    if "move" in uses:
        parts.append(states.as_lua())
    parts += [_read(f"_{library}") for library in _LIBRARY_ORDER if library in uses]
    whole = "\n".join([*parts, body])
    # Redis names scripts by SHA-1; nothing here depends on its strength.
    return Script(name, whole, hashlib.sha1(whole.encode(), usedforsecurity=False).hexdigest())

"""The payload of a run: what all its learners share, as the client packs it and the slots unpack it.

Two layers, because the second can only be unpickled after the first has been put to use: plain values first (where
to run and import from), then the user's functions, which may come from modules that are found there.
"""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass, field
from typing import Any, Final

from .errors import BrokerError

_LENGTH: Final = struct.Struct("<I")


@dataclass(frozen=True, slots=True)
class RunPayload:
    """Where a run's functions are at home, and the functions, pickled."""

    cwd: str
    """the submitter's working directory"""
    sys_path: tuple[str, ...]
    """the folders its own modules are imported from, in order"""
    runner_kwargs: dict[str, Any] = field(default_factory=dict)
    """ntasks, retries, raise_if_retries_exceeded, cache: those that were given"""
    functions: bytes = b""
    """pickle of ``{"goal": …, "initializer": …}``; unpickle it with `cwd` and `sys_path` in place"""

    def pack(self) -> bytes:
        """The payload as bytes, to be signed as kind "run"."""
        head = json.dumps(
            {"cwd": self.cwd, "sys_path": list(self.sys_path), "runner_kwargs": self.runner_kwargs}
        ).encode()
        return _LENGTH.pack(len(head)) + head + self.functions

    @classmethod
    def unpack(cls, body: bytes) -> RunPayload:
        """The payload in verified bytes; nothing is unpickled. Raises BrokerError when they are none."""
        try:
            (length,) = _LENGTH.unpack_from(body)
            end = _LENGTH.size + length
            head = json.loads(body[_LENGTH.size : end])
            return cls(head["cwd"], tuple(head["sys_path"]), head["runner_kwargs"], body[end:])
        except (struct.error, ValueError, KeyError, TypeError) as error:
            raise BrokerError(
                f"a run's payload cannot be read ({error!r}); another release wrote it"
            ) from error

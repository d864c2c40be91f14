"""What makes the executor of a pool's slots: in the pool's record it is signed, and only slots open it."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Self

from .errors import SignatureError, UsageError
from .signing import Signer

_KIND: Final = "factory"


@dataclass(frozen=True, slots=True)
class Factory:
    """A function without arguments that makes an executor, signed."""

    name: str
    """``module:function``; to be shown"""
    code: str
    """base64 of the signed function"""

    @classmethod
    def signed(cls, signer: Signer, name: str, pickled: bytes = b"") -> Self:
        """The factory; without a pickle it is imported by its name in the slot."""
        body = signer.sign(_KIND, name.encode() + b"\0" + pickled)
        return cls(name, base64.b64encode(body).decode())

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """The factory in a pool's record; UsageError when there is none."""
        name, code = values.get("name"), values.get("code")
        if not isinstance(name, str) or not isinstance(code, str) or len(values) != 2:
            raise UsageError("executor: this is no factory in a pool's record")
        return cls(name, code)

    def to_dict(self) -> dict[str, str]:
        """What `from_dict` reads."""
        return {"name": self.name, "code": self.code}

    def __str__(self) -> str:
        return self.name


def opened(signer: Signer, code: str) -> tuple[str, bytes]:
    """The name and the pickle, if any, in a factory's code. SignatureError: it is not what this fabric signed."""
    try:
        blob = base64.b64decode(code, validate=True)
    except (binascii.Error, ValueError) as error:
        raise SignatureError(f"the pool's executor cannot be read: {error}") from error
    name, _, pickled = signer.verify(_KIND, blob).partition(b"\0")
    return name.decode(), pickled

"""Evaluations that outlive their run, on disk: what one function was once found to be at a point.

One signed file per evaluation, found by the digest of the function's pickle and the point's. Files are written aside
and renamed, so any number of slots, jobs and runs may share a folder. Nothing is ever removed.
"""

from __future__ import annotations

import hashlib
import pickle
import secrets
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import cloudpickle

from fabric_broker.errors import SignatureError
from fabric_broker.memo import NOTHING
from fabric_broker.signing import Signer

from .finished import dump


class Cache:
    """The evaluations of one function.

    Parameters
    ----------
    folder
        Made when it is first written to.
    function
        What is evaluated. A function that can be imported is known by its name, others by their code.
    warn
        Told once when the folder cannot be used; evaluation goes on without it.
    """

    def __init__(
        self, folder: Path, signer: Signer, function: Callable[[Any], Any], warn: Callable[[str], None]
    ) -> None:
        self._folder = folder
        self._signer = signer
        self._function = function
        self._code = hashlib.sha256(cloudpickle.dumps(function)).digest()
        self._warn = warn
        self._warned = False
        self.hits = 0

    def __call__(self, point: Any) -> Any:
        """The function's value, evaluated here if it is not known."""
        value = self.get(point)
        if value is NOTHING:
            value = self._function(point)
            self.put(point, dump(point, value))
        return value

    def get(self, point: Any) -> Any:
        """The value of a point, or `NOTHING`; a file that is damaged or not ours is none, and is not unpickled."""
        name = self._name(point)
        try:
            body = self._signer.verify("cache", self._path(name).read_bytes(), learner=name)
        except (FileNotFoundError, SignatureError):
            return NOTHING
        except OSError as error:
            self._trouble(error)
            return NOTHING
        self.hits += 1
        return pickle.loads(body)[1]  # noqa: S301 - verified above

    def put(self, point: Any, body: bytes) -> None:
        """Keep the body of a POINT frame; over whatever was there."""
        name = self._name(point)
        path = self._path(name)
        aside = path.with_name(f"{name}.{secrets.token_hex(8)}")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            # Not synced: a file that a crash of the machine leaves torn has no valid signature, and is none.
            aside.write_bytes(self._signer.sign("cache", body, learner=name))
            aside.replace(path)
        except OSError as error:
            with suppress(OSError):
                aside.unlink(missing_ok=True)
            self._trouble(error)

    def _name(self, point: Any) -> str:
        try:
            body = pickle.dumps(point, 5)
        except (pickle.PicklingError, AttributeError, TypeError):
            body = cloudpickle.dumps(point, 5)
        return hashlib.sha256(self._code + body).hexdigest()

    def _path(self, name: str) -> Path:
        return self._folder / name[:2] / name

    def _trouble(self, error: OSError) -> None:
        if not self._warned:
            self._warned = True
            self._warn(f"the cache in {self._folder} cannot be used, evaluations go on without: {error}")

"""Signatures over everything that will be unpickled, and the key files behind them.

A signature says: someone with this key wrote these very bytes, for this fabric, as this kind of thing, for
this learner, under this token, at this place in the sequence. So a batch cannot be replayed to another
learner, nor a goal be passed off as a task. Verify first, then unpickle *the bytes that `verify` returned*.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
import stat
import struct
from pathlib import Path

from .errors import KeyFileError, SignatureError, UsageError

MAGIC = b"FAB1"
MAC_SIZE = 32  # bytes of HMAC-SHA256
KEY_SIZE = 32  # bytes
_PREFIX = len(MAGIC) + MAC_SIZE
_MAX_SECRET = 4096  # bytes; nobody's password file is longer, and /dev/zero must not hang us

Bytes = bytes | bytearray | memoryview


class Signer:
    """Signs and verifies with one key, for one fabric."""

    __slots__ = ("_fabric", "_key")

    def __init__(self, key: bytes, fabric: str) -> None:
        if len(key) < KEY_SIZE:
            raise KeyFileError(f"a signing key has at least {KEY_SIZE} bytes, this one has {len(key)}")
        self._key = key
        self._fabric = fabric

    def sign(self, kind: str, body: Bytes, *, learner: str = "", token: int = 0, sequence: int = 0) -> bytes:
        """Return `body` behind its signature: magic, HMAC-SHA256, body."""
        return b"".join((MAGIC, self._digest(kind, body, learner, token, sequence), body))

    def verify(
        self, kind: str, blob: bytes, *, learner: str = "", token: int = 0, sequence: int = 0
    ) -> bytes:
        """Return the body of a signed blob.

        Raises
        ------
        SignatureError
            The blob was not signed with this key for exactly this kind, learner, token and sequence.
        """
        body = memoryview(blob)[_PREFIX:]
        expected = self._digest(kind, body, learner, token, sequence)
        found = blob[len(MAGIC) : _PREFIX]
        if blob[: len(MAGIC)] != MAGIC or not hmac.compare_digest(found, expected):
            raise _refused(kind, learner)
        return bytes(body)

    def mac(self, kind: str, body: Bytes, *, learner: str = "", token: int = 0, sequence: int = 0) -> str:
        """Return the signature alone, as 64 hex digits: for bytes kept elsewhere (a checkpoint file)."""
        return self._digest(kind, body, learner, token, sequence).hex()

    def check_mac(
        self, kind: str, body: Bytes, mac: str, *, learner: str = "", token: int = 0, sequence: int = 0
    ) -> None:
        """Check a signature made by `mac`; raises SignatureError."""
        expected = self.mac(kind, body, learner=learner, token=token, sequence=sequence)
        if not hmac.compare_digest(mac.encode(), expected.encode()):
            raise _refused(kind, learner)

    def _digest(self, kind: str, body: Bytes, learner: str, token: int, sequence: int) -> bytes:
        # Every part carries its length, so no two different inputs have the same encoding.
        parts = [MAGIC]
        for word in (self._fabric, kind, learner):
            encoded = word.encode()
            parts += (struct.pack(">I", len(encoded)), encoded)
        try:
            parts.append(struct.pack(">QQQ", token, sequence, memoryview(body).nbytes))
        except struct.error as error:
            raise UsageError(f"token {token} and sequence {sequence} must fit 64 bits, unsigned") from error
        digest = hmac.new(self._key, b"".join(parts), hashlib.sha256)
        digest.update(body)
        return digest.digest()


def _refused(kind: str, learner: str) -> SignatureError:
    whose = f" of {learner}" if learner else ""
    return SignatureError(
        f"the {kind}{whose} does not carry a valid signature of this fabric; it was refused and not unpickled"
    )


def create_key(path: Path) -> bytes:
    """Make a key file (0600) unless there is one; return the key that is there now.

    Two processes that do this at once end up with the same key. Raises KeyFileError.
    """
    create_secret(path)
    return load_key(path)


def load_key(path: Path) -> bytes:
    """Read a key file; raises KeyFileError when it is missing, malformed, or readable by others."""
    try:
        key = bytes.fromhex(load_secret(path))
    except ValueError as error:
        raise KeyFileError(f"{path} is not a key file: it should hold {2 * KEY_SIZE} hex digits") from error
    if len(key) != KEY_SIZE:
        raise KeyFileError(f"{path} is not a key file: it should hold {2 * KEY_SIZE} hex digits")
    return key


def create_secret(path: Path) -> str:
    """Make a file (0600) with 64 random hex digits unless there is one; return what is there now.

    The file appears whole or not at all. Raises KeyFileError.
    """
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(descriptor, "w", encoding="ascii") as file:
                file.write(secrets.token_hex(KEY_SIZE) + "\n")
                file.flush()
                os.fsync(file.fileno())
            _link_unless_there(draft, path)
        finally:
            draft.unlink()
    except OSError as error:
        raise KeyFileError(f"cannot create {path}: {error.strerror}") from error
    return load_secret(path)


def _link_unless_there(draft: Path, path: Path) -> None:
    # A hard link, unlike a rename, never replaces a key that another process made meanwhile.
    try:
        os.link(draft, path)
    except FileExistsError:
        return


def load_secret(path: Path) -> str:
    """Read the one line of a key or password file.

    Raises
    ------
    KeyFileError
        The file is missing, empty, not text, or its group or others may read it.
    """
    try:
        with path.open("rb") as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise KeyFileError(f"{path} is not a regular file")
            if status.st_mode & 0o077:
                raise KeyFileError(f"{path} is open to other users: run  chmod 600 {path}")
            content = file.read(_MAX_SECRET)
    except OSError as error:
        raise KeyFileError(f"cannot read {path}: {error.strerror}") from error
    try:
        secret = content.decode().strip("\r\n")
    except UnicodeDecodeError as error:
        raise KeyFileError(f"{path} does not hold text") from error
    if not secret or "\n" in secret:
        raise KeyFileError(f"{path} should hold one line, and not an empty one")
    return secret

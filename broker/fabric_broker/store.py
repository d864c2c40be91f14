"""The store: where checkpoints and large payloads lie. Files are written once, whole, and never changed.

Nobody lists a folder here: Redis holds the pointers, readers open the path that a pointer names.
"""

from __future__ import annotations

import errno
import os
import secrets
from pathlib import Path, PurePosixPath

from .errors import CorruptError, ExistsError, StoreError, UsageError

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_FORBIDDEN = {errno.EROFS, errno.EACCES, errno.EPERM}
# Some file systems cannot sync a folder; there the entry is as durable as that file system makes it.
_NO_FOLDER_SYNC = {errno.EINVAL, errno.ENOTSUP, errno.EBADF}


def checkpoint_path(run: str, learner: str, token: int, n: int) -> str:
    """Return the path of a learner's checkpoint `n` under a token, relative to the store."""
    return f"{run}/{learner}/{token}-{n}"


def payload_path(run: str, learner: str) -> str:
    """Return the path of a learner's signed payload when it is too large for Redis, relative to the store."""
    return f"{run}/{learner}/payload"


class Store:
    """A folder of files that are created exclusively and synced before anyone is told of them."""

    def __init__(self, base: str | Path) -> None:
        """Take a folder, which need not exist yet. Raises UsageError for a URL."""
        if isinstance(base, str) and "://" in base:
            raise UsageError(f"the store {base!r} is a URL; only folders can be stores")
        self.base = Path(base).expanduser().absolute()

    def __repr__(self) -> str:
        return f"Store({str(self.base)!r})"

    def path(self, relative: str) -> Path:
        """Return where a file of the store lies; raises UsageError for a path that would leave the store."""
        parts = PurePosixPath(relative)
        if not relative or parts.is_absolute() or ".." in parts.parts:
            raise UsageError(f"{relative!r} is not a path within the store")
        return self.base / parts

    def write(self, relative: str, data: bytes | bytearray | memoryview) -> None:
        """Create a file; return when it is on disk, file and folder synced. On failure no file is left.

        Raises
        ------
        ExistsError
            There is such a file; it is left alone.
        StoreError
            The disk is full, the store is read-only, or cannot be written for another reason.
        """
        path = self.path(relative)
        try:
            descriptor = _create(path)
        except FileExistsError as error:
            raise ExistsError(f"{path} exists already; files of the store are never overwritten") from error
        except OSError as error:
            raise _trouble("write", path, error) from error
        try:
            try:
                _write_all(descriptor, data)
                os.fsync(descriptor)
            finally:
                os.close(descriptor)  # NFS reports a full disk or quota as late as here
            _sync_folder(path.parent)
        except OSError as error:
            _discard(path)
            raise _trouble("write", path, error) from error

    def read(self, relative: str) -> bytes:
        """Return a file's bytes.

        Raises
        ------
        CorruptError
            There is no such file (whoever asks has a pointer to it, so it is lost).
        StoreError
            It cannot be read now; it may well be readable later.
        """
        path = self.path(relative)
        try:
            return path.read_bytes()
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError) as error:
            raise CorruptError(f"{path} is not there: {error.strerror}") from error
        except OSError as error:
            raise _trouble("read", path, error) from error

    def set_aside(self, relative: str) -> str:
        """Rename a corrupt file so that nobody opens it again; return its new path, relative to the store.

        Raises
        ------
        CorruptError
            There is no such file.
        StoreError
            It cannot be renamed.
        """
        path = self.path(relative)
        aside = f"{relative}.corrupt-{secrets.token_hex(4)}"
        try:
            path.rename(self.path(aside))
        except FileNotFoundError as error:
            raise CorruptError(f"{path} is not there: {error.strerror}") from error
        except OSError as error:
            raise _trouble("rename", path, error) from error
        return aside

    def remove(self, relative: str) -> None:
        """Remove a file; one that is gone already is fine. Raises StoreError."""
        path = self.path(relative)
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise _trouble("remove", path, error) from error


def _create(path: Path) -> int:
    """Open a new file, making its folders only when they are missing: one file operation a checkpoint."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
    try:
        return os.open(path, flags, 0o666)
    except FileNotFoundError:
        _make_folders(path.parent)
        return os.open(path, flags, 0o666)


def _make_folders(folder: Path) -> None:
    missing = []
    while not folder.exists():
        missing.append(folder)
        folder = folder.parent
    for each in reversed(missing):
        each.mkdir(exist_ok=True)
        _sync_folder(each.parent)


def _write_all(descriptor: int, data: bytes | bytearray | memoryview) -> None:
    rest = memoryview(data).cast("B")
    while rest:
        rest = rest[os.write(descriptor, rest) :]


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _NO_FOLDER_SYNC:
            raise
    finally:
        os.close(descriptor)


def _discard(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError:
        return  # a part of a file that no pointer names harms nobody; the first error is the one to tell


def _trouble(doing: str, path: Path, error: OSError) -> StoreError:
    if error.errno in _FULL:
        advice = "free some space there, or name another store"
    elif error.errno in _FORBIDDEN:
        advice = "make it writable for this user, or name another store"
    else:
        advice = "check the store's folder"
    return StoreError(f"cannot {doing} {path}: {error.strerror}; {advice}")

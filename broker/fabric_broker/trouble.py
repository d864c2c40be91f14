"""What went wrong between us and Redis. This is the one place where Redis' error texts are read.

Most troubles leave the state of a write *unknown*: it may have been made, or not, or it can be made later. The
caller keeps what it has and tries again; it never takes such a trouble for "no longer mine".
"""

from __future__ import annotations

import enum
import re

from .errors import FabricError, NotRedisError, UnreachableError, WrongPasswordError


class Trouble(enum.Enum):
    """Why a call to Redis failed."""

    UNREACHABLE = "unreachable"
    NOT_REDIS = "not redis"
    LOADING = "loading"  # it reads its data, or is busy in a script
    READONLY = "readonly"  # a replica, or a server whose disk is full
    OOM = "out of memory"
    TIMEOUT = "time-out"
    WRONG_PASSWORD = "wrong password"  # noqa: S105 - words, no secret
    FORBIDDEN = "forbidden"  # the password is right, but its user lacks rights
    SCRIPT_MISSING = "script missing"
    BUG = "bug"

    @property
    def is_unknown(self) -> bool:
        """Whether to keep everything and try again later: the state of our write is unknown, the lease may be ours."""
        return self not in (Trouble.FORBIDDEN, Trouble.SCRIPT_MISSING, Trouble.BUG)


# Redis < 7 wraps what a command in a script answered: "ERR Error running script (call to f_…): @user_script:1: -OOM …";
# redis-py puts "Command # 1 (…) of pipeline caused error: " before an error within a pipeline.
_CODE = re.compile(r"(?:^|caused error: |: -|^-)([A-Z]{3,})\b")
_CODES = {
    "OOM": Trouble.OOM,
    "READONLY": Trouble.READONLY,
    "MISCONF": Trouble.READONLY,
    "NOREPLICAS": Trouble.READONLY,
    "BUSY": Trouble.LOADING,
    "UNKILLABLE": Trouble.LOADING,
    "NOPERM": Trouble.FORBIDDEN,
    "NOAUTH": Trouble.WRONG_PASSWORD,
    "WRONGPASS": Trouble.WRONG_PASSWORD,
    "NOSCRIPT": Trouble.SCRIPT_MISSING,
}
# These two come without a code.
_TEXTS = {
    "executing the script can't": Trouble.FORBIDDEN,
    "Script killed by user": Trouble.LOADING,
}


def classify(error: BaseException) -> Trouble:
    """Return what kind of trouble an exception from a call to Redis is; BUG for whatever is none."""
    from redis import exceptions as redis  # late: importing it takes 50 ms that `fabric --help` does not have

    # The order matters: redis-py derives most of these from its ConnectionError.
    kinds: list[tuple[type[BaseException] | tuple[type[BaseException], ...], Trouble]] = [
        (redis.BusyLoadingError, Trouble.LOADING),
        ((redis.AuthenticationError, redis.AuthorizationError, WrongPasswordError), Trouble.WRONG_PASSWORD),
        (redis.NoPermissionError, Trouble.FORBIDDEN),
        (redis.NoScriptError, Trouble.SCRIPT_MISSING),
        (redis.OutOfMemoryError, Trouble.OOM),
        (redis.ReadOnlyError, Trouble.READONLY),
        ((redis.ClusterDownError, redis.TryAgainError), Trouble.LOADING),  # a replica without its master, too
        ((redis.InvalidResponse, NotRedisError), Trouble.NOT_REDIS),
        ((redis.TimeoutError, TimeoutError), Trouble.TIMEOUT),
        ((redis.ConnectionError, UnreachableError, OSError, EOFError), Trouble.UNREACHABLE),
    ]
    # The asyncio client raises its own ConnectionError from whatever the handshake was answered.
    cause = error.__cause__
    if type(error) is redis.ConnectionError and isinstance(cause, redis.RedisError):
        return classify(cause)
    for types, trouble in kinds:
        if isinstance(error, types):
            return trouble
    return _read(str(error)) if isinstance(error, redis.ResponseError) else Trouble.BUG


def _read(text: str) -> Trouble:
    for part, trouble in _TEXTS.items():
        if part in text:
            return trouble
    for code in _CODE.findall(text):
        if code in _CODES:
            return _CODES[code]
    return Trouble.BUG


def as_fabric_error(error: BaseException, address: str) -> FabricError | None:
    """Return the error to show for one that a call to the server at `address` (no password in it) raised.

    None for a bug: that is better seen as it is.
    """
    trouble = classify(error)
    if isinstance(error, FabricError) or trouble in (Trouble.BUG, Trouble.SCRIPT_MISSING):
        return error if isinstance(error, FabricError) else None
    if trouble is Trouble.WRONG_PASSWORD:
        return WrongPasswordError(
            f"Redis at {address} refused the password; name a file (mode 0600) with the right one in "
            "$FABRIC_PASSWORD_FILE"
        )
    if trouble is Trouble.FORBIDDEN:
        return WrongPasswordError(f"Redis at {address} does not let this user do that: {error}")
    if trouble is Trouble.NOT_REDIS:
        return NotRedisError(f"what answers at {address} is not a Redis server")
    advice = {
        Trouble.UNREACHABLE: f"cannot reach Redis at {address} ({error}); `fabric up` starts the embedded server",
        Trouble.TIMEOUT: f"Redis at {address} does not answer in time; is it a Redis server, and is it well?",
        Trouble.LOADING: f"Redis at {address} is loading its data or busy; try again in a moment",
        Trouble.READONLY: f"Redis at {address} refuses to write: {error}",
        Trouble.OOM: f"Redis at {address} is out of memory: raise its maxmemory",
    }
    return UnreachableError(advice[trouble])

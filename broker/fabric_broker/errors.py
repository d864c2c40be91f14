"""Every error of the fabric: one base class, one class per thing that can go wrong, an exit code each."""

from __future__ import annotations


class FabricError(Exception):
    """Base of all errors; its message says what happened, to what, and what to do."""

    exit_code = 1


class UsageError(FabricError, ValueError):
    """A value or a combination of values that cannot be used; nothing was changed."""

    exit_code = 2


class ExistsError(UsageError):
    """The name is taken."""


class MissingExtraError(FabricError):
    """An optional dependency is not installed; the message names the extra."""


class NotFoundError(FabricError, LookupError):
    """No such run, learner, job or pool."""

    exit_code = 3


class UnreachableError(FabricError):
    """The Redis server does not answer."""

    exit_code = 4


class WrongPasswordError(UnreachableError):
    """The Redis server refused the password."""


class NotRedisError(UnreachableError):
    """Something answers at the address, but it is not a Redis server."""


class SchemaError(FabricError):
    """The fabric's records were written by another release."""


class SignatureError(FabricError):
    """Bytes from Redis or the store do not carry a valid signature; they were not unpickled."""


class PickleError(UsageError):
    """A learner, goal or initializer cannot be pickled."""


class KeyFileError(FabricError):
    """A key or password file is missing, malformed, or readable by others."""


class HomeError(FabricError):
    """The fabric's home folder cannot be created or written."""


class ServerError(FabricError):
    """The embedded Redis server cannot be started or stopped."""


class LockedError(ServerError):
    """Another server, perhaps on another host, holds the home folder."""


class StoreError(FabricError):
    """The store refused to read or write a file."""


class CorruptError(StoreError):
    """A checkpoint's bytes are not those that were committed."""


class BrokerError(FabricError):
    """Redis answered something the fabric cannot work with."""


class FencedError(FabricError):
    """The caller no longer holds what it wanted to change; nothing was changed."""


class SchedulerError(FabricError):
    """A scheduler refused or did not answer."""


class WaitTimeoutError(FabricError, TimeoutError):
    """The awaited condition did not come within the given time."""

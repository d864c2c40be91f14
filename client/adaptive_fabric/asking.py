"""Errors of Redis become errors of the fabric, with one line that says what to do."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import TYPE_CHECKING, Concatenate, ParamSpec, Protocol, TypeVar

if TYPE_CHECKING:
    from redis import Redis

    from fabric_broker.broker import Broker


class HasBroker(Protocol):
    """Whoever talks to Redis through a broker."""

    @property
    def broker(self) -> Broker:
        """The broker it talks through."""


P = ParamSpec("P")
T = TypeVar("T")
Self = TypeVar("Self", bound=HasBroker)


@contextmanager
def asking(redis: Redis, consequence: str = "") -> Iterator[None]:
    """Raise what Redis or the way to it raises as a FabricError; bugs stay as they are.

    `consequence` is added to the message: what state the failure leaves things in.
    """
    from redis.exceptions import RedisError

    from fabric_broker.connection import address
    from fabric_broker.trouble import as_fabric_error

    try:
        yield
    except RedisError as error:
        known = as_fabric_error(error, address(redis))
        if known is None:
            raise
        raise type(known)(f"{known}; {consequence}" if consequence else str(known)) from error


def asks(method: Callable[Concatenate[Self, P], T]) -> Callable[Concatenate[Self, P], T]:
    """For methods that talk to Redis: see `asking`."""

    @wraps(method)
    def translated(self: Self, /, *args: P.args, **kwargs: P.kwargs) -> T:
        with asking(self.broker.redis):
            return method(self, *args, **kwargs)

    return translated

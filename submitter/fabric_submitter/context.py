"""What the submitter's processes share: the home, its settings, where Redis is, and RQ's place there."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from fabric_broker.broker import Broker
from fabric_broker.config import Config
from fabric_broker.connection import Server, connect, locate
from fabric_broker.home import Home
from fabric_broker.keys import Keys
from fabric_broker.signing import Signer, load_key

RQ_PREFIX_VARIABLE = "RQ_KEY_PREFIX"


@dataclass(frozen=True)
class Context:
    """A home and its settings."""

    home: Home
    config: Config

    @classmethod
    def load(cls, home: Home) -> Context:
        """Read the home's settings and the environment.

        Raises
        ------
        UsageError
            A setting that cannot be used.
        """
        config = Config.load(home, os.environ)
        Keys(config.name)  # refuses a name that no key can hold
        return cls(home, config)

    @property
    def rq_prefix(self) -> str:
        """What RQ's keys begin with: outside of the fabric's, where agents have no rights."""
        return f"fabric-rq:{{{self.config.name}}}"

    def prepare_rq(self) -> None:
        """Put RQ's keys in their place. RQ reads its prefix once, at import, so this comes before that."""
        os.environ[RQ_PREFIX_VARIABLE] = self.rq_prefix

    def signer(self) -> Signer:
        """Return what signs and verifies tasks.

        Raises
        ------
        KeyFileError
            The key is missing, malformed, or readable by others.
        """
        return Signer(load_key(self.home.control_key), self.config.name)

    def locate(self) -> Server:
        """Return where Redis is now; an embedded server that was started anew has another address."""
        return locate(self.home, self.config)

    @contextmanager
    def broker(self) -> Iterator[Broker]:
        """Connect to Redis, for as long as the block takes."""
        with connect(self.locate()) as redis:
            yield Broker(redis, self.config.name)

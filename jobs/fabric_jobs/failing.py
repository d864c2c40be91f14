"""Telling the fabric that a job cannot work, as far as it can be told: in its log always, in its record if it can."""

from __future__ import annotations

from collections.abc import Mapping

from redis.exceptions import RedisError

from fabric_broker import calls
from fabric_broker.broker import Broker
from fabric_broker.config import Config
from fabric_broker.connection import connect, locate
from fabric_broker.errors import FabricError
from fabric_broker.home import Home
from fabric_broker.records import Outcome

from .scheduled import identity

REASON_CHARS = 300


def end_unable(home: Home, job: str, env: Mapping[str, str], why: str) -> str:
    """End a job whose agent cannot work; answers what became of that, for the log.

    The job is claimed first: a copy of it that can work is left alone.
    """
    try:
        config = Config.load(home, env)
        client = connect(locate(home, config))
        try:
            broker, me = Broker(client, config.name), identity(job, env)
            if broker.do(me.claim()).outcome is not Outcome.OK:
                return "another copy of this job runs, or it was cancelled"
            reason = f"its agent cannot work on {me.node}: {why}"[:REASON_CHARS]
            broker.do(calls.end_job(job, me.nonce, reason))
        finally:
            client.close()
    except (FabricError, RedisError, OSError) as error:
        return f"the fabric cannot be told: {error}"
    return "the fabric was told"

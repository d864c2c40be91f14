"""Every key name of a fabric, spelled here and nowhere else.

All keys of one fabric share the prefix ``fabric:{name}``; the braces are a hash tag, so one slot of a cluster
holds them all. Lua scripts receive the prefix as ``KEYS[1]`` and build the same names in ``lua/_keys.lua``.
"""

from __future__ import annotations

import re

from .errors import UsageError

_FABRIC_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")


class Keys:
    """Key names of the fabric ``name``."""

    def __init__(self, name: str) -> None:
        if not _FABRIC_NAME.fullmatch(name):
            raise UsageError(
                f"fabric name {name!r}: use 1 to 64 letters, digits, '_', '.', '-' (it becomes part of every Redis key)"
            )
        self.name = name
        self.prefix = f"fabric:{{{name}}}"
        self.meta = f"{self.prefix}:meta"
        self.leader = f"{self.prefix}:leader"
        self.events = f"{self.prefix}:events"
        self.view = f"{self.prefix}:view"
        self.leases = f"{self.prefix}:leases"
        self.delayed = f"{self.prefix}:delayed"
        self.runs = f"{self.prefix}:runs"
        self.run_names = f"{self.prefix}:run-names"
        self.bulk = f"{self.prefix}:bulk"
        self.pools = f"{self.prefix}:pools"
        self.open = f"{self.prefix}:open"
        self.jobs = f"{self.prefix}:jobs"
        self.intents = f"{self.prefix}:intents"

    def state(self, state: str) -> str:
        """The ZSET of learners in ``state`` (queued ones lie in `queue`, leased ones in `leases`)."""
        return f"{self.prefix}:{state}"

    def queue(self, pool: str) -> str:
        """ZSET of the pool's queued learners: by priority, then first come first served."""
        return f"{self.prefix}:queue:{pool}"

    def learner(self, learner: str) -> str:
        """HASH of a learner's short values."""
        return f"{self.prefix}:learner:{learner}"

    def learner_name(self, learner: str) -> str:
        """STRING: the name its user gave it."""
        return f"{self.prefix}:name:{learner}"

    def error(self, learner: str) -> str:
        """STRING: JSON of the learner's last error."""
        return f"{self.prefix}:error:{learner}"

    def payload(self, owner: str) -> str:
        """STRING: the signed payload of a learner or a run."""
        return f"{self.prefix}:payload:{owner}"

    def journal(self, learner: str) -> str:
        """LIST of signed batches of points."""
        return f"{self.prefix}:journal:{learner}"

    def run(self, run: str) -> str:
        """HASH of a run's settings."""
        return f"{self.prefix}:run:{run}"

    def counts(self, run: str) -> str:
        """HASH of a run's counters, written by scripts alone."""
        return f"{self.prefix}:counts:{run}"

    def pool(self, pool: str) -> str:
        """HASH of a pool's spec, limit, counters and circuit."""
        return f"{self.prefix}:pool:{pool}"

    def job(self, job: str) -> str:
        """HASH of a job's record."""
        return f"{self.prefix}:job:{job}"

    def probe(self, job: str) -> str:
        """STRING: JSON of what a probe told; it expires."""
        return f"{self.prefix}:probe:{job}"

    def holds(self, job: str) -> str:
        """SET of the learners a job holds."""
        return f"{self.prefix}:holds:{job}"

    def intent(self, intent: str) -> str:
        """HASH of an intent."""
        return f"{self.prefix}:intent:{intent}"

    def log(self, job: str) -> str:
        """STREAM of a job's log lines, capped."""
        return f"{self.prefix}:log:{job}"


def learner_id(run: str, index: int) -> str:
    """The id of the ``index``-th learner of ``run``; all of a run's learners can so be enumerated."""
    return f"{run}.{index}"


def split_learner_id(learner: str) -> tuple[str, int]:
    """The run and the index that make up a learner's id; ValueError if it is none."""
    run, dot, index = learner.rpartition(".")
    if not dot or not run or not index.isdigit():
        raise ValueError(f"{learner!r} is not a learner id such as r0a1b2c3d.17")
    return run, int(index)

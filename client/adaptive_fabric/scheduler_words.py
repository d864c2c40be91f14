"""What a scheduler's reason for a pending job means, and what to do about it. Pure.

A reason that never resolves is the important one: SLURM accepts what it can never start, and lets it wait for ever.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Meaning:
    """Whether it is worth waiting, what the reason says, and what to do."""

    never: bool
    text: str
    fix: str = ""


_CHANGE: Final = "`fabric pool add` changes a pool"
_WAIT: Final = "wait"

_MEANINGS: Final = tuple(
    (re.compile(pattern, re.IGNORECASE), Meaning(never, text, fix))
    for pattern, never, text, fix in (
        (
            r"TimeLimit|MaxWall",
            True,
            "its walltime is longer than the partition, account or QOS allows",
            f"shorten walltime ({_CHANGE})",
        ),
        (
            # What SLURM says of any of the partition's limits until its scheduler had a closer look.
            r"PartitionConfig",
            True,
            "it asks for more time, nodes, cores or memory than the partition allows",
            f"ask for less ({_CHANGE})",
        ),
        (
            r"PartitionNodeLimit",
            True,
            "it asks for more nodes or cores than the partition allows",
            f"ask for fewer ({_CHANGE})",
        ),
        (
            r"PerJob|PerNode",
            True,
            "it asks for more than its account or QOS allows one job",
            f"ask for less ({_CHANGE})",
        ),
        (
            r"BadConstraints",
            True,
            "no node has what it asks for",
            f"mend constraint, gpus or memory ({_CHANGE})",
        ),
        (
            r"InvalidAccount|InvalidQOS|^Invalid",
            True,
            "the scheduler does not know its account or QOS",
            f"mend account or qos ({_CHANGE})",
        ),
        (r"DependencyNeverSatisfied", True, "it waits for a job that failed", "mend its directives"),
        (
            r"Can Never Run",
            True,
            "no node of the queue could ever run it",
            f"ask for less ({_CHANGE})",
        ),
        (
            r"JobHeld|held|requeued.hold|JobHoldMaxRequeue",
            True,
            "it is held until somebody releases it",
            "scontrol release ID (or qrls ID), or `fabric cancel JOB`; an administrator's hold is theirs to lift",
        ),
        (
            r"PartitionDown|PartitionInactive|Queue not started|NodeDown|ReqNodeNotAvail|DOWN",
            False,
            "the partition, the queue or its nodes are down, drained or reserved",
            "ask the site, or use another partition",
        ),
        (
            r"^QOS|^Assoc|MaxJobs|MaxSubmit|Max.*Per|(user|group|queue|server).*limit",
            False,
            "a limit of the site for users, accounts or QOS is reached; it starts when other jobs end",
            _WAIT,
        ),
        (r"BeginTime|cleaning|Prolog|Configuring", False, "it starts a little later", _WAIT),
        (r"Dependency", False, "its directives make it wait for another job", _WAIT),
        (r"License|Reservation", False, "licenses or a reservation are not free yet", _WAIT),
        (
            r"Resources|Priority|Insufficient|Not enough|not running",
            False,
            "all that it could use is busy, or others come first",
            _WAIT,
        ),
    )
)


def meaning(reason: str) -> Meaning:
    """What a reason means; of an unknown one nothing is claimed."""
    for pattern, found in _MEANINGS:
        if pattern.search(reason):
            return found
    return Meaning(never=False, text="" if reason else "the scheduler gives no reason")

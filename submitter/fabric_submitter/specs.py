"""The kinds of pools: one frozen record each, made from a pool's record in Redis or from the config file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Final

from fabric_broker.errors import UsageError

from .adapters.scheduler import load
from .batch import PBS, Batch, Slurm
from .spec import RESERVED_VARIABLES, Spec, whole

__all__ = [
    "KINDS",
    "PBS",
    "RESERVED_VARIABLES",
    "Batch",
    "Local",
    "Slurm",
    "Spec",
    "check_jobs",
    "spec_from_dict",
]


@dataclass(frozen=True, kw_only=True)
class Local(Spec):
    """Jobs on this machine: each a session of its own that outlives whoever started it."""

    kind: ClassVar[str] = "local"


KINDS: Final[Mapping[str, type[Spec]]] = {Local.kind: Local, Slurm.kind: Slurm, PBS.kind: PBS}


def spec_from_dict(values: Mapping[str, Any]) -> Spec:
    """Return the spec of a pool's record or of a `[pools.NAME]` table; without a `kind` it is local.

    Raises
    ------
    UsageError
        An unknown kind or setting, or a value that cannot be used.
    """
    kind = values.get("kind", Local.kind)
    spec = KINDS.get(kind) or getattr(load(kind), "spec", None) if isinstance(kind, str) else None
    if not (isinstance(spec, type) and issubclass(spec, Spec)):
        raise UsageError(f"kind={kind!r}: choose one of {', '.join(sorted(KINDS))}")
    return spec.from_dict(values)


def check_jobs(jobs: object) -> int:
    """Return how many jobs a pool may have; UsageError unless it is a whole number that is not negative."""
    return whole("jobs", jobs, at_least=0)

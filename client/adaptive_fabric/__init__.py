"""Run tens of thousands of adaptive learners in batch jobs; nothing is lost when a job dies.

Importing this package is cheap: what needs Redis, adaptive or numpy is imported when it is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fabric_broker.errors import (
        BrokerError,
        CorruptError,
        ExistsError,
        FabricError,
        FencedError,
        HomeError,
        KeyFileError,
        LockedError,
        MissingExtraError,
        NotFoundError,
        NotRedisError,
        PickleError,
        SchedulerError,
        SchemaError,
        ServerError,
        SignatureError,
        StoreError,
        UnreachableError,
        UsageError,
        WaitTimeoutError,
        WrongPasswordError,
    )
    from fabric_broker.records import JobRecord, LearnerRecord, RunStatus
    from fabric_submitter.specs import PBS, Local, Slurm

    from .fabric import Fabric
    from .pools import Pool
    from .runs import Run

__version__ = "0.1.0"

__all__ = [
    "PBS",
    "BrokerError",
    "CorruptError",
    "ExistsError",
    "Fabric",
    "FabricError",
    "FencedError",
    "HomeError",
    "JobRecord",
    "KeyFileError",
    "LearnerRecord",
    "Local",
    "LockedError",
    "MissingExtraError",
    "NotFoundError",
    "NotRedisError",
    "PickleError",
    "Pool",
    "Run",
    "RunStatus",
    "SchedulerError",
    "SchemaError",
    "ServerError",
    "SignatureError",
    "Slurm",
    "StoreError",
    "UnreachableError",
    "UsageError",
    "WaitTimeoutError",
    "WrongPasswordError",
]

_ELSEWHERE = {
    "PBS": "fabric_submitter.specs",
    "Fabric": "adaptive_fabric.fabric",
    "JobRecord": "fabric_broker.records",
    "LearnerRecord": "fabric_broker.records",
    "Local": "fabric_submitter.specs",
    "Pool": "adaptive_fabric.pools",
    "Run": "adaptive_fabric.runs",
    "RunStatus": "fabric_broker.records",
    "Slurm": "fabric_submitter.specs",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_ELSEWHERE.get(name, "fabric_broker.errors")), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})

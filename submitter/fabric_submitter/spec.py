"""What the jobs of every pool have, checked when the record is made; the kinds are in specs.py.

A field's `doc` and `unit` (in its metadata) are what CLI flags, config keys and documentation are made from.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Final, Self

from fabric_broker.durations import Duration, seconds
from fabric_broker.errors import PickleError, UsageError
from fabric_broker.factory import Factory
from fabric_broker.probes import PROBE_VARIABLE
from fabric_broker.signing import Signer

EXECUTORS: Final = ("serial", "process-pool", "loky", "mpi4py", "dask", "ipyparallel")
MIN_TTL_S: Final = 3.0
RESERVED_VARIABLES: Final = (
    *("FABRIC_HOME", "FABRIC_JOB", "FABRIC_JOB_TAG", "FABRIC_SLOT", "FABRIC_WALLTIME_END"),
    PROBE_VARIABLE,
)

_REFERENCE = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_][\w.]*")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def about(doc: str, unit: str = "") -> dict[str, str]:
    """Return what a setting says of itself."""
    return {"doc": doc, "unit": unit}


@dataclass(frozen=True, kw_only=True)
class Spec:
    """What every kind of job has. Use one of the subclasses.

    Durations are given in seconds, as a `timedelta` or as `"H:MM:SS"`, and kept in seconds.

    Raises
    ------
    UsageError
        A value that cannot be used, or a combination of values that cannot be.
    """

    kind: ClassVar[str]
    """Name of the scheduler, as in the config file and in the pool's record."""

    cores: int = field(
        default=1, metadata=about("cores of one slot, over all its nodes; also the workers of its executor")
    )
    slots: int = field(default=1, metadata=about("learners that one job runs at the same time"))
    executor: str | Callable[[], Any] | Factory = field(
        default="serial",
        metadata=about(
            f"what evaluates a learner's points: {', '.join(EXECUTORS)}, or MODULE:FUNCTION that makes an executor"
        ),
    )
    num_threads: int = field(
        default=1, metadata=about("threads that OpenMP, MKL and OpenBLAS may use in each worker")
    )
    env: Mapping[str, str] | None = field(
        default=None,
        metadata=about("environment variables of the job; they lie readable in Redis: no secrets"),
    )
    python: str | Path | None = field(
        default=None, metadata=about("the Python that runs the agent; None: the submitter's own")
    )
    preamble: Sequence[str] = field(
        default=(), metadata=about("shell lines run before the agent; a line that fails ends the job")
    )
    ttl: Duration = field(default=30.0, metadata=about("how long a lease lasts without renewal", "s"))
    grace: Duration = field(
        default=30.0, metadata=about("how long a job that is asked to end may take to checkpoint", "s")
    )
    idle_timeout: Duration = field(default=60.0, metadata=about("how long a job without work stays", "s"))

    def __post_init__(self) -> None:
        for name in ("cores", "slots", "num_threads"):
            self._set(name, whole(name, getattr(self, name), at_least=1))
        for name in ("ttl", "grace", "idle_timeout"):
            self._set(name, duration(name, getattr(self, name)))
        if self.ttl_s < MIN_TTL_S:
            raise UsageError(
                f"ttl={self.ttl!r}: at least {MIN_TTL_S:g} s, or a busy machine loses its leases"
            )
        self._set("executor", _executor(self.executor))
        if self.executor == "mpi4py" and self.cores < 2:
            raise UsageError(
                f"executor='mpi4py' with cores={self.cores}: at least 2, since rank 0 manages and cores - 1 ranks work"
            )
        self._set("env", _environment(self.env))
        self._set("preamble", lines("preamble", self.preamble))
        if self.python is not None:
            self._set("python", line("python", str(self.python)))

    def _set(self, name: str, value: object) -> None:
        # The record is frozen for its users; this is still its construction.
        object.__setattr__(self, name, value)

    @property
    def executor_kind(self) -> str:
        """One of `EXECUTORS`, or "factory" for a function that makes an executor."""
        return str(self.executor) if self.executor in EXECUTORS else "factory"

    def signed(self, signer: Signer) -> Self:
        """Return this spec as it can lie in Redis: what makes an executor is signed, as slots want it.

        Raises
        ------
        PickleError
            The function that makes an executor cannot travel.
        """
        make = self.executor
        if make in EXECUTORS or isinstance(make, Factory):
            return self
        if isinstance(make, str):
            return dataclasses.replace(self, executor=Factory.signed(signer, make))
        name = f"{getattr(make, '__module__', '?')}:{getattr(make, '__qualname__', type(make).__name__)}"
        return dataclasses.replace(self, executor=Factory.signed(signer, name, _pickled(make)))

    @property
    def ttl_s(self) -> float:
        """`ttl` in seconds."""
        return seconds(self.ttl)

    @property
    def grace_s(self) -> float:
        """`grace` in seconds."""
        return seconds(self.grace)

    def to_dict(self) -> dict[str, Any]:
        """Return the spec as JSON-able values, with its kind; `spec_from_dict` reads it back."""
        values = {each.name: getattr(self, each.name) for each in dataclasses.fields(self)}
        if isinstance(self.executor, Factory):
            values["executor"] = self.executor.to_dict()
        elif callable(self.executor):
            raise UsageError("a function that makes an executor is signed before it travels")
        values["env"] = dict(values["env"]) if values["env"] else None
        values |= {name: list(value) for name, value in values.items() if isinstance(value, tuple)}
        return {"kind": self.kind, **values}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Return the spec that `values` describe; a setting it does not have is a UsageError."""
        given = {name: value for name, value in values.items() if name != "kind"}
        known = {each.name for each in dataclasses.fields(cls)}
        unknown = sorted(given.keys() - known)
        if unknown:
            raise UsageError(
                f"a {cls.kind} pool has no {', '.join(unknown)}; it has {', '.join(sorted(known))}"
            )
        return cls(**given)


def _executor(value: Any) -> str | Callable[[], Any] | Factory:
    if isinstance(value, Mapping):
        return Factory.from_dict(value)
    if isinstance(value, Factory):
        return value
    if callable(value):
        make: Callable[[], Any] = value
        return make
    if isinstance(value, str) and (value in EXECUTORS or _REFERENCE.fullmatch(value)):
        return value
    raise UsageError(
        f"executor={value!r}: choose one of {', '.join(EXECUTORS)}, or a function that makes an executor "
        "(in text: MODULE:FUNCTION)"
    )


def _pickled(make: object) -> bytes:
    import cloudpickle

    try:
        return bytes(cloudpickle.dumps(make))
    except Exception as error:  # a user's __reduce__ or __getstate__ may raise anything
        raise PickleError(
            f"the executor's function cannot be pickled: {type(error).__name__}: {error}"
        ) from error


def whole(name: str, value: object, *, at_least: int) -> int:
    """Return `value` if it is an integer of at least so much; else UsageError."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise UsageError(f"{name}={value!r}: a whole number is needed")
    if value < at_least:
        raise UsageError(f"{name}={value}: at least {at_least}")
    return value


def duration(name: str, value: Any) -> float:
    """Return a setting's duration in seconds; else UsageError."""
    try:
        return seconds(value)
    except UsageError as error:
        raise UsageError(f"{name}: {error}") from error


def _environment(env: object) -> dict[str, str] | None:
    if env is None:
        return None
    if not isinstance(env, Mapping):
        raise UsageError(f"env={env!r}: a mapping of names to values is needed")
    for name, value in env.items():
        if not isinstance(name, str) or not _VARIABLE.fullmatch(name):
            raise UsageError(f"env: {name!r} is not the name of an environment variable")
        if name in RESERVED_VARIABLES:
            raise UsageError(f"env: {name} is set by the fabric")
        if not isinstance(value, str) or "\0" in value:
            raise UsageError(f"env: the value of {name} is not text that an environment can hold")
    return dict(env)


def lines(name: str, values: object) -> tuple[str, ...]:
    """Return a setting's lines of text; else UsageError."""
    if isinstance(values, str) or not isinstance(values, Sequence):
        raise UsageError(f"{name}: a list of lines is needed")
    return tuple(line(name, value) for value in values)


def line(name: str, value: object) -> str:
    """Return a setting's line of text; else UsageError."""
    if not isinstance(value, str) or not value.strip() or set(value) & set("\n\r\0"):
        raise UsageError(f"{name}: {value!r} is not one line of text")
    return value

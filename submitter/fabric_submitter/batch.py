"""What jobs of batch schedulers have, each scheduler's own options included."""

from __future__ import annotations

import math
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Final

from fabric_broker.durations import Duration, seconds
from fabric_broker.errors import UsageError

from .spec import Spec, about, duration, lines, whole

_MEMORY = re.compile(r"([0-9]{1,12}(?:\.[0-9]+)?)\s?([KMGT])(?:i?B)?", re.IGNORECASE)
_WORD = re.compile(r"[^\s\"'`\\;#-][^\s\"'`\\;#]*")

_OURS_IN_SLURM: Final = """
    job-name J array a output o error e open-mode signal parsable wait W wrap clusters M nodes N ntasks n
    ntasks-per-node cpus-per-task c comment export hold H test-only help usage version V
"""


@dataclass(frozen=True, kw_only=True)
class Batch(Spec):
    """What jobs of a batch scheduler have. Use one of the subclasses."""

    owned: ClassVar[Mapping[str, str | None]]
    """What a raw directive may not set: the scheduler's name of an option, and the field to use (None: it is ours)."""

    across: ClassVar[tuple[str, ...]] = ("serial", "factory", "mpi4py")
    """The executors of jobs that may have several nodes."""

    walltime: Duration | None = field(
        default=None, metadata=about("how long a job may run; None: what the scheduler gives", "s")
    )
    memory: str | None = field(default=None, metadata=about('memory of a job on each node, such as "4GB"'))
    nodes: int = field(
        default=1,
        metadata=about(
            "nodes of a job; more than one needs slots=1 and an evaluation that reaches them (srun)"
        ),
    )
    account: str | None = field(default=None, metadata=about("the account that is charged"))
    directives: Sequence[str] = field(
        default=(), metadata=about("further options for the scheduler, one each, as its scripts have them")
    )
    min_lease_time: Duration = field(
        default=0.0, metadata=about("a job takes no learner when less time is left to it", "s")
    )

    overlap: Duration = field(
        default=0.0,
        metadata=about(
            "a replacement is queued so long before a job's walltime ends; 0: when it is gone", "s"
        ),
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        self._set("nodes", whole("nodes", self.nodes, at_least=1))
        self._check_nodes()
        self._set("min_lease_time", duration("min_lease_time", self.min_lease_time))
        self._set("overlap", duration("overlap", self.overlap))
        if self.walltime is not None:
            self._set("walltime", duration("walltime", self.walltime))
            self._check_walltime(seconds(self.walltime))
        elif self.min_lease_time:
            raise UsageError("min_lease_time needs a walltime: else nobody knows how much time is left")
        elif self.overlap:
            raise UsageError("overlap needs a walltime: else nobody knows when a job ends")
        if self.memory is not None:
            self._set("memory", memory_text(megabytes(self.memory)))
        self._set("directives", lines("directives", self.directives))
        for name in ("account", *self._words()):
            if getattr(self, name) is not None:
                self._set(name, _word(name, getattr(self, name)))
        for directive in self.directives:
            self._check_directive(directive)

    def _check_nodes(self) -> None:
        if self.nodes == 1:
            return
        if self.slots > 1:
            raise UsageError(
                f"nodes={self.nodes} with slots={self.slots}: a job of several nodes has one slot"
            )
        if self.executor_kind not in self.across:
            raise UsageError(
                f"nodes={self.nodes}: the workers of {self.executor_kind} are all on one node in a {self.kind} job"
            )
        if self.cores % self.nodes:
            raise UsageError(f"nodes={self.nodes}: cores={self.cores} cannot be divided among them")

    def _check_walltime(self, walltime: float) -> None:
        needed = self.grace_s + seconds(self.min_lease_time)
        if walltime <= needed:
            raise UsageError(
                f"walltime={walltime:g} s: it must be longer than grace and min_lease_time together ({needed:g} s)"
            )
        if seconds(self.overlap) >= walltime:
            raise UsageError(
                f"overlap={self.overlap:g} s: it must be shorter than walltime ({walltime:g} s), "
                "or a job would be replaced before it has begun"
            )

    def _words(self) -> tuple[str, ...]:
        """Fields that the scheduler takes as one word each."""
        return ()

    def _options(self, directive: str) -> tuple[str, ...]:
        """The options that a raw directive sets."""
        return directive_options(directive)

    def _check_directive(self, directive: str) -> None:
        for option in self._options(directive):
            if option not in self.owned:
                continue
            name = self.owned[option]
            if name is None:
                raise UsageError(f"directive {directive!r}: the fabric sets {option} itself")
            if getattr(self, name) not in (None, 0, False):
                raise UsageError(f"directive {directive!r} contradicts {name}={getattr(self, name)!r}")

    @property
    def cores_per_node(self) -> int:
        """Cores that a job takes on each of its nodes."""
        return self.cores * self.slots // self.nodes

    @property
    def walltime_s(self) -> float | None:
        """`walltime` in seconds."""
        return None if self.walltime is None else seconds(self.walltime)


@dataclass(frozen=True, kw_only=True)
class Slurm(Batch):
    """Jobs of SLURM. Several are submitted as one array."""

    kind: ClassVar[str] = "slurm"
    # srun starts their workers.
    across: ClassVar[tuple[str, ...]] = (*Batch.across, "dask", "ipyparallel")
    owned: ClassVar[Mapping[str, str | None]] = {
        **dict.fromkeys(_OURS_IN_SLURM.split()),
        **dict.fromkeys(("partition", "p"), "partition"),
        **dict.fromkeys(("time", "t"), "walltime"),
        **dict.fromkeys(("mem", "mem-per-cpu", "mem-per-gpu"), "memory"),
        **dict.fromkeys(("account", "A"), "account"),
        **dict.fromkeys(("qos", "q"), "qos"),
        **dict.fromkeys(("constraint", "C"), "constraint"),
        **dict.fromkeys(("gres", "gpus", "G", "gpus-per-node"), "gpus"),
        "exclusive": "exclusive",
    }

    partition: str | None = field(
        default=None, metadata=about("the partition, or several with commas; None: the default one")
    )
    qos: str | None = field(default=None, metadata=about("quality of service"))
    exclusive: bool = field(default=False, metadata=about("share the nodes with no other job"))
    constraint: str | None = field(default=None, metadata=about("features that the nodes must have"))
    gpus: int = field(default=0, metadata=about("GPUs of a job on each node"))

    def __post_init__(self) -> None:
        self._set("gpus", whole("gpus", self.gpus, at_least=0))
        if not isinstance(self.exclusive, bool):
            raise UsageError(f"exclusive={self.exclusive!r}: true or false is needed")
        super().__post_init__()

    def _words(self) -> tuple[str, ...]:
        return ("partition", "qos", "constraint")


@dataclass(frozen=True, kw_only=True)
class PBS(Batch):
    """Jobs of PBS. Several are submitted as one array."""

    kind: ClassVar[str] = "pbs"
    owned: ClassVar[Mapping[str, str | None]] = {
        **dict.fromkeys(
            ("N", "J", "o", "e", "j", "k", "h", "r", "I", "X", "z", "f", "V", "v", "-", "W block")
        ),
        **dict.fromkeys(("l ncpus", "l nodes", "l mem", "l select", "l place")),
        "l walltime": "walltime",
        "q": "queue",
        "A": "account",
    }

    queue: str | None = field(default=None, metadata=about("the queue; None: the default one"))
    select: str | None = field(
        default=None,
        metadata=about("the chunks of a job, in place of those made from cores, slots, nodes and memory"),
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.select and (self.memory or self.nodes > 1):
            raise UsageError(f"select={self.select!r} says nodes and memory itself")

    def _words(self) -> tuple[str, ...]:
        return ("queue", "select")

    def _options(self, directive: str) -> tuple[str, ...]:
        """Of -l and -W, the resources and attributes they set are options too."""
        (option, *_) = super()._options(directive)
        if option not in ("l", "W"):
            return (option,)
        rest = " ".join(shlex.split(directive)).partition(option)[2]
        return tuple(f"{option} {part.strip().partition('=')[0]}" for part in rest.split(","))


def megabytes(memory: object) -> int:
    """Return how many MB such as "4GB" or "500M" are, rounded up; else UsageError."""
    found = _MEMORY.fullmatch(memory.strip()) if isinstance(memory, str) else None
    if found is None or float(found[1]) <= 0:
        raise UsageError(f'memory={memory!r}: write a number with its unit, such as "4GB"')
    return math.ceil(float(found[1]) * 1024.0 ** ("KMGT".index(found[2].upper()) - 1))


def memory_text(mb: int) -> str:
    """Return MB as they are kept in a spec."""
    return f"{mb}MB"


def directive_options(directive: str) -> tuple[str, ...]:
    """Return the options that a raw directive sets, without dashes: ``--mem=4G`` sets ``mem``, ``-N2`` sets ``N``."""
    try:
        words = shlex.split(directive)
    except ValueError as error:
        raise UsageError(f"directive {directive!r}: {error}") from error
    if not words or not words[0].startswith("-"):
        raise UsageError(f"directive {directive!r}: write an option, such as --reservation=name")
    return tuple(
        word[2:].partition("=")[0] if word.startswith("--") else word[1:2]
        for word in words
        if word.startswith("-")
    )


def _word(name: str, value: object) -> str:
    if not isinstance(value, str) or not _WORD.fullmatch(value):
        raise UsageError(f"{name}={value!r}: one word without blanks or quotes is needed")
    return value

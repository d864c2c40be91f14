"""Pools: kinds of jobs, made and found by name."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from fabric_broker import calls, intents, reads
from fabric_broker.config import Config
from fabric_broker.errors import NotFoundError, UsageError
from fabric_broker.listen import is_loopback
from fabric_broker.records import PoolRecord
from fabric_submitter.adapters.scheduler import find
from fabric_submitter.extras import check_installed
from fabric_submitter.specs import Batch, Local, Spec, check_jobs, spec_from_dict

if TYPE_CHECKING:
    from fabric_broker.broker import Broker
    from fabric_broker.home import Home
    from fabric_broker.signing import Signer

DEFAULT_POOL: Final = "local"
DEFAULT_JOBS: Final = 2
"""Jobs of the pool that is made when there is none."""

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}")


@dataclass(frozen=True, slots=True)
class Pool:
    """A kind of job.

    Attributes
    ----------
    name
        Its name, unique in the fabric.
    spec
        What each job gets; changes reach new jobs.
    jobs
        How many jobs it may have at most: pending, running, unknown and ending ones together.
    """

    name: str
    spec: Spec
    jobs: int


def get(broker: Broker, name: str) -> Pool:
    """The pool of this name; NotFoundError."""
    records = reads.pool_records(broker, [name])
    if not records:
        known = ", ".join(reads.pool_names(broker)) or "none"
        raise NotFoundError(f"no pool {name!r} in fabric {broker.keys.name!r}; there is: {known}")
    return _pool(records[0])


def check(home: Home, url: str, spec: Spec, *, name: str = DEFAULT_POOL) -> None:
    """Ask the scheduler whether jobs of a pool can start, and see that they could reach the server at `url`.

    Their scripts are rendered too, as a site may have templates of its own.

    Raises
    ------
    UsageError
        They cannot; the limit is named, or what to do.
    """
    if isinstance(spec, Batch) and is_loopback(url):
        raise UsageError(
            f"jobs of a {spec.kind} pool run on other machines, which cannot reach {url}; "
            "start the server for them: fabric down, then fabric up --bind auto"
        )
    from fabric_submitter.scripts import check_templates  # late, since it imports jinja2

    check_installed(spec)
    find(spec.kind)(home).check(spec)
    check_templates(home, name, spec)


def check_limit(home: Home, jobs: int | None) -> None:
    """Refuse a pool more jobs than all pools together may have; UsageError."""
    if jobs is not None:
        Config.load(home, os.environ).check_jobs(check_jobs(jobs))


def define(broker: Broker, name: str, spec: Spec, jobs: int | None, signer: Signer) -> Pool:
    """Create or change a pool; `jobs` None keeps what it may have, 1 for a new one."""
    checked = checked_name(name)
    if not isinstance(spec, Spec):
        raise UsageError(
            f"pool {name!r}: the spec is a {type(spec).__name__}; pass Local(…), Slurm(…) or PBS(…)"
        )
    limit = None if jobs is None else check_jobs(jobs)
    broker.do(
        calls.define_pool(
            checked,
            spec=spec.signed(signer).to_dict(),
            kind=spec.kind,
            limit=limit,
            slots=spec.slots,
            ttl=spec.ttl_s,
        )
    )
    # Whoever changes a pool has mended what kept its jobs from working.
    broker.do(intents.resume_pool(checked))
    return get(broker, name)


def scale(broker: Broker, name: str, jobs: int) -> Pool:
    """Change how many jobs a pool may have; NotFoundError."""
    if not broker.do(calls.scale_pool(name, check_jobs(jobs))):
        get(broker, name)  # raises, and says which pools there are
    broker.do(intents.resume_pool(name))
    return get(broker, name)


def choose(broker: Broker, name: str | None) -> str | None:
    """The pool that a run goes to: the one named, else the only one, else "local"; None: it has to be made."""
    if name is not None:
        return get(broker, name).name
    names = reads.pool_names(broker)
    if len(names) == 1:
        return names[0]
    return DEFAULT_POOL if DEFAULT_POOL in names else None


def define_default(broker: Broker, signer: Signer) -> Pool:
    """Make the pool for who names none: "local", 2 jobs on this machine."""
    return define(broker, DEFAULT_POOL, Local(), DEFAULT_JOBS, signer)


def checked_name(name: object) -> str:
    """The name, if a pool can have it; UsageError."""
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise UsageError(f"pool name {name!r}: use 1 to 64 letters, digits, '_', '.', '-'")
    return name


def _pool(record: PoolRecord) -> Pool:
    return Pool(record.name, spec_from_dict(record.spec), record.limit)

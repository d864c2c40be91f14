"""What each learner of a submission needs: learners with equal specs share a pool that is named by the spec."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Final

from fabric_broker import reads
from fabric_broker.errors import FabricError, UsageError
from fabric_submitter.specs import Spec

from . import pools

if TYPE_CHECKING:
    from fabric_broker.broker import Broker
    from fabric_broker.signing import Signer

Resources = Iterable[Spec] | Callable[[Any], Spec]
"""One spec per learner, or a function that gives a learner's."""

_DIGITS: Final = 8


def learner_specs(
    resources: Resources | None, learners: Sequence[Any], pool: str | None
) -> list[Spec] | None:
    """The spec of each learner; None: they all go to one pool.

    Raises
    ------
    UsageError
        Not one spec for each learner, or a pool is named as well.
    """
    if resources is None:
        return None
    if pool is not None:
        raise UsageError(f"pool={pool!r} and resources=: a learner goes to the pool of its resources")
    if isinstance(resources, Spec):
        raise UsageError("resources is one spec; make a pool with it, or pass a list with a spec per learner")
    specs = list(_specs(resources, learners))
    for index, spec in enumerate(specs):
        if not isinstance(spec, Spec):
            raise UsageError(
                f"resources of learner {index}: {type(spec).__name__} is no spec; pass Local(…), Slurm(…) or PBS(…)"
            )
    if len(specs) != len(learners):
        raise UsageError(f"resources has {len(specs)} specs for {len(learners)} learners; pass one for each")
    return specs


def _specs(resources: Resources, learners: Sequence[Any]) -> Iterable[Any]:
    if not callable(resources):
        try:
            return iter(resources)
        except TypeError:
            raise UsageError(
                f"resources is a {type(resources).__name__}; pass a list of specs or a function of a learner"
            ) from None
    found = []
    for index, learner in enumerate(learners):
        try:
            found.append(resources(learner))
        except FabricError:
            raise  # a spec that cannot be says so itself
        except Exception as error:
            raise UsageError(f"resources of learner {index}: {type(error).__name__}: {error}") from error
    return found


class Places:
    """The pools of a submission, by spec; those that are not there yet are made by `define`."""

    def __init__(self, broker: Broker, signer: Signer, specs: Sequence[Spec]) -> None:
        self._broker = broker
        self._signer = signer
        self._specs = [spec.signed(signer) for spec in specs]
        self._names: dict[str, str] = {}
        self._new: dict[str, Spec] = {}
        for spec in self._specs:
            if _key(spec) not in self._names:
                self._place(spec)

    def check(self, check: Callable[[Spec], None]) -> None:
        """Have `check` see that jobs of the new pools can start; it raises UsageError."""
        for spec in self._new.values():
            check(spec)

    @property
    def names(self) -> list[str]:
        """The pool of each learner."""
        return [self._names[_key(spec)] for spec in self._specs]

    def define(self) -> None:
        """Make the pools that are missing."""
        for name, spec in self._new.items():
            pools.define(self._broker, name, spec, pools.DEFAULT_JOBS, self._signer)

    def _place(self, spec: Spec) -> None:
        """Find the pool of this spec, or a name for it: that of one which was changed since is passed over."""
        stem, number = f"{spec.kind}-{_digest(spec)}", 1
        while True:
            name = stem if number == 1 else f"{stem}-{number}"
            known = reads.pool_records(self._broker, [name])
            if not known or known[0].spec == json.loads(_key(spec)):
                break
            number += 1
        self._names[_key(spec)] = name
        if not known:
            self._new[pools.checked_name(name)] = spec


def _key(spec: Spec) -> str:
    """Equal for equal specs."""
    return json.dumps(spec.to_dict(), sort_keys=True)


def _digest(spec: Spec) -> str:
    return hashlib.sha256(_key(spec).encode()).hexdigest()[:_DIGITS]

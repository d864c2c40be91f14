"""Where evaluations run: in the slot itself, or in a pool of workers that outlives learners and its own deaths."""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from typing import Any, Final

import cloudpickle

from fabric_broker.errors import UsageError

from .dask_pool import DaskWorkers
from .engines import Engines
from .evaluate import Answer, evaluate
from .making import Made
from .processes import loky, process_pool
from .ranks import Ranks
from .workers import Kind, NoWorkersError, Wanted

KINDS: Final[Mapping[str, Kind]] = {
    "process-pool": Kind(process_pool),
    "loky": Kind(loky),
    "mpi4py": Kind(Ranks, rebuilt=False, managing=1),
    "dask": Kind(DaskWorkers),
    "ipyparallel": Kind(Engines),
    "factory": Kind(Made),
}


class Pool:
    """Workers that evaluate the points of one function at a time.

    Parameters
    ----------
    name
        A key of `KINDS`.

    Raises
    ------
    UsageError
        There is no such kind.
    NoWorkersError
        The workers did not come.
    """

    def __init__(self, name: str, wanted: Wanted) -> None:
        if name not in KINDS:
            raise UsageError(f"executor {name!r} is none of serial, {', '.join(KINDS)}")
        self.name = name
        self.wanted = wanted
        self._kind = KINDS[name]
        self._workers = self._kind.make(wanted)
        self._code = self._digest = b""
        self._sent = 0

    @property
    def workers(self) -> int:
        """How many evaluations run at a time."""
        return self.wanted.workers - self._kind.managing

    def use(self, function: Callable[[Any], Any]) -> None:
        """Evaluate this function from now on."""
        self._code = cloudpickle.dumps(function)
        self._digest = hashlib.sha256(self._code).digest()
        self._sent = 0

    def submit(self, point: Any, *, with_code: bool = False) -> Future[Answer]:
        """Start an evaluation. The function goes along to as many as there are workers, then on demand.

        Raises
        ------
        BrokenExecutor
            A worker died; `rebuild` first.
        """
        with_code = with_code or self._sent < self.workers
        self._sent += with_code
        try:
            body = pickle.dumps(point, 5)
        except (pickle.PicklingError, AttributeError, TypeError):
            body = cloudpickle.dumps(point, 5)
        return self._workers.submit(evaluate, self._digest, self._code if with_code else None, body)

    def rebuild(self) -> str:
        """Replace workers of which one died; answers what it died of, as far as that is known.

        Raises
        ------
        NoWorkersError
            The new ones did not come, or workers of this kind cannot be replaced.
        """
        died = self._workers.bury()
        if not self._kind.rebuilt:
            raise NoWorkersError(f"a worker of {self.name} died of {died}; this slot cannot get others")
        self._workers = self._kind.make(self.wanted)
        self._sent = 0
        return died

    def close(self) -> None:
        """End the workers, whatever they do."""
        self._workers.close()

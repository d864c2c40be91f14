"""Job scripts, rendered from templates/; a template that names what it is not given is an error."""

from __future__ import annotations

import math
import os
import secrets
import shlex
import sys
from pathlib import Path
from typing import Final

from jinja2 import Environment, PackageLoader, StrictUndefined

from fabric_broker.durations import text
from fabric_broker.home import Home

from .adapters.commands import settings
from .adapters.scheduler import Request

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


def render(home: Home, request: Request) -> str:
    """Return the script of a submit: what would be submitted, to the letter."""
    spec = request.spec
    threads = {name: str(spec.num_threads) for name in THREAD_VARIABLES}
    return _ENVIRONMENT.get_template(f"{spec.kind}.sh.j2").render(
        home=str(home.path),
        name=job_name(request.intent),
        intent=request.intent,
        pool=request.pool,
        spec=spec,
        jobs=request.jobs,
        log=_pattern(home, request),
        python=str(spec.python or sys.executable),
        settings=settings(os.environ),
        preamble=spec.preamble,
        variables=threads | dict(spec.env or {}),
        patience=math.ceil(spec.grace_s) + KILL_AFTER_S,
        notice=max(1, math.ceil(spec.grace_s)),
    )


def job_name(intent: str) -> str:
    """Return the name by which a batch scheduler shows the jobs of an intent: at most 15 characters, for old PBS."""
    return f"fab-{intent}"


def write(path: Path, script: str) -> None:
    """Put a script there as a whole: a shell that reads an older one is not disturbed."""
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o700), "w") as file:
            file.write(script)
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def _pattern(home: Home, request: Request) -> str:
    """The logs of the jobs as SLURM takes their names: %a is the place in the array."""
    index = "%a" if len(request.jobs) > 1 else "0"
    return f"{str(home.logs).replace('%', '%%')}/{request.intent}.{index}.log"


# Shell text, not HTML: what is put into it is quoted for the shell.
_ENVIRONMENT = Environment(  # noqa: S701
    loader=PackageLoader("fabric_submitter"),
    undefined=StrictUndefined,
    keep_trailing_newline=True,
    trim_blocks=True,
)
_ENVIRONMENT.filters |= {"quote": shlex.quote, "duration": text}

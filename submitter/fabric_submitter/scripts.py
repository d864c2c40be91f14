"""Job scripts, rendered from templates/ or from what a home or a site has in their place.

A template of the same name in the home's `templates` folder, or in that of the site, replaces ours; ours is then
there as `shipped/<name>`, to be extended. A template that names what it is not given is an error.
"""

from __future__ import annotations

import math
import os
import secrets
import shlex
import sys
import traceback
from pathlib import Path
from typing import Final

from jinja2 import (
    BaseLoader,
    ChoiceLoader,
    Environment,
    FileSystemLoader,
    PackageLoader,
    PrefixLoader,
    StrictUndefined,
    TemplateError,
    TemplateNotFound,
    TemplateSyntaxError,
)

from fabric_broker.durations import text
from fabric_broker.errors import UsageError
from fabric_broker.home import Home
from fabric_broker.probes import PROBE_VARIABLE
from fabric_broker.site import site_folder
from fabric_broker.survey import job_id

from .adapters.commands import settings
from .adapters.scheduler import Request
from .spec import Spec

KILL_AFTER_S: Final = 15
"""So much longer than its grace an agent may take to end before its keeper kills it."""
EXAMPLE: Final = "iaaaaaaaaaa"
"""An intent's id where a script is only looked at."""
OTHER: Final = "other.sh.j2"
"""The template of kinds of pools that have none of their own."""
# A template may go wrong in whatever way its expressions can.
_TEMPLATE_ERRORS: Final = (
    *(
        TemplateError,
        ArithmeticError,
        AttributeError,
        LookupError,
        TypeError,
        ValueError,
        OSError,
        RecursionError,
    ),
)
THREAD_VARIABLES: Final = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "BLIS_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
)


def render(home: Home, request: Request) -> str:
    """Return the script of a submit: what would be submitted, to the letter.

    Raises
    ------
    UsageError
        A template cannot be used; the message names file and line.
    """
    spec = request.spec
    threads = {name: str(spec.num_threads) for name in THREAD_VARIABLES}
    templates = _templates(home)
    name = f"{spec.kind}.sh.j2"
    try:
        found = templates.select_template([name, OTHER])
        return found.render(
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
            variables=threads | dict(spec.env or {}) | ({PROBE_VARIABLE: "yes"} if request.probe else {}),
            patience=math.ceil(spec.grace_s) + KILL_AFTER_S,
            notice=max(1, math.ceil(spec.grace_s)),
        )
    except _TEMPLATE_ERRORS as error:
        raise UsageError(_complaint(error, name)) from error


def check_templates(home: Home, pool: str, spec: Spec) -> None:
    """Refuse templates that cannot be used for a pool's jobs, one alone or several; UsageError as `render`."""
    for count in (1, 2):
        jobs = tuple(job_id(EXAMPLE, place) for place in range(count))
        render(home, Request(EXAMPLE, pool, spec, jobs))


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


def _templates(home: Home) -> Environment:
    shipped = PackageLoader("fabric_submitter")
    theirs = [home.templates, site_folder(os.environ) / "templates"]
    places: list[BaseLoader] = [FileSystemLoader(folder) for folder in theirs]
    # Shell text, not HTML: what is put into it is quoted for the shell.
    environment = Environment(  # noqa: S701
        loader=ChoiceLoader([*places, shipped, PrefixLoader({"shipped": shipped})]),
        undefined=StrictUndefined,
        keep_trailing_newline=True,
        trim_blocks=True,
    )
    environment.filters |= {"quote": shlex.quote, "duration": text}
    return environment


def _complaint(error: Exception, name: str) -> str:
    """What is wrong with a template, and where, in one line."""
    words = " ".join(str(error).split()) or type(error).__name__
    if isinstance(error, TemplateSyntaxError):
        return f"{error.filename or error.name}:{error.lineno}: {words}"
    if isinstance(error, RecursionError):
        words = "it extends or includes itself; shipped/NAME is the one that comes with the package"
    if isinstance(error, TemplateNotFound):
        words = f"there is no template {error.name!r}"
    # Jinja makes tracebacks tell the templates' own lines; the last one is where it went wrong.
    lines = [
        (frame.filename, frame.lineno)
        for frame in traceback.extract_tb(error.__traceback__)
        if frame.filename.endswith(".j2")
    ]
    where = "{}:{}".format(*lines[-1]) if lines else name
    return f"{where}: {words}"

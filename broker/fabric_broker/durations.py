"""Durations as users write them, and as schedulers and tables show them."""

from __future__ import annotations

import math
import re
from datetime import timedelta

from .errors import UsageError

Duration = float | int | timedelta | str

_H_MM_SS = re.compile(r"([0-9]{1,9}):([0-5][0-9]):([0-5][0-9](?:\.[0-9]+)?)")
_FORMS = 'seconds (a number), a timedelta or "H:MM:SS"'


def seconds(value: Duration) -> float:
    """Return a duration in seconds.

    Accepts seconds as a number, a `timedelta`, or `"H:MM:SS"` (hours may pass 24). A bare number in a string
    is refused: schedulers read it as minutes, we would read it as seconds.

    Raises
    ------
    UsageError
        The value is of another form, negative, or not finite.
    """
    if isinstance(value, timedelta):
        result = value.total_seconds()
    elif isinstance(value, str):
        found = _H_MM_SS.fullmatch(value.strip())
        if found is None:
            raise UsageError(f"{value!r} is not a duration: write {_FORMS}")
        result = int(found[1]) * 3600 + int(found[2]) * 60 + float(found[3])
    elif isinstance(value, bool) or not isinstance(value, int | float):
        raise UsageError(f"{value!r} is not a duration: write {_FORMS}")
    else:
        result = _as_float(value)
    if not math.isfinite(result) or result < 0:
        raise UsageError(f"{value!r:.40} is not a duration: it must be finite and not negative")
    return result


def _as_float(value: float | int) -> float:
    try:
        return float(value)
    except OverflowError:  # an int of hundreds of digits
        return math.inf


def text(duration: float) -> str:
    """Return `H:MM:SS` for a duration in seconds, rounded up: a walltime is never shorter than asked."""
    whole = math.ceil(duration)
    return f"{whole // 3600}:{whole // 60 % 60:02d}:{whole % 60:02d}"

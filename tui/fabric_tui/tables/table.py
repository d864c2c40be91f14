"""What a table is: things, columns, sorts, filter fields, and which of its things are problems."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from fabric_tui.filters import Fields
from fabric_tui.listing import SortKey

T = TypeVar("T")

Clock = Callable[[], float]
"""Redis TIME at this moment, in Unix seconds."""

Cell = tuple[str, str]
"""Text, and a style in Rich's words."""

REQUESTED: Cell = ("» requested", "bold yellow")


@dataclass(frozen=True, slots=True)
class Column:
    """One column. ``width`` 0 takes what is left; ``rank``: the highest goes first where room is short, 0 never."""

    title: str
    width: int
    cell: Callable[[str], Cell]
    right: bool = False
    rank: int = 0
    least: int = 8
    """cells that a column of width 0 needs"""
    ages: bool = False
    """whether it changes although nothing happens"""


@dataclass(frozen=True, slots=True)
class Table(Generic[T]):
    """One table; ``sorts`` are by the titles of its columns, ``order`` breaks ties by id."""

    word: str
    """what its things are called"""
    things: Callable[[], Mapping[str, T]]
    columns: tuple[Column, ...]
    sorts: Mapping[str, Callable[[T], SortKey]]
    fields: Fields[T]
    problem: Callable[[T], bool]
    order: Callable[[str], SortKey] = lambda id: (id,)
    descending: bool = False
    sorted_by: str = ""
    """a column's title; "": by id alone"""
    empty: str = ""
    copies: Callable[[str], str] = field(default=lambda id: id)
    """what `y` puts into the clipboard"""


def cells_of(things: Callable[[], Mapping[str, T]]) -> Callable[[Callable[[T], Cell]], Callable[[str], Cell]]:
    """Makes cells by id out of cells by thing; what went away meanwhile is empty."""

    def cell(show: Callable[[T], Cell]) -> Callable[[str], Cell]:
        def of(id: str) -> Cell:
            thing = things().get(id)
            return ("", "") if thing is None else show(thing)

        return of

    return cell

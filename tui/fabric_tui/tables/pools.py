"""Screen 4: the pools."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from fabric_broker.records import PoolRecord
from fabric_tui import words
from fabric_tui.filters import Fields
from fabric_tui.listing import SortKey
from fabric_tui.model import Model

from .table import REQUESTED, Cell, Clock, Column, Table, cells_of


def pools(model: Model, now: Clock) -> Table[PoolRecord]:
    """The table of pools."""
    return Table(
        word="pool",
        things=lambda: model.pools,
        columns=_columns(model, now),
        sorts=_sorts(),
        fields=_fields(),
        problem=lambda pool: (
            pool.circuit is not None or int(_told(model, pool).get("retry_at", 0)) / 1000 > now()
        ),
        empty="no pool; `fabric up` makes one, `fabric pool add` adds others",
    )


def _told(model: Model, pool: PoolRecord) -> Mapping[str, str]:
    return model.board.pools[pool.name][0] if pool.name in model.board.pools else {}


def _columns(model: Model, now: Clock) -> tuple[Column, ...]:
    cell = cells_of(lambda: model.pools)

    def number(pool: PoolRecord, *states: str) -> int:
        return sum(job.pool == pool.name and job.state in states for job in model.jobs.values())

    def limit(pool: PoolRecord) -> Cell:
        return REQUESTED if model.requests.of(pool.name) else (str(pool.limit), "bold")

    def trouble(pool: PoolRecord) -> Cell:
        if pool.circuit:
            return f"✘ open circuit: {pool.circuit}", "bold red"
        retry_at = int(_told(model, pool).get("retry_at", 0)) / 1000
        if retry_at > now():
            return f"◔ back-off, next try in {words.duration(retry_at - now())}", "yellow"
        return "✔ submits", "green"

    return (
        Column("Pool", 14, lambda id: (id, "bold")),
        Column("Kind", 7, cell(lambda pool: (pool.kind, "cyan")), rank=2),
        Column("N", 11, cell(limit), right=True),
        Column("Wanted", 6, cell(lambda pool: (_told(model, pool).get("wanted", "0"), "")), right=True),
        Column("Running", 7, cell(lambda pool: (str(number(pool, "running", "draining")), "")), right=True),
        Column("Pending", 7, cell(lambda pool: (str(number(pool, "pending", "submitting")), "")), right=True),
        Column("Slots", 5, cell(lambda pool: (str(pool.slots), "")), right=True, rank=3),
        Column("Queued", 7, cell(lambda pool: (words.count(pool.queued), "")), right=True),
        Column("Leased", 7, cell(lambda pool: (words.count(pool.leased), "")), right=True, rank=1),
        Column("Submitting", 0, cell(trouble), least=11, ages=True),
    )


def _sorts() -> Mapping[str, Callable[[PoolRecord], SortKey]]:
    return {
        "Pool": lambda pool: (pool.name,),
        "N": lambda pool: (pool.limit,),
        "Queued": lambda pool: (pool.queued,),
        "Leased": lambda pool: (pool.leased,),
    }


def _fields() -> Fields[PoolRecord]:
    return Fields(
        texts={
            "name": lambda pool: pool.name,
            "kind": lambda pool: pool.kind,
            "reason": lambda pool: pool.circuit or "",
        },
        numbers={
            "n": lambda pool: pool.limit,
            "queued": lambda pool: pool.queued,
            "leased": lambda pool: pool.leased,
        },
    )

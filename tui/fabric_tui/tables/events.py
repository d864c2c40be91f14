"""Screen 5: the events, the newest on top."""

from __future__ import annotations

from collections.abc import Mapping

from fabric_broker.watch import Happening
from fabric_tui import words
from fabric_tui.filters import Fields
from fabric_tui.live import stream_id
from fabric_tui.model import Model

from .table import Cell, Column, Table, cells_of


def events(model: Model, things: Mapping[str, Happening]) -> Table[Happening]:
    """The table of events."""
    return Table(
        word="event",
        things=lambda: things,
        columns=_columns(model, things),
        sorts={"Time (UTC)": lambda _event: ()},
        fields=_fields(model),
        problem=lambda event: event.event in ("error", "barren", "died", "expire"),
        order=stream_id,
        descending=True,
        empty="nothing has happened yet",
        copies=lambda id: (things[id].learner if id in things else "") or id,
    )


def _move(event: Happening) -> Cell:
    if event.event == "asked":
        return f"» {event.more.get('verb', '')}", "bold magenta"
    source = event.source or "new"
    return f"{source} → {event.target}", words.LEARNER.get(event.target, words.Look("", "")).style


def _more(event: Happening) -> str:
    if event.event == "asked":
        return f"{event.more.get('by', '')} asked for {event.more.get('target', '')}"
    cause = event.more.get("cause", "")
    return " ".join(part for part in (event.more.get("job", ""), f"({cause})" if cause else "") if part)


def _columns(model: Model, things: Mapping[str, Happening]) -> tuple[Column, ...]:
    cell = cells_of(lambda: things)
    return (
        Column("Time (UTC)", 10, cell(lambda event: (words.clock(event.at), ""))),
        Column("Event", 9, cell(lambda event: (event.event, words.EVENT.get(event.event, "")))),
        Column("Change", 23, cell(_move)),
        Column("Learner", 14, cell(lambda event: (event.learner, ""))),
        Column("Name", 16, cell(lambda event: (model.names.get(event.learner, ""), "cyan")), rank=2),
        Column("Run", 12, cell(lambda event: (model.run_name(event.run), "")), rank=1),
        Column("Job, cause, who", 0, cell(lambda event: (_more(event), "")), least=16),
    )


def _fields(model: Model) -> Fields[Happening]:
    return Fields(
        texts={
            "event": lambda event: event.event,
            "from": lambda event: event.source,
            "to": lambda event: event.target,
            "learner": lambda event: event.learner,
            "name": lambda event: model.names.get(event.learner, ""),
            "run": lambda event: f"{event.run} {model.run_name(event.run)}",
            "job": lambda event: event.more.get("job", ""),
            "cause": lambda event: event.more.get("cause", ""),
            "by": _more,
        },
        numbers={"age": lambda event: model.now - event.at},
    )

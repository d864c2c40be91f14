"""Screen 2: the learners."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from fabric_broker.view import LearnerView
from fabric_tui import words
from fabric_tui.filters import Fields
from fabric_tui.listing import SortKey, number_first
from fabric_tui.model import Model, learner_order
from fabric_tui.problems import is_problem

from .table import REQUESTED, Cell, Clock, Column, Table, cells_of


def learners(model: Model, now: Clock) -> Table[LearnerView]:
    """The table of learners."""
    return Table(
        word="learner",
        things=lambda: model.learners,
        columns=_columns(model, now),
        sorts=_sorts(model),
        fields=_fields(model, now),
        problem=is_problem,
        order=learner_order,
        empty="no learner passes the filter",
    )


_STATE_ORDER = {
    state: place
    for place, state in enumerate(
        ("quarantined", "failed", "delayed", "leased", "queued", "waiting", "paused", "done", "cancelled")
    )
}


def _attempts(learner: LearnerView) -> str:
    return "yellow" if learner.attempts else ""


def _holder(learner: LearnerView) -> str:
    return "" if learner.job is None else f"{learner.job}/{learner.slot}"


def _columns(model: Model, now: Clock) -> tuple[Column, ...]:
    cell = cells_of(lambda: model.learners)

    def state(learner: LearnerView) -> Cell:
        asked = model.requests.of(learner.id)
        return REQUESTED if asked else words.state(words.LEARNER, learner.state)

    return (
        Column("State", 13, cell(state)),
        Column("Name", 0, cell(lambda learner: (model.name(learner.id), "")), least=12),
        Column("Run", 12, cell(lambda learner: (model.run_name(learner.run), "cyan")), rank=5),
        Column("Points", 9, cell(lambda learner: (words.count(learner.npoints), "")), right=True),
        Column("Loss", 9, cell(lambda learner: (words.short(learner.loss), "")), right=True),
        Column(
            "Att",
            3,
            cell(lambda learner: (str(learner.attempts), _attempts(learner))),
            right=True,
            rank=3,
        ),
        Column("Pri", 4, cell(lambda learner: (str(learner.priority), "")), right=True, rank=8),
        Column("Pool", 9, cell(lambda learner: (learner.pool, "")), rank=6),
        Column("Job", 14, cell(lambda learner: (_holder(learner), "")), rank=4),
        Column("Node", 10, cell(lambda learner: (model.node(learner.job), "")), rank=7),
        Column("Age", 7, cell(lambda learner: (words.age(now(), learner.since), "")), right=True, ages=True),
    )


def _sorts(model: Model) -> Mapping[str, Callable[[LearnerView], SortKey]]:
    return {
        "State": lambda learner: (_STATE_ORDER.get(learner.state, 9),),
        "Name": lambda learner: (model.name(learner.id),),
        "Run": lambda learner: (model.run_name(learner.run),),
        "Points": lambda learner: (learner.npoints,),
        "Loss": lambda learner: number_first(learner.loss),
        "Att": lambda learner: (learner.attempts,),
        "Pri": lambda learner: (learner.priority,),
        "Pool": lambda learner: (learner.pool,),
        "Job": lambda learner: (learner.job is None, learner.job or "", learner.slot or 0),
        "Node": lambda learner: (model.node(learner.job),),
        "Age": lambda learner: (-learner.since,),
    }


def _fields(model: Model, now: Clock) -> Fields[LearnerView]:
    return Fields(
        texts={
            "id": lambda learner: learner.id,
            "name": lambda learner: model.name(learner.id),
            "run": lambda learner: f"{learner.run} {model.run_name(learner.run)}",
            "state": lambda learner: learner.state,
            "pool": lambda learner: learner.pool,
            "job": lambda learner: learner.job or "",
            "node": lambda learner: model.node(learner.job),
        },
        numbers={
            "points": lambda learner: learner.npoints,
            "loss": lambda learner: learner.loss,
            "attempts": lambda learner: learner.attempts,
            "priority": lambda learner: learner.priority,
            "slot": lambda learner: learner.slot,
            "age": lambda learner: now() - learner.since,
        },
    )

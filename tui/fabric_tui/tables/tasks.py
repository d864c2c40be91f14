"""Screen 6: the tasks of the control plane."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from fabric_broker.control_plane import Task
from fabric_tui import words
from fabric_tui.filters import Fields
from fabric_tui.listing import SortKey, number_first
from fabric_tui.model import Model

from .table import Clock, Column, Table, cells_of


def tasks(model: Model, now: Clock) -> Table[Task]:
    """The table of tasks."""
    return Table(
        word="task",
        things=lambda: _things(model),
        columns=_columns(model, now),
        sorts=_sorts(),
        fields=_fields(now),
        problem=lambda task: task.kind == "failed",
        sorted_by="State",
        empty="no task waits, runs or failed",
    )


def _things(model: Model) -> Mapping[str, Task]:
    return {task.id: task for task in model.control.tasks} if model.control else {}


def _columns(model: Model, now: Clock) -> tuple[Column, ...]:
    cell = cells_of(lambda: _things(model))

    def age(task: Task) -> str:
        return words.age(now(), task.ended or task.started or task.created)

    def end(task: Task) -> str:
        return task.traceback.strip().rpartition("\n")[2]

    return (
        Column("State", 11, cell(lambda task: words.state(words.TASK, task.kind))),
        Column("Task", 20, lambda id: (id, ""), rank=1),
        Column("Call", 30, cell(lambda task: (task.description, ""))),
        Column("Age", 7, cell(lambda task: (age(task), "")), right=True, ages=True),
        Column("Error", 0, cell(lambda task: (end(task), "red")), least=14),
    )


def _sorts() -> Mapping[str, Callable[[Task], SortKey]]:
    return {
        "State": lambda task: (("failed", "running", "waiting").index(task.kind),),
        "Age": lambda task: number_first(task.created),
    }


def _fields(now: Clock) -> Fields[Task]:
    return Fields(
        texts={
            "id": lambda task: task.id,
            "state": lambda task: task.kind,
            "call": lambda task: task.description,
            "error": lambda task: task.traceback,
        },
        numbers={"age": lambda task: now() - (task.created or now())},
    )

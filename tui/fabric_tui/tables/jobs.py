"""Screen 3: the jobs."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from fabric_broker.records import JobRecord
from fabric_tui import words
from fabric_tui.filters import Fields
from fabric_tui.listing import SortKey, number_first
from fabric_tui.model import Model
from fabric_tui.problems import is_job_problem

from .table import REQUESTED, Cell, Clock, Column, Table, cells_of


def jobs(model: Model, now: Clock) -> Table[JobRecord]:
    """The table of jobs."""
    return Table(
        word="job",
        things=lambda: model.jobs,
        columns=_columns(model, now),
        sorts=_sorts(),
        fields=_fields(now),
        problem=lambda job: is_job_problem(job, now()) or (job.state == "pending" and job.reason is not None),
        empty="no job; pools submit jobs when learners are queued",
    )


_JOB_ORDER = {
    state: place
    for place, state in enumerate(("unknown", "draining", "running", "pending", "submitting", "ended"))
}


def _columns(model: Model, now: Clock) -> tuple[Column, ...]:
    cell = cells_of(lambda: model.jobs)

    def state(job: JobRecord) -> Cell:
        return REQUESTED if model.requests.of(job.id) else words.state(words.JOB, job.state)

    def left(job: JobRecord) -> Cell:
        if job.walltime_end is None or job.state == "ended":
            return "–", ""
        seconds = job.walltime_end - now()
        return words.duration(seconds), "yellow" if seconds < 600 else ""

    def seen(job: JobRecord) -> Cell:
        silent = is_job_problem(job, now())
        return words.age(now(), job.last_seen), "bold red" if silent else ""

    return (
        Column("Job", 14, lambda id: (id, "")),
        Column("Scheduler id", 12, cell(lambda job: (job.scheduler_id or "–", "")), rank=3),
        Column("State", 13, cell(state)),
        Column("Pool", 9, cell(lambda job: (job.pool, "cyan")), rank=4),
        Column("Node", 12, cell(lambda job: (job.node or "–", ""))),
        Column("Holds", 7, cell(lambda job: (f"{len(job.learners)}/{job.slots}", "")), right=True),
        Column("Left", 6, cell(left), right=True, rank=5, ages=True),
        Column("Seen", 6, cell(seen), right=True, rank=2, ages=True),
        Column("Learners", 14, cell(lambda job: (" ".join(job.learners), "")), rank=6),
        Column("Reason", 0, cell(lambda job: (job.reason or "", "yellow")), least=10, rank=1),
    )


def _sorts() -> Mapping[str, Callable[[JobRecord], SortKey]]:
    return {
        "Job": lambda job: (job.id,),
        "State": lambda job: (_JOB_ORDER.get(job.state, 9),),
        "Pool": lambda job: (job.pool,),
        "Node": lambda job: (job.node or "",),
        "Holds": lambda job: (len(job.learners),),
        "Left": lambda job: number_first(job.walltime_end),
        "Seen": lambda job: number_first(None if job.last_seen is None else -job.last_seen),
    }


def _fields(now: Clock) -> Fields[JobRecord]:
    return Fields(
        texts={
            "id": lambda job: job.id,
            "state": lambda job: job.state,
            "pool": lambda job: job.pool,
            "node": lambda job: job.node or "",
            "reason": lambda job: job.reason or "",
            "scheduler": lambda job: job.scheduler_id or "",
            "learner": lambda job: " ".join(job.learners),
        },
        numbers={
            "holds": lambda job: len(job.learners),
            "slots": lambda job: job.slots,
            "left": lambda job: None if job.walltime_end is None else job.walltime_end - now(),
        },
    )

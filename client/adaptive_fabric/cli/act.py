"""Commands that change what runs: cancel, retry, pause, resume, prioritize, scale."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from fabric_broker.errors import UsageError

from .opening import Opening, opening, run_option
from .output import note

if TYPE_CHECKING:
    from adaptive_fabric.fabric import Fabric
    from fabric_broker.calls import Verb

_SAID = {
    "cancel": "cancelled",
    "retry": "queued again",
    "pause": "paused",
    "resume": "resumed",
    "prioritize": "changed",
}


@click.command()
@click.argument("target", metavar="RUN|LEARNER|JOB")
@run_option
@opening
def cancel(start: Opening, target: str, run_name: str | None) -> None:
    """Cancel a run or a learner (data stay), or ask a job to go: it lets go of its learners first."""
    _act(start, "cancel", target, run_name)


@click.command()
@click.argument("target", metavar="RUN|LEARNER")
@run_option
@opening
def retry(start: Opening, target: str, run_name: str | None) -> None:
    """Queue failed, quarantined and cancelled learners again; they go on from their data."""
    _act(start, "retry", target, run_name)


@click.command()
@click.argument("target", metavar="RUN|LEARNER")
@run_option
@opening
def pause(start: Opening, target: str, run_name: str | None) -> None:
    """Let go of a run or a learner after a checkpoint; `resume` goes on."""
    _act(start, "pause", target, run_name)


@click.command()
@click.argument("target", metavar="RUN|LEARNER")
@run_option
@opening
def resume(start: Opening, target: str, run_name: str | None) -> None:
    """Go on with a run or a learner that was paused."""
    _act(start, "resume", target, run_name)


@click.command(context_settings={"ignore_unknown_options": True})
@click.argument("target", metavar="RUN|LEARNER")
@click.argument("priority", metavar="N", type=int)
@run_option
@opening
def prioritize(start: Opening, target: str, priority: int, run_name: str | None) -> None:
    """Give a run or a learner the priority N; higher goes first."""
    _act(start, "prioritize", target, run_name, priority)


@click.command(context_settings={"ignore_unknown_options": True})
@click.argument("pool")
@click.argument("jobs", metavar="N", type=int)
@opening
def scale(start: Opening, pool: str, jobs: int) -> None:
    """Let POOL have N jobs at most; jobs that hold learners are drained, never cut off."""
    with start.fabric() as fabric:
        changed = fabric.pool(pool, jobs=jobs)
    note(f"pool {changed.name}: at most {changed.jobs} jobs")


def _act(start: Opening, verb: Verb, word: str, run_name: str | None, priority: int | None = None) -> None:
    from adaptive_fabric.submitting import check_priority

    from .targets import Job, Learner, find_target

    if priority is not None:
        check_priority(priority)
    with start.fabric() as fabric:
        target = find_target(fabric, word, run_name)
        if isinstance(target, Job):
            _ask_job(fabric, verb, target.id)
            return
        if isinstance(target, Learner):
            changed = _act_on_learner(fabric, verb, target.id, priority)
        else:
            changed = target.act(verb, priority=priority)
    note(f"{changed} {'learner' if changed == 1 else 'learners'} {_SAID[verb]}")


def _act_on_learner(fabric: Fabric, verb: Verb, learner: str, priority: int | None) -> int:
    from adaptive_fabric.asking import asking
    from adaptive_fabric.runs import act_on_learners

    with asking(fabric.broker.redis):
        return act_on_learners(fabric.broker, verb, [learner], priority=priority)


def _ask_job(fabric: Fabric, verb: Verb, job: str) -> None:
    from adaptive_fabric.asking import asking
    from fabric_broker.intents import ask_job

    if verb != "cancel":
        raise UsageError(f"{job} is a job; {verb} is for runs and learners")
    with asking(fabric.broker.redis):
        answer = fabric.broker.do(ask_job(job, "cancelled by a user"))
    note(f"job {job} had ended" if answer == "ended" else f"job {job} was asked to go")

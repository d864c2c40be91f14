"""What the adapters of SLURM and PBS share: how a script is submitted, how answers are asked for, how ids are paged."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final

from fabric_broker.errors import SchedulerError
from fabric_broker.home import Home
from fabric_broker.survey import Wish
from fabric_submitter.scripts import render, write

from .commands import CommandError, Said, ask
from .scheduler import AnswerLostError, Listing, RefusedError, Request

SUBMIT_S: Final = 45.0
ASK_S: Final = 30.0


def submit_script(home: Home, request: Request, command: Callable[[str], Sequence[str]]) -> Said:
    """Write the job script and run ``command(path)``.

    Raises
    ------
    RefusedError
        Nothing was submitted: the script cannot be written, or there is no such command.
    AnswerLostError
        It did not answer in time, and may have submitted.
    """
    script = home.job_script(request.intent)
    try:
        write(script, render(home, request))
    except OSError as error:
        raise RefusedError(f"cannot write {script}: {error.strerror}") from error
    try:
        return ask(command(str(script)), within=SUBMIT_S)
    except CommandError as error:
        if isinstance(error.__cause__, OSError):
            raise RefusedError(str(error)) from error
        raise AnswerLostError(str(error)) from error


def ids_of(request: Request, plain: str, place: Callable[[int], str]) -> dict[str, str]:
    """The scheduler ids of a request's jobs: ``plain`` of a single one, ``place(n)`` of those of an array."""
    if len(request.jobs) == 1:
        return {request.jobs[0]: plain}
    return {job: place(number) for number, job in enumerate(request.jobs)}


def good(command: Sequence[str]) -> Said:
    """Run a command that has to succeed; SchedulerError with its words if it does not."""
    said = ask(command, within=ASK_S)
    if said.code != 0:
        raise SchedulerError(said.words)
    return said


def by_wish(
    jobs: Sequence[tuple[str, str, Wish]], listing: Callable[[], Listing]
) -> Mapping[Wish, Sequence[str]]:
    """Scheduler ids by what is wished for them; ids that are not known are looked up, and left out if not found."""
    seen = {} if all(its_id for _, its_id, _ in jobs) else listing().jobs
    found: dict[Wish, list[str]] = {"drain": [], "cancel": []}
    for job, its_id, wish in jobs:
        its_id = its_id or (seen[job].scheduler_id if job in seen else "")
        if its_id:
            found[wish].append(its_id)
    return found


def pages(ids: Sequence[str], most: int) -> Iterator[Sequence[str]]:
    """The ids in order, at most so many at a time: a command line has a limit."""
    for start in range(0, len(ids), most):
        yield ids[start : start + most]

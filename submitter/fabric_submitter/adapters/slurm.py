"""SLURM: arrays by one sbatch, one squeue for all jobs, scancel for many at once.

A job is recognised by the intent's id in its name and by its place in the array; its scheduler id is
``<array>_<place>`` or the plain id. Seen with 22.05: an array's base id is also the real id of one task,
`squeue --json` collapses pending arrays, scancel of an unknown id exits 0, too long a walltime pends for ever.
"""

from __future__ import annotations

import os
import re
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Final, Literal

from fabric_broker.config import Config
from fabric_broker.durations import text
from fabric_broker.errors import SchedulerError, UsageError
from fabric_broker.home import Home
from fabric_broker.survey import Wish, job_id
from fabric_submitter.batch import Slurm, megabytes
from fabric_submitter.spec import Spec

from .cluster import ASK_S, by_wish, good, ids_of, pages, submit_script
from .commands import CommandError, Said, ask
from .scheduler import (
    NODE_FAILED,
    PREEMPTED,
    WALLTIME_OVER,
    AnswerLostError,
    BusyError,
    Listing,
    RefusedError,
    Request,
    Seen,
)

IDS_PER_CANCEL: Final = 500

# Free text last. A foreign job's name can hold bars, but cannot begin like ours in our column.
_FORMAT: Final = "%F|%K|%T|%N|%j|%r"
_LINE: Final = re.compile(r"(\d+)\|(\d+|N/A)\|([A-Z_]+)\|[^|]*\|fab-(i[a-z2-7]{1,63})\|(.*)")
_ANSWER: Final = re.compile(r"(\d+)(?:;\S+)?\s*")

_RUNNING: Final = ("RUNNING", "SUSPENDED", "STOPPED", "SIGNALING", "RESIZING", "STAGE_OUT")
_ENDS: Final = {
    "COMPLETED": "it ended",
    "CANCELLED": "it was cancelled in SLURM",
    "FAILED": "it failed",
    "OUT_OF_MEMORY": "it used more memory than it asked for",
    "DEADLINE": "its deadline passed",
    "REVOKED": "another cluster has it",
    "TIMEOUT": WALLTIME_OVER,
    "PREEMPTED": PREEMPTED,
    "NODE_FAIL": NODE_FAILED,
    "BOOT_FAIL": NODE_FAILED,
}
_WAIT: Final = re.compile(
    r"MaxSubmit|MaxJobs|MaxJobCount|job submit limit|temporarily unable|Job limit|per-user|try again",
    re.IGNORECASE,
)
_UNKNOWN: Final = re.compile(
    r"Unable to contact|timed out|Socket|Connection|Unexpected message|Zero Bytes|backup controller",
    re.IGNORECASE,
)


class SlurmScheduler:
    """Submits, lists and cancels jobs of one home in the SLURM of this machine."""

    answer_within = 60.0
    host = ""

    def __init__(self, home: Home) -> None:
        self._home = home
        self.poll_interval = Config.load(home, os.environ).poll_interval
        self._most: int | None = None

    @property
    def jobs_per_submit(self) -> int:
        """The longest array that this SLURM takes; see `Scheduler.jobs_per_submit`."""
        if self._most is None:
            try:
                config = ask(["scontrol", "show", "config"], within=ASK_S).out
            except CommandError:
                return 1  # it is asked again
            found = re.search(r"^MaxArraySize\s*=\s*(\d+)", config, re.MULTILINE)
            if found is None:
                return 1
            self._most = max(1, int(found[1]) - 1)
        return self._most

    def check(self, spec: Spec) -> None:
        """Compare with what scontrol says of the partitions; see `Scheduler.check`."""
        assert isinstance(spec, Slurm)
        if shutil.which("sbatch") is None:
            raise UsageError(
                "there is no sbatch on PATH: a slurm pool is kept alive from a login node of its cluster"
            )
        try:
            partitions = _partitions(good(["scontrol", "show", "partition", "--oneliner"]).out)
            nodes = list(_records(good(["scontrol", "show", "node", "--oneliner"]).out))
        except SchedulerError:
            return  # it does not answer now; the jobs will have to wait for it anyway
        names = _asked_partitions(spec, partitions)
        for name in names:
            _check_partition(spec, partitions[name], nodes)
        if not names and partitions:
            _check_any_partition(spec, partitions, nodes)

    def submit(self, request: Request) -> Mapping[str, str]:
        """Submit an array, or a plain job if it is one; see `Scheduler.submit`."""
        said = submit_script(self._home, request, lambda script: ["sbatch", "--parsable", script])
        found = _ANSWER.fullmatch(said.out)
        if said.code != 0 or found is None:
            raise _refusal(said)
        return ids_of(request, found[1], lambda place: f"{found[1]}_{place}")

    def list(self) -> Listing:
        """Ask squeue for all of this user's jobs, ended ones too; see `Scheduler.list`."""
        began = time.monotonic()
        try:
            said = ask(["squeue", "--me", "-h", "-r", "-t", "all", "-o", _FORMAT], within=ASK_S)
        except CommandError:
            return Listing(began, good=False)
        return Listing(
            began,
            good=said.code == 0 and not said.err,
            jobs=read_listing(said.out),
            sure_of_none=bool(said.out.strip()),
        )

    def has_none(self) -> bool:
        """Ask scontrol, which says so where there is none; see `Scheduler.has_none`."""
        try:
            told = good(["scontrol", "show", "job", "--oneliner"]).out
        except SchedulerError:
            return False
        if told.strip() == "No jobs in the system":
            return True
        records = [record for record in _records(told) if "JobId" in record and "UserId" in record]
        me = f"({os.getuid()})"
        return bool(records) and not any(
            record["UserId"].endswith(me) and record.get("JobName", "").startswith("fab-i")
            for record in records
        )

    def cancel(self, jobs: Sequence[tuple[str, str, Wish]]) -> None:
        """Have batch shells told to drain, and others cancelled; see `Scheduler.cancel`."""
        wished = by_wish(jobs, self.list)
        # A job that was requeued has nothing to drain while it waits.
        for ids in pages(wished["drain"], IDS_PER_CANCEL):
            _scancel(["--state=RUNNING", "--batch", "--signal=USR1", *ids])
            _scancel(["--state=PENDING", *ids])
        for ids in pages(wished["cancel"], IDS_PER_CANCEL):
            _scancel(ids)


def read_listing(output: str) -> dict[str, Seen]:
    """Return our jobs of squeue's answer, by job id; of two copies the one that lives."""
    jobs: dict[str, Seen] = {}
    for line in output.splitlines():
        found = _LINE.fullmatch(line)
        if not found:
            continue
        base, place, state, intent, reason = found.groups()
        array = place != "N/A"
        job = job_id(intent, int(place) if array else 0)
        seen = _seen(f"{base}_{place}" if array else base, state, reason.strip())
        if job not in jobs or jobs[job].state == "ended":
            jobs[job] = seen
    return jobs


def _seen(its_id: str, state: str, reason: str) -> Seen:
    if state in _ENDS:
        why = _ENDS[state]
        return Seen(its_id, "ended", why if reason in ("", "None") else f"{why}: {reason}")
    kinds: dict[str, Literal["running", "ending"]] = {
        **dict.fromkeys(_RUNNING, "running"),
        "COMPLETING": "running",
    }
    # Whatever else there is (CONFIGURING, REQUEUED, SPECIAL_EXIT, states of later versions) is on its way.
    return Seen(its_id, kinds.get(state, "pending"), "" if reason == "None" else reason)


def _refusal(said: Said) -> SchedulerError:
    if _UNKNOWN.search(said.err) or said.code == 0 or said.killed:
        return AnswerLostError(said.words)
    if _WAIT.search(said.err):
        return BusyError(said.words)
    return RefusedError(said.words)


def _scancel(arguments: Sequence[str]) -> None:
    said = ask(["scancel", "--quiet", *arguments], within=ASK_S)
    if said.code != 0 and _UNKNOWN.search(said.err):
        raise SchedulerError(said.words)  # others mean that a job is gone


# -- what a partition allows ---------------------------------------------------------------------------------

_Record = Mapping[str, str]


def _records(output: str) -> Iterator[_Record]:
    """The records of `scontrol show … --oneliner`: names and values without blanks."""
    for line in output.splitlines():
        yield dict(part.split("=", 1) for part in line.split() if "=" in part)


def _partitions(output: str) -> dict[str, _Record]:
    return {record["PartitionName"]: record for record in _records(output) if "PartitionName" in record}


def _asked_partitions(spec: Slurm, partitions: Mapping[str, _Record]) -> list[str]:
    names = spec.partition.split(",") if spec.partition else []
    unknown = [name for name in names if name not in partitions]
    if unknown:
        raise UsageError(
            f"partition={spec.partition!r}: SLURM has no partition {unknown[0]!r}; "
            f"it has {', '.join(sorted(partitions))}"
        )
    return names


def _check_any_partition(
    spec: Slurm, partitions: Mapping[str, _Record], nodes: Sequence[Mapping[str, str]]
) -> None:
    """Check a job that names no partition: it gets the default one, or one that a directive or a plug-in chooses."""
    refusals = {}
    for name, partition in partitions.items():
        try:
            _check_partition(spec, partition, nodes)
        except UsageError as error:
            refusals[name] = error
        else:
            return
    default = next((name for name in partitions if partitions[name].get("Default") == "YES"), "")
    raise refusals.get(default) or next(iter(refusals.values()))


def _check_partition(spec: Slurm, partition: _Record, nodes: Sequence[Mapping[str, str]]) -> None:
    name = partition["PartitionName"]
    most = slurm_seconds(partition.get("MaxTime", ""))
    if most is not None and spec.walltime_s is not None and spec.walltime_s > most:
        raise UsageError(f"walltime={text(spec.walltime_s)}: partition {name!r} allows at most {text(most)}")
    limit = partition.get("MaxNodes", "UNLIMITED")
    if limit.isdigit() and spec.nodes > int(limit):
        raise UsageError(f"nodes={spec.nodes}: partition {name!r} allows at most {limit}")
    members = [node for node in nodes if name in node.get("Partitions", "").split(",")]
    if not members:
        return
    if spec.nodes > len(members):
        raise UsageError(f"nodes={spec.nodes}: partition {name!r} has {len(members)}")
    cores = max(int(node.get("CPUTot", "0")) for node in members)
    if 0 < cores < spec.cores_per_node:
        raise UsageError(
            f"a job needs {spec.cores_per_node} cores on each node (cores × slots): "
            f"no node of partition {name!r} has more than {cores}"
        )
    memory = max(int(node.get("RealMemory", "0")) for node in members)
    if spec.memory and 1 < memory < megabytes(spec.memory):
        raise UsageError(f"memory={spec.memory}: no node of partition {name!r} has more than {memory}MB")


def slurm_seconds(limit: str) -> float | None:
    """Return a time limit as SLURM prints it, ``[D-]HH:MM:SS``, in seconds; None: there is none."""
    found = re.fullmatch(r"(?:(\d+)-)?(\d+):(\d\d):(\d\d)", limit)
    if found is None:
        return None
    days, hours, minutes, seconds = (int(part or 0) for part in found.groups())
    return float(((days * 24 + hours) * 60 + minutes) * 60 + seconds)

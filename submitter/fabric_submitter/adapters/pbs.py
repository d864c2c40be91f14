"""PBS: arrays by one qsub, one qstat for all jobs, qdel and qsig for many at once.

Jobs are submitted as a program with arguments: `qsig -s SIGUSR1` kills the shell of a script that PBS itself holds.
They are not rerun by PBS, which does not tell a job how often it was: the submitter replaces them. Seen with OpenPBS
23.06: a query with ids may answer only the first, an empty answer has no "Jobs", finished jobs show only with history.
"""

from __future__ import annotations

import getpass
import json
import os
import re
import shlex
import shutil
import time
from collections.abc import Mapping, Sequence
from typing import Any, Final

from fabric_broker.config import Config
from fabric_broker.durations import seconds, text
from fabric_broker.errors import SchedulerError, UsageError
from fabric_broker.home import Home
from fabric_broker.survey import Wish, job_id
from fabric_submitter.batch import PBS, megabytes
from fabric_submitter.scripts import job_name
from fabric_submitter.spec import Spec

from .cluster import ASK_S, by_wish, good, ids_of, pages, submit_script
from .commands import Said, ask
from .scheduler import (
    NODE_FAILED,
    WALLTIME_OVER,
    AnswerLostError,
    BusyError,
    Listing,
    RefusedError,
    Request,
    Seen,
)

IDS_PER_CALL: Final = 200

_NAME: Final = re.compile(r"fab-(i[a-z2-7]{1,63})")
_ID: Final = re.compile(r"(\d+)(\[(\d*)\])?(\..+)?")
_DOWN: Final = re.compile(
    r"Connection refused|cannot connect|Couldn't connect|timed out|errno=15010", re.IGNORECASE
)
_WAIT: Final = re.compile(r"would exceed|Maximum number of jobs|per-user", re.IGNORECASE)
_PENDING, _ENDED = ("Q", "H", "W", "T", "M"), ("F", "X")
_EXITS: Final = {
    -29: WALLTIME_OVER,
    -20: NODE_FAILED,
    271: "it was deleted in PBS",
    265: "it was deleted in PBS",
}


class PBSScheduler:
    """Submits, lists and cancels jobs of one home in the PBS of this machine."""

    answer_within = 60.0
    host = ""

    def __init__(self, home: Home) -> None:
        self._home = home
        self.poll_interval = Config.load(home, os.environ).poll_interval
        self._server: Mapping[str, Any] | None = None

    @property
    def jobs_per_submit(self) -> int:
        """The longest array that this PBS takes; see `Scheduler.jobs_per_submit`."""
        try:
            return max(1, int(self._told().get("max_array_size", 1)))
        except ValueError:
            return 1

    def _told(self) -> Mapping[str, Any]:
        """What the server says of itself; asked until it answers."""
        if self._server is None:
            try:
                servers = _records(good(["qstat", "-Bf", "-F", "json"]), "Server")
            except SchedulerError:
                return {}
            self._server = next(iter(servers.values()), {})
        return self._server

    def check(self, spec: Spec) -> None:
        """Compare with what qstat says of the queue and pbsnodes of the nodes; see `Scheduler.check`."""
        assert isinstance(spec, PBS)
        if shutil.which("qsub") is None:
            raise UsageError(
                "there is no qsub on PATH: a pbs pool is kept alive from a login node of its cluster"
            )
        try:
            queues = _records(good(["qstat", "-Qf", "-F", "json"]), "Queue")
            nodes = _records(good(["pbsnodes", "-av", "-F", "json"]), "nodes")
        except SchedulerError:
            return  # it does not answer now; the jobs will have to wait for it anyway
        name = spec.queue or str(self._told().get("default_queue", ""))
        if spec.queue and spec.queue not in queues:
            raise UsageError(
                f"queue={spec.queue!r}: PBS has no such queue; it has {', '.join(sorted(queues))}"
            )
        _check_limits(spec, name, queues.get(name, {}), nodes)

    def submit(self, request: Request) -> Mapping[str, str]:
        """Submit an array, or a plain job if it is one; see `Scheduler.submit`."""
        spec = request.spec
        assert isinstance(spec, PBS)
        said = submit_script(self._home, request, lambda script: submit_command(request, spec, script))
        found = _ID.fullmatch(said.out.strip())
        if said.code != 0 or found is None:
            raise _refusal(said)
        number, server = found[1], found[4] or ""
        return ids_of(request, f"{number}{server}", lambda place: f"{number}[{place}]{server}")

    def list(self) -> Listing:
        """Ask qstat for all jobs, finished ones too if it keeps them; see `Scheduler.list`."""
        began = time.monotonic()
        history = ["-x"] if str(self._told().get("job_history_enable")) == "True" else []
        try:
            jobs = _records(good(["qstat", *history, "-t", "-f", "-F", "json"]), "Jobs")
        except SchedulerError:
            return Listing(began, good=False)
        return Listing(began, good=True, jobs=read_listing(jobs), sure_of_none=bool(jobs))

    def has_none(self) -> bool:
        """Ask the server how many jobs it has; qselect where others' jobs are hidden; see `Scheduler.has_none`."""
        try:
            servers = _records(good(["qstat", "-Bf", "-F", "json"]), "Server")
            server = next(iter(servers.values()), {})
            if server.get("total_jobs") == 0:
                return True
            if str(server.get("query_other_jobs")) == "True":
                return False  # then the listing should have held them
            history = ["-x"] if str(server.get("job_history_enable")) == "True" else []
            return not good(["qselect", *history, "-u", getpass.getuser()]).out.strip()
        except SchedulerError:
            return False

    def cancel(self, jobs: Sequence[tuple[str, str, Wish]]) -> None:
        """Have running jobs told to drain, and others deleted; see `Scheduler.cancel`."""
        commands = {"drain": ["qsig", "-s", "SIGUSR1"], "cancel": ["qdel"]}
        for wish, its_ids in by_wish(jobs, self.list).items():
            command = commands[wish]
            for ids in pages(its_ids, IDS_PER_CALL):
                said = ask([*command, *ids], within=ASK_S)
                if said.code != 0 and _DOWN.search(said.err):
                    raise SchedulerError(said.words)  # others mean that a job is gone or does not run


def submit_command(request: Request, spec: PBS, script: str) -> list[str]:
    """Return the qsub that submits a script which is written already."""
    options = ["-N", job_name(request.intent), "-r", "n", "-o", "/dev/null", "-e", "/dev/null"]
    options += ["-l", f"select={selection(spec)}"]
    if spec.nodes > 1:
        options += ["-l", "place=scatter"]
    if spec.walltime_s is not None:
        options += ["-l", f"walltime={text(spec.walltime_s)}"]
    for option, value in (("-q", spec.queue), ("-A", spec.account)):
        options += [option, value] if value else []
    if len(request.jobs) > 1:
        options += ["-J", f"0-{len(request.jobs) - 1}"]
    raw = [word for directive in spec.directives for word in shlex.split(directive)]
    return ["qsub", *options, *raw, "--", "/bin/sh", script]


def selection(spec: PBS) -> str:
    """Return the chunks of a job, as `-l select=` takes them."""
    if spec.select:
        return spec.select
    memory = f":mem={spec.memory.lower()}" if spec.memory else ""
    # The node file names a node so often: that is where an mpiexec puts its ranks.
    ranks = f":mpiprocs={spec.cores_per_node}" if spec.executor == "mpi4py" else ""
    return f"{spec.nodes}:ncpus={spec.cores_per_node}{ranks}{memory}"


def read_listing(records: Mapping[str, Mapping[str, Any]]) -> dict[str, Seen]:
    """Return our jobs of qstat's answer, by job id; of two copies the one that lives."""
    jobs: dict[str, Seen] = {}
    for its_id, record in records.items():
        name, found = _NAME.fullmatch(str(record.get("Job_Name", ""))), _ID.fullmatch(its_id)
        if name is None or found is None or found[3] == "":
            continue  # somebody else's, or an array as a whole
        job = job_id(name[1], int(found[3] or 0))
        if job not in jobs or jobs[job].state == "ended":
            jobs[job] = _seen(its_id, record)
    return jobs


def _seen(its_id: str, record: Mapping[str, Any]) -> Seen:
    state, comment = str(record.get("job_state", "")), str(record.get("comment", ""))
    if state in _ENDED:
        code = record.get("Exit_status", 0)
        return Seen(
            its_id, "ended", _EXITS.get(code, "it ended" if code == 0 else f"it failed (status {code})")
        )
    return Seen(its_id, "pending" if state in _PENDING else "running", comment if state in _PENDING else "")


def _refusal(said: Said) -> SchedulerError:
    if _DOWN.search(said.err) or said.code == 0 or said.killed:
        return AnswerLostError(said.words)
    return BusyError(said.words) if _WAIT.search(said.err) else RefusedError(said.words)


def _records(said: Said, kind: str) -> dict[str, Mapping[str, Any]]:
    """The records of one kind in a JSON answer; SchedulerError unless it is one."""
    try:
        answer = json.loads(said.out)
    except ValueError as error:
        raise SchedulerError(f"an answer that is no JSON: {said.out[:100]!r}") from error
    records = answer.get(kind, {}) if isinstance(answer, dict) else None
    if not isinstance(records, dict) or not all(isinstance(record, dict) for record in records.values()):
        raise SchedulerError(f"an answer without {kind}: {said.out[:100]!r}")
    return records


def _check_limits(
    spec: PBS, name: str, queue: Mapping[str, Any], nodes: Mapping[str, Mapping[str, Any]]
) -> None:
    most = queue.get("resources_max", {})
    if (
        spec.walltime_s is not None
        and "walltime" in most
        and spec.walltime_s > seconds(str(most["walltime"]))
    ):
        raise UsageError(
            f"walltime={text(spec.walltime_s)}: queue {name!r} allows at most {most['walltime']}"
        )
    if spec.select:
        return
    if str(most.get("ncpus", "")).isdigit() and spec.cores_per_node * spec.nodes > int(most["ncpus"]):
        raise UsageError(
            f"a job needs {spec.cores_per_node * spec.nodes} cores: queue {name!r} allows at most {most['ncpus']}"
        )
    has = [node.get("resources_available", {}) for node in nodes.values()]
    cores = max((int(each.get("ncpus", 0)) for each in has), default=0)
    if 0 < cores < spec.cores_per_node:
        raise UsageError(
            f"a job needs {spec.cores_per_node} cores on each node (cores × slots): no node has more than {cores}"
        )
    memory = max((_megabytes(str(each.get("mem", ""))) for each in has), default=0)
    if spec.memory and 0 < memory < megabytes(spec.memory):
        raise UsageError(f"memory={spec.memory}: no node has more than {memory}MB")


def _megabytes(memory: str) -> int:
    return megabytes(memory) if re.fullmatch(r"[1-9]\d*[kmgt]b", memory, re.IGNORECASE) else 0

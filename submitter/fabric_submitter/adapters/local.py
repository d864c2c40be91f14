"""Jobs on this machine: each a session of its own under a keeper (templates/local.sh.j2).

A job outlives whoever started it. It is recognised by what its processes carry in their environment, so nothing is
lost with the submitter's memory; its scheduler id is the keeper's pid and start time.
"""

from __future__ import annotations

import errno
import os
import secrets
import signal
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from fabric_broker.home import Home
from fabric_broker.lock import ProcessId
from fabric_broker.survey import Wish
from fabric_submitter.processes import JobProcess, job_processes
from fabric_submitter.scripts import render, write
from fabric_submitter.specs import Spec

from .commands import without_password
from .scheduler import BusyError, Listing, RefusedError, Request, Seen

_SHELL: Final = "/bin/sh"
_LATER: Final = (errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE)
# Ignored signals stay ignored across exec, and a shell cannot trap what it found ignored.
_DEFAULT_SIGNALS: Final = (
    signal.SIGHUP,
    signal.SIGINT,
    signal.SIGTERM,
    signal.SIGQUIT,
    signal.SIGUSR1,
    signal.SIGUSR2,
    signal.SIGCHLD,
    signal.SIGPIPE,
    signal.SIGXFSZ,
)


class LocalScheduler:
    """Starts, finds and ends jobs of one home on this host."""

    poll_interval = 0.5
    jobs_per_submit = 1
    answer_within = 10.0

    def __init__(self, home: Home) -> None:
        self._home = home
        self.host = os.uname().nodename

    def check(self, spec: Spec) -> None:
        """Have nothing to compare it with; see `Scheduler.check`."""

    def submit(self, request: Request) -> Mapping[str, str]:
        """Start the job's keeper; see `Scheduler.submit`."""
        (job,) = request.jobs
        script = self._home.job_script(request.intent)
        try:
            write(script, render(self._home, request))
            log = os.open(self._home.job_log(job), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
            try:
                keeper = self._start(script, job, log)
            finally:
                os.close(log)
        except OSError as error:
            if error.errno in _LATER:
                raise BusyError(f"this machine cannot start a process now: {error.strerror}") from error
            raise RefusedError(f"cannot start {script}: {error.strerror}") from error
        return {job: keeper}

    def _start(self, script: Path, job: str, log: int) -> str:
        silence = os.open(os.devnull, os.O_RDONLY)
        try:
            pid = os.posix_spawn(
                _SHELL,
                [_SHELL, str(script)],
                environment(os.environ, self._home, job),
                file_actions=[
                    (os.POSIX_SPAWN_DUP2, silence, 0),
                    (os.POSIX_SPAWN_DUP2, log, 1),
                    (os.POSIX_SPAWN_DUP2, log, 2),
                ],
                setsid=True,
                setsigmask=(),
                setsigdef=_DEFAULT_SIGNALS,
            )
        finally:
            os.close(silence)
        keeper = ProcessId.of(pid)
        # One that is dead already has still been started; nothing will be found under this id.
        return scheduler_id(keeper or ProcessId(pid, 0))

    def list(self) -> Listing:
        """Look through the processes of this host; see `Scheduler.list`."""
        began = time.monotonic()
        jobs: dict[str, Seen] = {}
        for each in job_processes(self._home):
            if each.keeps:
                jobs[each.job] = Seen(scheduler_id(each.process), "running")
            elif each.job not in jobs:
                jobs[each.job] = Seen("", "ending", "its keeper is gone")
        return Listing(began, good=True, jobs=jobs, proof=True, host=self.host)

    def has_none(self) -> bool:
        """Look for processes again; see `Scheduler.has_none`."""
        return not self.list().jobs

    def cancel(self, jobs: Sequence[tuple[str, str, Wish]]) -> None:
        """Ask keepers to end their jobs; see `Scheduler.cancel`.

        A keeper is known by its id or, where that is not recorded, by its job. What one left behind when it was
        killed is killed as well, unless it still drains.
        """
        found: dict[str, list[JobProcess]] = {}
        for each in job_processes(self._home):
            found.setdefault(each.job, []).append(each)
        for job, its_id, wish in jobs:
            processes = found.get(job, [])
            kept = [each for each in processes if each.keeps]
            for each in [each for each in kept if scheduler_id(each.process) == its_id] or kept:
                each.process.send(signal.SIGTERM)
            if not kept and wish == "cancel":
                for each in processes:
                    each.process.send(signal.SIGKILL)


def keepers(home: Home) -> list[JobProcess]:
    """Return the keepers of all local jobs of a home on this host."""
    return [each for each in job_processes(home) if each.keeps]


def scheduler_id(keeper: ProcessId) -> str:
    """Return the id under which a local job is recorded."""
    return f"{keeper.pid}@{keeper.start}"


def environment(env: Mapping[str, str], home: Home, job: str) -> dict[str, str]:
    """Return the environment of a job's keeper, made from the caller's: no password, nothing of RQ's."""
    kept = {name: value for name, value in env.items() if not name.startswith("RQ_")}
    if "FABRIC_URL" in kept:
        # The agent finds the password in a file; a process's environment is read by too many.
        kept["FABRIC_URL"] = without_password(kept["FABRIC_URL"])
    return kept | {
        "FABRIC_HOME": str(home.path),
        "FABRIC_JOB": job,
        "FABRIC_JOB_TAG": secrets.token_hex(8),
    }

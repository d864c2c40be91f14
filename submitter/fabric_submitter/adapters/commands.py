"""Running a scheduler's commands: each in time, with an environment that holds no secret and changes no output."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from fabric_broker.connection import Server
from fabric_broker.errors import SchedulerError, UsageError

_SETTINGS: Final = ("SLURM_CONF", "PBS_CONF_FILE", "PBS_SERVER", "PBS_DEFAULT", "PBS_EXEC", "PBS_HOME")
# What a job or a user's habits put there would reach the new job, or change what the commands print.
_FOREIGN: Final = (
    *("RQ_", "FABRIC_JOB", "FABRIC_WALLTIME_END", "PMI_", "PMIX_"),
    *("SLURM", "SBATCH_", "SQUEUE_", "SCANCEL_", "SINFO_", "PBS_"),
)


class CommandError(SchedulerError):
    """The command is missing or did not answer in time; whether it did anything is unknown."""


@dataclass(frozen=True, slots=True)
class Said:
    """What a command answered."""

    code: int
    out: str
    err: str

    @property
    def killed(self) -> bool:
        """Whether a signal ended it: what it had done by then is unknown."""
        return self.code < 0

    @property
    def words(self) -> str:
        """Its complaint in one line, without the command's own name before it."""
        lines = [line.strip() for line in (self.err or self.out).splitlines() if line.strip()]
        return " / ".join(lines) or (
            f"killed by signal {-self.code}" if self.killed else f"exit code {self.code}"
        )


def ask(command: Sequence[str], *, within: float) -> Said:
    """Run a command to its end.

    Raises
    ------
    CommandError
        There is no such command, or it took longer than ``within`` seconds.
    """
    try:
        done = subprocess.run(
            list(command),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=within,
            check=False,
            env=environment(os.environ),
        )
    except subprocess.TimeoutExpired as error:
        raise CommandError(f"{command[0]} did not answer within {within:g} s") from error
    except OSError as error:
        raise CommandError(f"cannot run {command[0]}: {error.strerror}") from error
    return Said(done.returncode, done.stdout, done.stderr)


def environment(env: Mapping[str, str]) -> dict[str, str]:
    """Return the environment for a scheduler's commands, which jobs inherit: our settings, no password."""
    kept = {name: value for name, value in env.items() if name in _SETTINGS or not name.startswith(_FOREIGN)}
    if "FABRIC_URL" in kept:
        kept["FABRIC_URL"] = without_password(kept["FABRIC_URL"])
    return kept


def settings(env: Mapping[str, str]) -> dict[str, str]:
    """Return the fabric's own settings in an environment, for jobs that inherit none."""
    return {name: value for name, value in environment(env).items() if name.startswith("FABRIC_")}


def without_password(url: str) -> str:
    """Return a server's address as others may see it; "" if it is none."""
    try:
        return Server.parse(url).url
    except UsageError:
        return ""

"""What a job's environment says of it: which agent this is, on which node, for how long."""

from __future__ import annotations

import os
import secrets
import socket
from collections.abc import Mapping

from .telling import Identity


def identity(job: str, env: Mapping[str, str]) -> Identity:
    """Which agent this is. SLURM starts a requeued job again under its old id, and counts."""
    return Identity(
        job=job,
        nonce=secrets.token_hex(8),
        restart=_number(env, "SLURM_RESTART_COUNT") or 0,
        # All of a test cluster's nodes have one host name.
        node=env.get("SLURMD_NODENAME") or socket.gethostname(),
        pid=os.getpid(),
        scheduler_id=_scheduler_id(env),
        walltime_end=_number(env, "SLURM_JOB_END_TIME") or _number(env, "FABRIC_WALLTIME_END"),
    )


def _scheduler_id(env: Mapping[str, str]) -> str | None:
    """The job's id as the submitter knows it: a task of an array by the array's id and its place."""
    if "SLURM_ARRAY_JOB_ID" in env:
        return f"{env['SLURM_ARRAY_JOB_ID']}_{env.get('SLURM_ARRAY_TASK_ID', '0')}"
    return env.get("SLURM_JOB_ID") or env.get("PBS_JOBID")


def _number(env: Mapping[str, str], name: str) -> int | None:
    value = env.get(name, "")
    return int(value) if value.isascii() and value.isdigit() else None

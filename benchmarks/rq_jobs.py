"""The same short learners as jobs of RQ: its default worker, `adaptive` imported before it forks."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import adaptive
import redis
from adaptive.runner import simple
from rq import Queue
from rq.job import Job, JobStatus

from benchmarks.functions import learners

QUEUE = "learners"
TIMEOUT = 300  # s
# Neither the worker's start is measured nor `import adaptive` in each forked job: what is left is what RQ does for one.
WORKER = "import sys, benchmarks.rq_jobs, rq.cli; sys.argv[0] = 'rq'; rq.cli.main()"


def run(learner: adaptive.Learner1D, points: int) -> dict[Any, Any]:
    """The job: run one learner to its goal and hand its data back."""
    simple(learner, npoints_goal=points)
    return dict(learner.data)


def measure(url: str, count: int, points: int) -> float:
    """Learners per second that one `rq worker` ends, from the start of the first to the end of the last."""
    with redis.Redis.from_url(url, socket_timeout=TIMEOUT) as connection:
        queue = Queue(QUEUE, connection=connection)
        queue.empty()
        jobs = [queue.enqueue(run, learner, points) for learner in learners(count)]
        # The password goes through the environment: an argument would show in the process table.
        subprocess.run(
            [sys.executable, "-c", WORKER, "worker", "--burst", "--quiet", QUEUE],
            check=True,
            timeout=TIMEOUT,
            env={**os.environ, "RQ_REDIS_URL": url},
        )
        began, ended = zip(*(_times(job) for job in jobs), strict=True)
        for job in jobs:
            job.delete()
    return count / (max(ended) - min(began))


def _times(job: Job) -> tuple[float, float]:
    job.refresh()
    if job.get_status(refresh=False) != JobStatus.FINISHED or not (job.started_at and job.ended_at):
        raise RuntimeError(f"RQ job {job.id} ended as {job.get_status(refresh=False)}")
    return job.started_at.timestamp(), job.ended_at.timestamp()

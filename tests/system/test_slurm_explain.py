"""Why is this not running, with a real SLURM's reasons; and replacements that wait before a walltime ends."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from tests.system import test_slurm
from tests.system.batch import OnSlurm, most_at_a_time
from tests.system.processes import wait_for

from adaptive_fabric.explaining import Explained, explain_job, explain_learner, explain_pool
from fabric_broker import reads
from fabric_broker.records import JobRecord

pytestmark = [pytest.mark.needs("slurm"), pytest.mark.timeout(400)]

on_slurm = test_slurm.on_slurm


def until(code: str, says: str, explain: Callable[[], Explained]) -> str:
    """The text of the reason with this code, once it says so."""

    def text() -> str:
        texts = (reason.text for reason in explain().because if reason.code == code)
        return next((text for text in texts if says in text), "")

    return wait_for(text, f"a reason {code} that says {says!r}")


def test_what_slurm_will_never_start_is_told_with_its_reason(on_slurm: OnSlurm) -> None:
    # SLURM accepts it, and lets it wait for ever.
    run = on_slurm.start(
        learners=2, points=3, seconds=0.01, jobs=1, walltime=600, directives=["--partition=short"]
    )
    # At the submit it says PartitionConfig; its scheduler looks at the reason later.
    why = "1 job waits in slurm: PartitionTimeLimit"
    until("never-starts", why, lambda: explain_learner(on_slurm.fabric, f"{run.id}.1"))
    (job,) = on_slurm.fabric.jobs()
    assert job.state == "pending"
    until("never-starts", "PartitionTimeLimit", lambda: explain_job(on_slurm.fabric, job.id))
    until("at-limit", "limit of 1 job", lambda: explain_pool(on_slurm.fabric, "batch"))
    run.cancel()


@pytest.mark.long
def test_with_an_overlap_the_replacement_runs_before_the_walltime_ends(on_slurm: OnSlurm) -> None:
    with most_at_a_time(on_slurm.living) as most:
        # SLURM's clock ticks every 30 s: it may ask a job to end so much earlier than it was told to.
        run = on_slurm.start(
            learners=1, points=80, seconds=0.5, jobs=1, walltime=60, overlap=50, idle_timeout=60
        )

        def both() -> list[JobRecord]:
            """The first job, which works, and another one that runs as well."""
            jobs = on_slurm.fabric.jobs()
            if len(jobs) < 2 or not jobs[0].learners:
                return []
            return [job for job in jobs[:2] if job.state == "running"] if jobs[1].state == "running" else []

        first, second = wait_for(both, "a replacement that runs while the first job works")
        assert first.walltime_end is not None
        assert second.walltime_end is not None
        assert reads.now(on_slurm.fabric.broker) < first.walltime_end < second.walltime_end
        on_slurm.done(run)
        assert most() == 2
        assert on_slurm.log.evaluated_again() == []

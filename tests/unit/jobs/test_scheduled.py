"""What an agent reads from its job's environment."""

from fabric_jobs.scheduled import identity


def test_a_task_of_an_array_that_was_requeued():
    me = identity(
        "iabc.3",
        {
            "SLURM_RESTART_COUNT": "2",
            "SLURMD_NODENAME": "n7",
            "SLURM_JOB_ID": "15",
            "SLURM_ARRAY_JOB_ID": "12",
            "SLURM_ARRAY_TASK_ID": "3",
            "FABRIC_WALLTIME_END": "1800000000",
        },
    )
    assert (me.restart, me.node, me.scheduler_id, me.walltime_end) == (2, "n7", "12_3", 1_800_000_000)


def test_a_plain_job_of_slurm_and_one_of_no_scheduler():
    me = identity("iabc.0", {"SLURM_JOB_ID": "15", "SLURM_JOB_END_TIME": "5", "FABRIC_WALLTIME_END": "9"})
    assert (me.restart, me.scheduler_id, me.walltime_end) == (0, "15", 5)
    me = identity("iabc.0", {})
    assert (me.restart, me.scheduler_id, me.walltime_end) == (0, None, None)
    assert me.nonce != identity("iabc.0", {}).nonce

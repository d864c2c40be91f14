"""What squeue, sbatch and scontrol print, crooked lines too."""

import pytest

from fabric_broker.errors import SchedulerError
from fabric_submitter.adapters.commands import Said, environment
from fabric_submitter.adapters.scheduler import AnswerLostError, BusyError, RefusedError
from fabric_submitter.adapters.slurm import _refusal, read_listing, slurm_seconds

SQUEUE = """\
12|0|RUNNING|n1|fab-iabcdefghij|None
12|1|PENDING||fab-iabcdefghij|QOSMaxJobs|PerUser limit
13|N/A|PENDING||fab-ikkkkkkkkkk|PartitionTimeLimit
14|N/A|RUNNING|n2|somebody|s else's|fab-izzzzzzzzzz|None
15|N/A|RUNNING|n2|fab-|None
16|N/A|NODE_FAIL|n2|fab-ibbbbbbbbbb|None
17|N/A|FAILED|n2|fab-icccccccccc|NonZeroExitCode
18|N/A|WEIRD|n2|fab-idddddddddd|None

garbage
"""


def test_our_jobs_are_found_among_others():
    seen = {job: (each.scheduler_id, each.state, each.reason) for job, each in read_listing(SQUEUE).items()}
    assert seen == {
        "iabcdefghij.0": ("12_0", "running", ""),
        "iabcdefghij.1": ("12_1", "pending", "QOSMaxJobs|PerUser limit"),
        "ikkkkkkkkkk.0": ("13", "pending", "PartitionTimeLimit"),
        "ibbbbbbbbbb.0": ("16", "ended", "its node failed"),
        "icccccccccc.0": ("17", "ended", "it failed: NonZeroExitCode"),
        "idddddddddd.0": ("18", "pending", ""),
    }


def test_of_two_submits_of_an_intent_the_living_one_is_seen():
    lines = ["12|N/A|CANCELLED||fab-iabcdefghij|None", "13|N/A|RUNNING|n1|fab-iabcdefghij|None"]
    for order in (lines, lines[::-1]):
        assert read_listing("\n".join(order))["iabcdefghij.0"].scheduler_id == "13"


FAILED = "sbatch: error: Batch job submission failed: "


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        (
            "sbatch: error: QOSMaxSubmitJobPerUserLimit\n" + FAILED + "Job violates accounting/QOS policy",
            BusyError,
        ),
        (FAILED + "Unable to contact slurm controller (connect failure)", AnswerLostError),
        (FAILED + "Socket timed out on send/recv operation", AnswerLostError),
        (FAILED + "Requested node configuration is not available", RefusedError),
    ],
)
def test_a_limit_means_wait_and_silence_means_unknown(text, kind):
    error: SchedulerError = _refusal(Said(1, "", text))
    assert type(error) is kind
    assert "\n" not in str(error)


def test_an_sbatch_that_succeeds_without_an_id_has_lost_its_answer():
    assert type(_refusal(Said(0, "hello", ""))) is AnswerLostError


def test_an_sbatch_that_was_killed_may_have_submitted():
    error = _refusal(Said(-9, "", ""))
    assert type(error) is AnswerLostError
    assert str(error) == "killed by signal 9"


def test_time_limits_in_all_their_forms():
    assert [slurm_seconds(text) for text in ("00:01:00", "1-02:00:00", "UNLIMITED", "")] == [
        60,
        93600,
        None,
        None,
    ]


def test_commands_get_the_users_environment_without_secrets_and_what_changes_their_output():
    env = {
        "PATH": "/bin",
        "SLURM_CONF": "/c",
        "SLURM_JOB_ID": "1",
        "SQUEUE_FORMAT": "%i",
        "SBATCH_ACCOUNT": "x",
        "FABRIC_JOB": "i.0",
        "FABRIC_JOB_TAG": "t",
        "FABRIC_NAME": "mine",
        "FABRIC_URL": "redis://:secret@h:1",
        "RQ_JOB_ID": "q",
    }
    assert environment(env) == {
        "PATH": "/bin",
        "SLURM_CONF": "/c",
        "FABRIC_NAME": "mine",
        "FABRIC_URL": "redis://h:1",
    }

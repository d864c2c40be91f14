"""What the reasons that schedulers really give mean; those that never resolve are told from those that pass."""

import pytest

from adaptive_fabric.scheduler_words import meaning

NEVER = (
    "PartitionTimeLimit",
    "QOSMaxWallDurationPerJobLimit",
    "QOSMaxCpuPerJobLimit",
    "PartitionNodeLimit",
    "PartitionConfig",
    "BadConstraints",
    "InvalidAccount",
    "JobHeldUser",
    "JobHeldAdmin",
    "launch failed requeued held",
    "DependencyNeverSatisfied",
    "Can Never Run: Insufficient amount of resource: ncpus (R: 100 A: 8 T: 8)",
)
PASSES = (
    "Priority",
    "Resources",
    "QOSMaxJobsPerUserLimit",
    "AssocGrpCpuLimit",
    "BeginTime",
    "Dependency",
    "ReqNodeNotAvail, UnavailableNodes:n1",
    "Licenses",
    "Not Running: Insufficient amount of resource: ncpus",
    "Not Running: User has reached server running job limit.",
)


@pytest.mark.parametrize("reason", NEVER)
def test_what_never_resolves_says_so_and_what_to_do(reason):
    assert meaning(reason).never
    assert meaning(reason).fix


@pytest.mark.parametrize("reason", PASSES)
def test_what_passes_by_itself_is_worth_waiting_for(reason):
    assert not meaning(reason).never
    assert meaning(reason).text


def test_nothing_is_claimed_about_a_reason_that_is_not_known():
    assert (meaning("Whim").never, meaning("Whim").text) == (False, "")
    assert "no reason" in meaning("").text

"""One spec per learner, as a list or as a function; what is neither is refused before anything is asked of a server."""

import adaptive
import pytest

from adaptive_fabric import Local, Slurm, UsageError
from adaptive_fabric.resources import learner_specs

LEARNERS = [adaptive.Learner1D(abs, (-1, bound)) for bound in (1, 2, 3)]
THREE = [Local(), Local(cores=2), Slurm(cores=2)]


def test_a_spec_per_learner_may_come_from_a_list_an_iterator_or_a_function():
    assert learner_specs(THREE, LEARNERS, None) == THREE
    assert learner_specs(iter(THREE), LEARNERS, None) == THREE
    by_bound = learner_specs(lambda learner: Local(cores=int(learner.bounds[1])), LEARNERS, None)
    assert by_bound is not None
    assert [spec.cores for spec in by_bound] == [1, 2, 3]


def test_without_resources_all_go_to_one_pool():
    assert learner_specs(None, LEARNERS, "p") is None


@pytest.mark.parametrize(
    ("resources", "says"),
    [
        (THREE[:2], "2 specs for 3 learners"),
        ([*THREE, Local()], "4 specs for 3 learners"),
        ([], "0 specs for 3 learners"),
        ([Local(), "big", Local()], "learner 1: str is no spec"),
        (lambda _: None, "learner 0: NoneType is no spec"),
        (lambda learner: learner.nothing, "learner 0: AttributeError"),
        (lambda _: Local(cores=0), "cores=0"),
        (Local(), "one spec"),
        (Local, "learner 0"),
        (3, "resources is a int"),
        ({"cores": 2}, "learner 0: str is no spec"),
    ],
)
def test_what_is_not_one_spec_per_learner_is_refused(resources, says):
    with pytest.raises(UsageError, match=says):
        learner_specs(resources, LEARNERS, None)


def test_pool_and_resources_together_are_refused():
    with pytest.raises(UsageError, match="pool='p' and resources"):
        learner_specs(THREE, LEARNERS, "p")

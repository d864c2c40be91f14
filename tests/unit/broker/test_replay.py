"""What a learner knows after checkpoint and journal is what it was told, for every class of adaptive."""

import gzip
import pickle
from pathlib import Path
from typing import Any

import adaptive
import cloudpickle
import numpy as np
import pytest

from fabric_broker.errors import BrokerError
from fabric_broker.replay import FRAME, POINT, kept_points, points, replay, set_data, take_memo


def square(x):
    return x**2


def hard(x):
    return abs(x - 1.234) ** 0.5


def both(xy):
    return xy[0] + 2 * xy[1]


def noisy(seed):
    return (seed * 7 % 13) / 13


def noisy_line(seed_x):
    seed, x = seed_x
    return x + (seed * 7 % 13) / 130


def as_dict(x):
    return {"y": x**2, "extra": "é"}


def pick(result):
    return result["y"]


def savers_children():
    return [adaptive.Learner1D(as_dict, bounds) for bounds in ((-1, 1), (-2, 2))]


MAKERS = {
    "Learner1D": lambda: adaptive.Learner1D(square, (-1, 1)),
    "Learner2D": lambda: adaptive.Learner2D(both, [(-1, 1), (-1, 1)]),
    "LearnerND": lambda: adaptive.LearnerND(both, [(-1, 1), (-1, 1)]),
    "AverageLearner": lambda: adaptive.AverageLearner(noisy, atol=0.001),
    "AverageLearner1D": lambda: adaptive.AverageLearner1D(noisy_line, (-1, 1), min_samples=5, max_samples=20),
    "SequenceLearner": lambda: adaptive.SequenceLearner(square, list(range(100))),
    "BalancingLearner": lambda: adaptive.BalancingLearner(
        [adaptive.Learner1D(square, (-1, 1)), adaptive.Learner1D(square, (-2, 2))]
    ),
    "DataSaver": lambda: adaptive.DataSaver(adaptive.Learner1D(as_dict, (-1, 1)), arg_picker=pick),
    "DataSaver of BalancingLearner": lambda: adaptive.DataSaver(
        adaptive.BalancingLearner(savers_children()), arg_picker=pick
    ),
    "BalancingLearner of DataSaver": lambda: adaptive.BalancingLearner(
        [adaptive.DataSaver(child, arg_picker=pick) for child in savers_children()]
    ),
    "IntegratorLearner": lambda: adaptive.IntegratorLearner(hard, (0, 3), tol=1e-10),
}


def run(learner: Any, n: int) -> Any:
    told = []
    for _ in range(n):
        (point,), _ = learner.ask(1)
        value = learner.function(point)
        learner.tell(point, value)
        told.append((point, value))
    return told


def file_of(learner: Any) -> bytes:
    return gzip.compress(cloudpickle.dumps(learner._get_data()))


def data_of(learner: Any) -> Any:
    if isinstance(learner, adaptive.AverageLearner1D):
        return learner._data_samples, learner._number_samples
    return dict(learner.data)


@pytest.mark.parametrize("kind", MAKERS)
def test_checkpoint_and_journal_are_the_data(kind):
    original = MAKERS[kind]()
    run(original, 20)
    blob = file_of(original)
    later = run(original, 20)

    restored = MAKERS[kind]()
    set_data(restored, blob)
    memo = replay(restored, later)
    take_memo(restored, memo)

    assert not memo.entries
    assert data_of(restored) == data_of(original)
    assert restored.npoints == original.npoints


@pytest.mark.parametrize("kind", MAKERS)
def test_a_checkpoint_over_data_that_were_there_counts_nothing_twice(kind):
    original = MAKERS[kind]()
    run(original, 20)

    set_data(original, file_of(original))

    again = MAKERS[kind]()
    set_data(again, file_of(original))
    assert data_of(again) == data_of(original)
    assert original.npoints == again.npoints


def test_an_integrator_learner_takes_points_out_of_order_from_the_memo():
    original = MAKERS["IntegratorLearner"]()
    told = run(original, 60)

    restored = MAKERS["IntegratorLearner"]()
    memo = replay(restored, reversed(told))
    assert memo.entries, "all points in the first interval: the test tests nothing"

    take_memo(restored, memo)
    assert not memo.entries
    assert restored.data == original.data


def test_a_refused_point_that_cannot_be_hashed_is_kept():
    class Picky:
        def tell(self, point, value):
            raise ValueError(f"{point} is outside")

    memo = replay(Picky(), [({"a": [1]}, 5)])
    assert memo.take({"a": [1]}) == 5


def test_points_that_were_asked_but_have_no_value_are_asked_again():
    original = MAKERS["IntegratorLearner"]()
    told = run(original, 60)
    missing = told.pop(40)

    restored = MAKERS["IntegratorLearner"]()
    take_memo(restored, replay(restored, told))

    asked = [restored.ask(1)[0][0] for _ in range(100)]
    assert missing[0] in asked


def test_data_with_a_value_of_another_shape_are_taken_one_by_one():
    """adaptive makes one array of all values when there are many, which these do not fit in."""

    def learner():
        return adaptive.Learner1D(square, (-1, 1))

    original = learner()
    for n, x in enumerate([-1, 1, 0, 0.5, -0.5]):
        original.tell(x, np.array([x, 1.0]) if n != 3 else np.ones((2, 3)))
    with pytest.raises(ValueError, match="shape"):
        learner()._set_data(original._get_data())

    restored = learner()
    set_data(restored, file_of(original))

    assert repr(dict(restored.data)) == repr(dict(original.data))
    assert restored.ask(3) == original.ask(3)


def frame(pair: Any) -> bytes:
    body = pickle.dumps(pair, 5)
    return FRAME.pack(len(body), POINT) + body


def test_a_batch_gives_its_points_back_in_order():
    pairs = [(0.5, 1.0), ((3, "ü"), None), ((0.1, 0.2), [1, 2])]

    assert list(points(b"".join(map(frame, pairs)))) == pairs


@pytest.mark.parametrize(
    "batch",
    [frame((1, 2))[:-1], frame((1, 2)) + b"\x01", FRAME.pack(0, 9)],
    ids=["torn point", "torn head", "not a point"],
)
def test_a_batch_of_anything_else_is_refused(batch):
    with pytest.raises(BrokerError):
        list(points(batch))


def test_points_kept_behind_the_data_are_read_and_do_not_disturb_plain_loading(tmp_path: Path) -> None:
    original = MAKERS["IntegratorLearner"]()
    told = run(original, 20)
    kept = [(0.123, 4.0)]
    blob = file_of(original) + gzip.compress(pickle.dumps(kept))
    (tmp_path / "file").write_bytes(blob)

    loaded = MAKERS["IntegratorLearner"]()
    loaded.load(tmp_path / "file")

    assert loaded.data == dict(told)
    assert kept_points(blob) == kept
    assert kept_points(file_of(original)) == []

"""Results: the newest valid checkpoint and the journal, in the submitter's own objects or in fresh ones."""

from __future__ import annotations

import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import adaptive
import pytest
from tests.integration.client.conftest import Agent

from adaptive_fabric import Fabric, NotFoundError, SignatureError
from adaptive_fabric.results import DataWarning
from fabric_broker.journal import pack, unpack


def square(x: float) -> float:
    return x**2


def hard(x: float) -> float:
    return float(abs(x - 1.234) ** 0.5)


def power(x: float, exponent: int, factor: float = 1.5) -> float:
    return factor * float(x**exponent)


def line() -> adaptive.Learner1D:
    return adaptive.Learner1D(lambda x: x**2, (-1, 1))


def pick(result: dict[str, float]) -> float:
    return result["y"]


def with_more(x: float) -> dict[str, Any]:
    return {"y": x**2, "more": "ä"}


def savers_children() -> list[adaptive.Learner1D]:
    return [adaptive.Learner1D(with_more, bounds) for bounds in ((-1, 1), (-2, 2))]


MAKERS: dict[str, Any] = {
    "Learner1D": lambda: adaptive.Learner1D(square, (-1, 1)),
    "Learner2D": lambda: adaptive.Learner2D(lambda xy: xy[0] + 2 * xy[1], [(-1, 1), (-1, 1)]),
    "LearnerND": lambda: adaptive.LearnerND(lambda xy: xy[0] + 2 * xy[1], [(-1, 1), (-1, 1)]),
    "AverageLearner": lambda: adaptive.AverageLearner(lambda seed: seed * 7 % 13, atol=0.001),
    "AverageLearner1D": lambda: adaptive.AverageLearner1D(
        lambda seed_x: seed_x[1] + seed_x[0] * 7 % 13, (-1, 1), min_samples=5, max_samples=20
    ),
    "SequenceLearner": lambda: adaptive.SequenceLearner(square, list(range(100))),
    "BalancingLearner": lambda: adaptive.BalancingLearner([line(), line()]),
    "DataSaver": lambda: adaptive.DataSaver(
        adaptive.Learner1D(lambda x: {"y": x**2, "more": "ä"}, (-1, 1)), arg_picker=pick
    ),
    "DataSaver of BalancingLearner": lambda: adaptive.DataSaver(
        adaptive.BalancingLearner(savers_children()), arg_picker=pick
    ),
    "BalancingLearner of DataSaver": lambda: adaptive.BalancingLearner(
        [adaptive.DataSaver(child, arg_picker=pick) for child in savers_children()]
    ),
    "IntegratorLearner": lambda: adaptive.IntegratorLearner(hard, (0, 3), tol=1e-10),
}


def data_of(learner: Any) -> Any:
    if isinstance(learner, adaptive.AverageLearner1D):
        return learner._data_samples, learner._number_samples
    if isinstance(learner, adaptive.DataSaver):
        return dict(learner.data), dict(learner.extra_data)
    return dict(learner.data)


@pytest.mark.parametrize("kind", MAKERS)
def test_data_are_checkpoint_and_journal_at_every_moment(fabric: Fabric, agent: Agent, kind: str) -> None:
    own = MAKERS[kind]()
    function = own.function
    run = fabric.submit([own], goal=10**6)
    elsewhere = fabric.run(run.id)
    learner_id, theirs = agent.lease()

    for step in ("journal", "save", "journal", "journal", "save", "save", "journal"):
        if step == "journal":
            agent.evaluate(learner_id, theirs, 17)
        else:
            agent.save(learner_id, theirs)
        (loaded,) = run.load()
        assert loaded is own
        assert data_of(own) == data_of(theirs)
        assert own.npoints == theirs.npoints
        assert data_of(elsewhere.load()[0]) == data_of(theirs)
    if "BalancingLearner" not in kind:  # its function is made anew each time one asks for it
        assert own.function is function, "the submitter's function was replaced"


def test_children_of_the_submitters_learners_are_filled_too(fabric: Fabric, agent: Agent) -> None:
    child = line()
    own = adaptive.BalancingLearner([child, line()])
    run = fabric.submit([own], goal=10**6)
    learner_id, theirs = agent.lease()
    agent.evaluate(learner_id, theirs, 20)

    run.load()

    assert child.data == theirs.learners[0].data
    assert own.ask(1)


def test_data_that_a_learner_had_when_it_was_submitted_stay(fabric: Fabric, agent: Agent) -> None:
    own = line()
    own.tell(0.123, 4.0)
    run = fabric.submit([own], goal=10**6)
    learner_id, theirs = agent.lease()
    agent.evaluate(learner_id, theirs, 5)
    agent.save(learner_id, theirs)

    assert run.load()[0].data == theirs.data
    assert own.data[0.123] == 4.0


def test_a_done_learner_comes_from_its_last_checkpoint(fabric: Fabric, agent: Agent) -> None:
    run = fabric.submit([line()], goal=10)
    learner_id, theirs = agent.lease()
    agent.evaluate(learner_id, theirs, 10)
    agent.save(learner_id, theirs)
    agent.complete(learner_id, theirs)

    assert run.status().state == "done"
    assert run.load()[0].data == theirs.data


def damage(path: Path, how: str) -> None:
    if how == "truncated":
        path.write_bytes(path.read_bytes()[:-10])
    elif how == "another's":
        path.write_bytes(b"cos\nsystem\n(S'false'\ntR.")
    else:
        path.unlink()


@pytest.mark.parametrize("how", ["truncated", "another's", "gone"])
def test_a_damaged_newest_checkpoint_costs_nothing(fabric: Fabric, agent: Agent, how: str) -> None:
    run = fabric.submit([line()], goal=10**6)
    learner_id, theirs = agent.lease()
    for _ in range(2):
        agent.evaluate(learner_id, theirs, 10)
        path = agent.save(learner_id, theirs)
    agent.evaluate(learner_id, theirs, 10)
    damage(fabric.store.path(path), how)

    with pytest.warns(DataWarning, match=f"{learner_id}: checkpoint .* cannot be used"):
        (loaded,) = run.load()

    assert loaded.data == theirs.data


def test_when_no_checkpoint_is_whole_the_missing_points_are_told(fabric: Fabric, agent: Agent) -> None:
    run = fabric.submit([line()], goal=10**6)
    learner_id, theirs = agent.lease()
    for _ in range(2):
        agent.evaluate(learner_id, theirs, 10)
        damage(fabric.store.path(agent.save(learner_id, theirs)), "gone")

    with pytest.warns(DataWarning) as caught:
        run.load()

    assert any("points 1 to 20 are in no checkpoint" in str(each.message) for each in caught)


def test_a_journal_that_somebody_else_wrote_is_refused_and_not_unpickled(
    fabric: Fabric, agent: Agent, tmp_path: Path
) -> None:
    run = fabric.submit([line()], goal=10**6)
    learner_id, theirs = agent.lease()
    agent.evaluate(learner_id, theirs, 3)
    redis, key = fabric.broker.redis, fabric.broker.keys.journal(learner_id)
    batch = unpack(redis.lindex(key, 0))
    marker = tmp_path / "unpickled"
    evil = b"cbuiltins\nopen\n(S'" + str(marker).encode() + b"'\nS'w'\ntR."
    forged = batch.blob[:36] + len(evil).to_bytes(4, "little") + b"\x01" + evil
    redis.lset(key, 0, pack(type(batch)(batch.token, 1, 3, forged)))

    with pytest.raises(SignatureError, match=f"journal of {learner_id}"):
        run.load()

    assert not marker.exists()


def test_a_learner_that_somebody_else_wrote_is_refused(fabric: Fabric) -> None:
    run = fabric.submit([line()], goal=3)
    fabric.broker.redis.set(fabric.broker.keys.payload(f"{run.id}.0"), b"FAB1" + b"x" * 100)

    with pytest.raises(SignatureError, match=f"learner of {run.id}.0"):
        run.load()


def test_saved_files_are_read_by_plain_load(fabric: Fabric, agent: Agent, tmp_path: Path) -> None:
    names = ["a=1/b=2", "../ä b"]
    run = fabric.submit([line(), line()], names=names, goal=10**6)
    learner_id, theirs = agent.lease()
    agent.evaluate(learner_id, theirs, 9)

    paths = run.save(tmp_path / "out")

    assert paths[0] == tmp_path / "out" / "a=1/b=2"
    assert paths[1].parent == tmp_path / "out"
    fresh = line()
    fresh.load(paths[0])
    assert fresh.data == theirs.data


def test_the_children_of_a_balancing_learner_have_a_file_each(
    fabric: Fabric, agent: Agent, tmp_path: Path
) -> None:
    def balancing() -> adaptive.BalancingLearner:
        return adaptive.BalancingLearner([line(), line()])

    run = fabric.submit(
        [balancing(), line(), balancing()], names=["a/1", "b", ["c/x=1", "c/x=2"]], goal=10**6
    )
    filled = []
    for n in (8, 5, 9):
        learner_id, theirs = agent.lease()
        agent.evaluate(learner_id, theirs, n)
        filled.append(theirs)
    out = tmp_path / "out"

    paths = fabric.run(run.id).save(out)

    assert [str(path.relative_to(out)) for path in paths] == ["a/1/0", "a/1/1", "b", "c/x=1", "c/x=2"]
    fresh = [balancing(), balancing()]
    fresh[0].load(paths[:2])
    fresh[1].load([out / "c/x=1", out / "c/x=2"])
    assert [each.data for each in fresh] == [filled[0].data, filled[2].data]
    assert [record.name for record in run.learners()] == ["a/1", "b", "c/x=1 +1"]
    assert run.load()[2].data == filled[2].data


@pytest.mark.parametrize("kind", MAKERS)
def test_every_class_is_read_by_plain_load(fabric: Fabric, agent: Agent, tmp_path: Path, kind: str) -> None:
    run = fabric.submit([MAKERS[kind]()], goal=10**6)
    learner_id, theirs = agent.lease()
    agent.evaluate(learner_id, theirs, 20)
    agent.save(learner_id, theirs)

    paths = run.save(tmp_path)

    fresh = MAKERS[kind]()
    fresh.load(paths if isinstance(fresh, adaptive.BalancingLearner) else paths[0])
    assert data_of(fresh) == data_of(theirs)


def test_the_table_has_a_column_for_each_parameter_of_a_partial(fabric: Fabric, agent: Agent) -> None:
    learners = [adaptive.Learner1D(partial(power, exponent=n), (-1, 1)) for n in (2, 3)]
    children = [adaptive.Learner1D(partial(power, exponent=n), (-1, 1)) for n in (4, 5)]
    run = fabric.submit([*learners, adaptive.BalancingLearner(children)], goal=10**6)
    for n in (4, 6, 8):
        learner_id, theirs = agent.lease()
        agent.evaluate(learner_id, theirs, n)

    for table in (run.to_dataframe(), fabric.run(run.id).to_dataframe()):
        assert {"function.exponent", "function.factor", "learner", "x", "y"} <= set(table.columns)
        assert set(
            zip(table["learner"], table["function.exponent"], table["function.factor"], strict=True)
        ) == {
            ("0", 2, 1.5),
            ("1", 3, 1.5),
            ("2", 4, 1.5),
            ("2", 5, 1.5),
        }
        assert all(row.y == 1.5 * row.x ** row["function.exponent"] for _, row in table.iterrows())


def test_a_table_has_a_row_for_each_point_and_the_learners_name(fabric: Fabric, agent: Agent) -> None:
    run = fabric.submit([line(), line()], names=["a/1", "b/2"], goal=10**6)
    for n in (4, 6):
        learner_id, theirs = agent.lease()
        agent.evaluate(learner_id, theirs, n)

    table = run.to_dataframe()

    assert list(table.columns) == ["x", "y", "learner"]
    assert table["learner"].value_counts().to_dict() == {"a/1": 4, "b/2": 6}


@pytest.mark.long
def test_results_are_read_from_another_folder_than_the_scripts(
    fabric: Fabric, agent: Agent, tmp_path: Path
) -> None:
    (tmp_path / "beside_the_script.py").write_text("def f(x):\n    return 2 * x\n")
    script = (
        "import sys, adaptive, beside_the_script\n"
        "from adaptive_fabric.fabric import Fabric\n"
        "from fabric_broker.config import Config\n"
        "from fabric_broker.home import Home\n"
        "fabric = Fabric.open(Home(sys.argv[1]), Config(), url=sys.argv[2])\n"
        "fabric.submit([adaptive.Learner1D(beside_the_script.f, (-1, 1))], name='there', goal=9)\n"
    )
    (tmp_path / "script.py").write_text(script)
    subprocess.run(
        [sys.executable, tmp_path / "script.py", fabric.home.path, fabric.server.url], check=True, timeout=60
    )

    (learner,) = fabric.run("there").load()

    assert learner.function(2) == 4
    assert str(tmp_path) not in sys.path


def test_a_run_that_is_not_there_is_not_found(fabric: Fabric) -> None:
    with pytest.raises(NotFoundError, match="no run 'gone'"):
        fabric.run("gone")

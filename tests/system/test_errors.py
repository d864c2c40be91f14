"""Functions that raise, and functions that kill their process."""

from __future__ import annotations

from pathlib import Path

import adaptive
import pytest
from tests.system.conftest import Scene, quick
from tests.system.processes import PATIENCE

from fabric_broker import reads


@pytest.mark.long
def test_a_function_that_raises_fails_after_its_attempts_and_can_be_retried(
    scene: Scene, tmp_path: Path
) -> None:
    fixed, calls = tmp_path / "fixed", str(tmp_path / "calls")

    def picky(x: int) -> int:
        from pathlib import Path

        with open(calls, "a") as log:
            log.write(f"{x}\n")
        if x == 5 and not Path(fixed).exists():
            raise ValueError(f"cannot do {x}")
        return x

    scene.fabric.pool("local", quick(), jobs=1)
    run = scene.fabric.submit(
        [adaptive.SequenceLearner(picky, range(10)), adaptive.SequenceLearner(lambda x: x, range(10))],
        names=["picky", "easy"],
        attempts=3,
        backoff=0.1,
    )
    status = run.wait(timeout=PATIENCE)
    assert status.state == "failed"
    assert status.counts == {"done": 1, "failed": 1}
    picky_record, easy = run.learners()
    assert (picky_record.state, picky_record.attempts, easy.state, easy.attempts) == ("failed", 3, "done", 0)
    assert picky_record.error == "ValueError: cannot do 5"
    problem = reads.learner_problem(run.broker, picky_record.id)
    assert problem is not None
    assert "raise ValueError" in problem["traceback"]
    assert "5" in problem["point"]
    assert problem["node"]

    fixed.touch()
    assert run.retry() == 1
    assert run.wait(timeout=PATIENCE).state == "done"
    assert [dict(learner.data) for learner in run.load()] == [{i: i for i in range(10)}] * 2
    evaluated = [int(line) for line in Path(calls).read_text().split()]
    assert sorted(set(evaluated)) == list(range(10))
    assert all(evaluated.count(x) == 1 for x in range(5)), "retry goes on from the learner's data"
    assert evaluated.count(5) == 4


@pytest.mark.long
@pytest.mark.parametrize("way", ["SIGSEGV", "SIGKILL"])
def test_a_function_that_kills_its_process_is_quarantined_with_the_signal(scene: Scene, way: str) -> None:
    def deadly(x: float) -> float:
        import os
        import signal

        print("about to die")
        os.kill(os.getpid(), getattr(signal, way))
        return x

    scene.fabric.pool("local", quick(), jobs=1)
    run = scene.fabric.submit(
        [adaptive.Learner1D(deadly, (0, 1)), adaptive.SequenceLearner(lambda x: x, range(3))],
        names=["deadly", "fine"],
        goal=lambda learner: learner.npoints >= 3,
    )
    status = run.wait(timeout=PATIENCE)
    assert status.counts == {"done": 1, "quarantined": 1}
    deadly_record = run.learners()[0]
    problem = reads.learner_problem(run.broker, deadly_record.id)
    assert problem is not None
    assert problem["signal"] == way
    assert problem["node"]
    assert any("about to die" in line for line in problem["log"])
    assert way in (deadly_record.error or "")

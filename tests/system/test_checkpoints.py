"""A checkpoint file that is not what was committed."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.system.conftest import Scene
from tests.system.processes import wait_for

from fabric_broker import events, reads


@pytest.mark.long
@pytest.mark.parametrize("damage", ["flipped", "truncated", "gone"])
def test_a_damaged_newest_checkpoint_costs_no_point(scene: Scene, damage: str) -> None:
    run = scene.submit(learners=1, points=200, jobs=1, save_interval=0.3)
    key = run.broker.keys.learner(f"{run.id}.0")
    wait_for(lambda: run.broker.redis.hget(key, "previous"), "a second checkpoint")
    run.pause()
    wait_for(lambda: run.status().counts == {"paused": 1}, "the pause")
    pointer = run.learners()[0].checkpoint
    assert pointer is not None
    newest = scene.home.store / run.id / f"{run.id}.0" / pointer
    before = run.broker.redis.hget(key, "previous").decode()
    whole = newest.read_bytes()
    if damage == "gone":
        newest.unlink()
    else:
        newest.write_bytes(
            whole[: len(whole) // 2]
            if damage == "truncated"
            else whole[:-20] + bytes(b ^ 1 for b in whole[-20:])
        )
    run.resume()
    scene.done_once(run)
    assert scene.log.evaluated_again() == []
    scene.all_points_are_there(run)
    jobs = [record.id for record in reads.job_records(run.broker)]
    warnings = [
        line.text
        for line in events.read_log(run.broker, jobs, learner=f"{run.id}.0")
        if pointer in line.text and before in line.text
    ]
    assert warnings, "one warning names the file that is set aside and the one that is used"
    if damage != "gone":
        assert [path for path in Path(newest.parent).iterdir() if path.name.startswith(pointer)], (
            "it is kept aside"
        )


@pytest.mark.long
def test_the_files_of_a_learner_do_not_pile_up(scene: Scene) -> None:
    run = scene.submit(learners=1, points=200, jobs=1, save_interval=0.2)
    scene.done_once(run)
    folder = scene.home.store / run.id / f"{run.id}.0"
    wait_for(lambda: len(list(folder.iterdir())) <= 2, "the end of older checkpoints")

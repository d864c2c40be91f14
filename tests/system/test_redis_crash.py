"""Redis is killed in the middle: jobs compute on and send again what is missing."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from tests.system.conftest import Scene
from tests.system.processes import wait_for

from fabric_broker.config import Config
from fabric_broker.server import EmbeddedServer


def server_pid(scene: Scene) -> int:
    return int(scene.fabric.broker.redis.info("server")["process_id"])


def last_part_of_the_aof(scene: Scene) -> Path:
    folder = scene.home.run_dir()
    # Redis 7 writes parts into a folder, 6.2 one file.
    parts = [*folder.glob("appendonlydir/*.incr.aof"), *folder.glob("appendonly.aof")]
    return max(parts, key=lambda part: part.stat().st_mtime)


@pytest.mark.long
@pytest.mark.parametrize(
    "lost",
    [0, 20_000],
    ids=["nothing lost", "the last bytes of the log lost"],
)
def test_redis_killed_and_restarted_in_the_middle(scene: Scene, lost: int) -> None:
    run = scene.submit(points=150, gated=True)
    scene.busy_jobs(run)
    tokens = {record.id: record.token for record in run.learners() if record.state == "leased"}
    evaluated = len(scene.log)
    os.kill(server_pid(scene), signal.SIGKILL)
    wait_for(lambda: len(scene.log) > evaluated + 20, "points that are found while Redis is away")
    if lost:
        log = last_part_of_the_aof(scene)
        os.truncate(log, max(log.stat().st_size - lost, log.stat().st_size // 2))
    EmbeddedServer(scene.home, Config.load(scene.home, os.environ)).up()
    scene.done_once(run)
    assert scene.log.evaluated_again() == [], "nobody evaluated a point that another job had"
    scene.all_points_are_there(run)
    for record in run.learners():
        assert record.token == tokens.get(record.id, record.token), "a lease moved although its holder lived"


@pytest.mark.long
def test_down_and_up_keep_runs_and_their_data(scene: Scene) -> None:
    from adaptive_fabric import Fabric
    from adaptive_fabric.running import down

    run = scene.submit(points=100, gated=True)
    scene.busy_jobs(run)
    down(scene.home, Config.load(scene.home, os.environ))
    with Fabric.connect(home=scene.home.path) as again:
        scene.fabric = again
        same = again.run(run.id)
        assert same.total == run.total
        scene.done_once(same)
        assert scene.log.evaluated_again() == []
        scene.all_points_are_there(same)

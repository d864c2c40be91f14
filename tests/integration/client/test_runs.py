"""A run can be looked at, waited for, and told what to do."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import adaptive
import pytest
from redis import Redis
from tests.integration.client.conftest import Agent
from tests.redis_process import RedisProcess

from adaptive_fabric import Fabric, HomeError, JobRecord, Local, NotFoundError, UnreachableError, UsageError
from fabric_broker import reads
from fabric_broker.config import Config
from fabric_broker.home import Home


def lines(n: int) -> list[Any]:
    return [adaptive.Learner1D(lambda x: x**2, (-1, 1)) for _ in range(n)]


def finish(agent: Agent) -> None:
    learner_id, learner = agent.lease()
    agent.evaluate(learner_id, learner, 5)
    agent.save(learner_id, learner)
    agent.complete(learner_id, learner)


def test_status_tells_counts_points_and_state(fabric: Fabric, agent: Agent) -> None:
    run = fabric.submit(lines(3), goal=5)
    finish(agent)
    agent.lease()

    status = run.status()

    assert status.counts == {"queued": 1, "leased": 1, "done": 1}
    assert status.state == "active"
    assert status.points == 5
    assert status.total == 3
    assert status.eta_s is not None
    assert status.ended is None


def test_wait_returns_when_all_have_ended_and_failed_ones_do_not_raise(fabric: Fabric, agent: Agent) -> None:
    run = fabric.submit(lines(2), goal=5, attempts=1)
    statuses: list[Any] = []
    waiter = threading.Thread(target=lambda: statuses.append(run.wait(60)))
    waiter.start()
    finish(agent)
    learner_id, _ = agent.lease()
    agent.fail(learner_id)
    waiter.join(60)

    assert statuses[0].state == "failed"
    assert statuses[0].counts == {"done": 1, "failed": 1}
    failed = run.learners()[1]
    assert failed.error == "ValueError: no luck"


def test_wait_times_out_with_how_many_are_open(fabric: Fabric) -> None:
    run = fabric.submit(lines(2), name="slow", goal=5)

    with pytest.raises(TimeoutError, match=r"'slow' did not end in 0.2 s: 2 of 2"):
        run.wait("0:00:00.2")


def test_wait_outlasts_a_restart_of_redis(private_redis: RedisProcess, home: Home) -> None:
    with Fabric.open(home, Config(), url=private_redis.url) as fabric:
        fabric.pool("local", Local())
        run = fabric.submit(lines(1), goal=5)
        statuses: list[Any] = []
        waiter = threading.Thread(target=lambda: statuses.append(run.wait(60)))
        waiter.start()
        private_redis.restart()
        run.cancel()
        waiter.join(60)

    assert statuses[0].state == "cancelled"


def test_a_server_that_is_gone_is_an_error_of_the_fabric(private_redis: RedisProcess, home: Home) -> None:
    with Fabric.open(home, Config(), url=private_redis.url) as fabric:
        fabric.pool("local", Local())
        run = fabric.submit(lines(1), goal=5)
        private_redis.kill()
        for call in (run.status, run.learners, run.load, run.cancel, fabric.runs, fabric.jobs):
            with pytest.raises(UnreachableError, match="cannot reach Redis"):
                call()
        private_redis.start()


def test_learners_are_cancelled_and_retried_by_name(fabric: Fabric) -> None:
    run = fabric.submit(lines(3), names=["a", "b/2", "c"], goal=5)

    assert run.cancel(["b/2"]) == 1
    assert run.cancel(["b/2"]) == 0
    assert [record.state for record in run.learners()] == ["queued", "cancelled", "queued"]
    assert run.retry(["b/2"]) == 1
    assert run.status().counts == {"queued": 3}


def test_a_whole_run_is_paused_resumed_cancelled_and_retried(fabric: Fabric) -> None:
    run = fabric.submit(lines(520), goal=5)

    assert run.pause() == 520
    assert run.status().state == "paused"
    assert run.resume() == 520
    assert run.status().state == "active"
    assert run.cancel() == 520
    assert run.wait(10).state == "cancelled"
    assert run.retry() == 520
    assert run.status().state == "active"


def test_a_name_that_is_not_there_changes_nothing(fabric: Fabric) -> None:
    run = fabric.submit(lines(2), names=["a", "b"], goal=5)

    with pytest.raises(NotFoundError, match="no learner named 'x'"):
        run.cancel(["a", "x"])

    assert run.status().counts == {"queued": 2}


def test_higher_priority_goes_first(fabric: Fabric, agent: Agent) -> None:
    fabric.submit(lines(1), name="first", goal=5)
    second = fabric.submit(lines(2), names=["a", "b"], name="second", goal=5)

    second.prioritize(3, ["b"])

    learner_id, _ = agent.lease()
    assert learner_id == f"{second.id}.1"
    with pytest.raises(UsageError, match="priority"):
        second.prioritize(10**7)


def test_runs_and_jobs_are_listed_and_found_by_name_and_id(fabric: Fabric, agent: Agent) -> None:
    one = fabric.submit(lines(1), goal=5)
    two = fabric.submit(lines(2), name="two", goal=5)

    assert [run.id for run in fabric.runs()] == [one.id, two.id]
    assert fabric.run("two").id == fabric.run(two.id).id == two.id
    assert fabric.run("two").total == 2
    assert one.name == one.id
    (job,) = fabric.jobs()
    assert isinstance(job, JobRecord)
    assert (job.id, job.state, job.pool) == (agent.job, "running", "local")


@pytest.mark.parametrize("change", ["spec", "jobs"])
def test_changing_a_pool_closes_its_circuit(fabric: Fabric, change: str) -> None:
    pool = fabric.pool("p", Local(), jobs=1)
    fabric.broker.redis.hset(
        fabric.broker.keys.pool("p"), mapping={"circuit": "the preamble failed", "deaths": 5}
    )
    if change == "spec":
        fabric.pool("p", Local(cores=2))
    else:
        fabric.pool(pool.name, jobs=2)
    (record,) = reads.pool_records(fabric.broker, ["p"])
    assert record.circuit is None


def test_pools_are_made_changed_scaled_and_found(fabric: Fabric) -> None:
    assert fabric.pool("fast", Local(slots=2)).jobs == 1
    assert fabric.pool("fast", Local(slots=3), jobs=4).spec.slots == 3
    assert fabric.pool("fast", jobs=0).jobs == 0
    assert fabric.pool("fast").spec == Local(slots=3)


@pytest.mark.parametrize(
    ("name", "spec", "jobs", "says"),
    [
        ("p", Local(), -1, "jobs=-1"),
        ("p", Local(), True, "jobs=True"),
        ("a b", Local(), 1, "pool name 'a b'"),
        ("p", {"cores": 1}, 1, "the spec is a dict"),
    ],
)
def test_a_pool_that_cannot_be_is_refused(fabric: Fabric, name: str, spec: Any, jobs: Any, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        fabric.pool(name, spec, jobs=jobs)
    with pytest.raises(NotFoundError):
        fabric.pool("p")


def test_a_lease_shorter_than_three_seconds_is_refused() -> None:
    with pytest.raises(UsageError, match="ttl"):
        Local(ttl=2)


def test_a_server_that_is_named_is_never_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UnreachableError, match="cannot reach Redis"):
        Fabric.connect("redis://127.0.0.1:1", home=tmp_path / "home")
    monkeypatch.setenv("FABRIC_URL", "redis://127.0.0.1:1")
    with pytest.raises(UnreachableError):
        Fabric.connect(home=tmp_path / "home")

    assert not (tmp_path / "home").exists()


def test_a_home_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(HomeError, match="cannot write the fabric's home"):
        Fabric.connect(home=tmp_path / "file" / "home")


def test_a_first_submission_over_a_url_makes_the_key(
    redis_process: RedisProcess, redis: Redis, tmp_path: Path
) -> None:
    with Fabric.connect(redis_process.url, home=tmp_path / "home") as fabric:
        fabric.submit(lines(1), goal=5)

    assert (tmp_path / "home" / "work.key").stat().st_mode & 0o777 == 0o600

"""The broker's calls for those who watch: complete, few, and without a trace in Redis."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest
import redis as redis_py
from tests.integration.tui.filled import NONCE, add_job, add_run, add_tasks, lease, small_fabric
from tests.redis_process import RedisProcess

from fabric_broker import calls, reads, watch
from fabric_broker.broker import Broker
from fabric_broker.connection import Server
from fabric_broker.control_plane import inspect_tasks
from fabric_broker.errors import BrokerError, SchemaError
from fabric_broker.view import decode
from fabric_tui.asking import Ask
from fabric_tui.live import LiveSource
from fabric_tui.updates import Names, Resync, Seen, Snapshot, Update


@pytest.fixture
def broker(redis: redis_py.Redis) -> Broker:
    return Broker(redis, "default")


def with_source(process: RedisProcess, script: Callable[[LiveSource], Awaitable[None]]) -> None:
    async def run() -> None:
        source = LiveSource(Server(process.url), "default")
        try:
            await script(source)
        finally:
            await source.close()

    asyncio.run(run())


def test_the_view_agrees_with_the_learners(broker: Broker) -> None:
    small_fabric(broker)
    packed = broker.redis.hgetall(broker.keys.view)
    views = {id.decode(): decode(id.decode(), record) for id, record in packed.items()}
    for record in reads.learner_records(broker, list(views)):
        view = views[record.id]
        assert (view.state, view.run, view.pool) == (record.state, record.run, record.pool)
        assert (view.npoints, view.loss, view.attempts) == (record.npoints, record.loss, record.attempts)
        assert (view.token, view.job, view.slot) == (record.token, record.job, record.slot)


def test_a_view_of_another_release_is_refused() -> None:
    with pytest.raises(BrokerError, match="which this release did not write"):
        decode("r1.0", b"leased r1 local")


def test_watch_tells_what_happened_since_and_whom_it_touched(broker: Broker) -> None:
    small_fabric(broker)
    before = broker.do(watch.watch(None, count=10))
    assert len(before.events) == 10
    assert before.events[-1].id == before.last
    broker.do(calls.act("cancel", ["rdemo.20", "rdemo.21"]))
    after = broker.do(watch.watch(before.last, count=1000, seen=["rdemo.0", "no such.1"]))
    assert [event.learner for event in after.events] == ["rdemo.20", "rdemo.21"]
    assert after.views["rdemo.20"] is not None
    assert after.views["rdemo.20"].state == "cancelled"
    assert set(after.views) == {"rdemo.20", "rdemo.21", "rdemo.0", "no such.1"}
    assert after.views["no such.1"] is None


def test_watch_reads_on_into_the_past(broker: Broker) -> None:
    small_fabric(broker)
    seen = broker.do(watch.watch(None, count=5))
    older = broker.do(watch.watch(seen.last, count=1000, before=seen.events[0].id)).older
    ids = [event.id for event in (*reversed(older), *seen.events)]
    assert ids == [id.decode() for id, _ in broker.redis.xrange(broker.keys.events)]


def test_the_board_agrees_with_the_other_reads(broker: Broker) -> None:
    small_fabric(broker)
    watched = broker.do(watch.watch(None, count=1))
    assert watched.board is not None
    assert {job.id: job for job in watched.board.job_records()} == {
        job.id: job for job in reads.job_records(broker)
    }
    assert watched.board.pool_records() == reads.pool_records(broker)
    counts = {run.id: run.counts for run in watched.board.run_statuses(watched.now)}
    assert counts == {run.id: run.counts for run in reads.run_statuses(broker, reads.run_ids(broker))}


def test_inspect_tells_all_of_one_learner(broker: Broker) -> None:
    small_fabric(broker)
    held = broker.do(watch.inspect("rdemo.9"))
    assert held.until is not None
    assert held.until > held.now
    assert held.run["goal"] == "loss <= 0.01"
    assert held.job["node"] == "n1"
    failed = broker.do(watch.inspect("rdemo.6"))
    assert failed.problem is not None
    assert "ValueError" in failed.problem
    queued = broker.do(watch.inspect("rdemo.18"))
    assert (queued.place, queued.until) == (1, None)
    assert broker.do(watch.inspect("no such.1")).fields == {}


def test_looking_writes_nothing(broker: Broker) -> None:
    small_fabric(broker)
    add_tasks(broker)
    before = broker.redis.info("persistence")["rdb_changes_since_last_save"]
    broker.do(watch.watch("0-0", count=100, seen=["rdemo.1"], before="9-0"))
    broker.do(watch.inspect("rdemo.9"))
    broker.do(inspect_tasks("default"))
    assert broker.redis.info("persistence")["rdb_changes_since_last_save"] == before


def test_a_tick_costs_three_commands_at_most_and_no_keys(broker: Broker, redis_process: RedisProcess) -> None:
    small_fabric(broker)
    sent: list[int] = []

    async def script(source: LiveSource) -> None:
        await source.snapshot()
        ask = Ask(
            seen=("rdemo.0",),
            learner="rdemo.9",
            log="i1.0",
            control=True,
            before="9-0",
            nameless=("rdemo.1",),
        )
        await source.tick(ask)  # loads the scripts
        for _ in range(3):
            broker.redis.config_resetstat()
            await source.tick(ask)
            stats = broker.redis.info("commandstats")
            assert "cmdstat_keys" not in stats
            assert "cmdstat_scan" not in stats
            sent.append(
                sum(
                    stats[f"cmdstat_{name}"]["calls"]
                    for name in ("evalsha", "mget")
                    if f"cmdstat_{name}" in stats
                )
            )

    with_source(redis_process, script)
    assert sent == [3, 3, 3]


def test_a_stream_that_was_trimmed_past_us_or_replaced_asks_for_a_snapshot(
    broker: Broker, redis_process: RedisProcess
) -> None:
    small_fabric(broker)

    async def script(source: LiveSource) -> None:
        await source.snapshot()
        assert await source.tick(Ask()) is not None
        broker.do(calls.act("cancel", ["rdemo.20", "rdemo.21"]))
        broker.redis.xtrim(broker.keys.events, maxlen=1, approximate=False)
        assert await source.tick(Ask()) is None
        (first, _) = await source.snapshot()
        assert isinstance(first, Snapshot)
        assert first.views["rdemo.20"].state == "cancelled"
        broker.redis.flushall()
        assert await source.tick(Ask()) is None

    with_source(redis_process, script)


def test_names_come_with_the_snapshot_and_a_resync_finds_who_is_gone(
    broker: Broker, redis_process: RedisProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    small_fabric(broker)

    async def script(source: LiveSource) -> None:
        _, names = await source.snapshot()
        assert isinstance(names, Names)
        assert names.names["rdemo.3"] == "sweep-3"
        broker.redis.hdel(broker.keys.view, "rdemo.3")
        monkeypatch.setattr("fabric_tui.live.RESYNC", 0.0)
        updates: list[Update] = await source.tick(Ask(learner="rdemo.9")) or []
        (resync,) = (update for update in updates if isinstance(update, Resync))
        assert "rdemo.3" not in resync.views
        assert any(isinstance(update, Seen) for update in updates)

    with_source(redis_process, script)


def test_another_releases_schema_is_refused(broker: Broker, redis_process: RedisProcess) -> None:
    broker.redis.hset(broker.keys.meta, "schema", "99")

    async def script(source: LiveSource) -> None:
        with pytest.raises(SchemaError, match="schema 99"):
            await source.snapshot()

    with_source(redis_process, script)


# -- what users ask for ----------------------------------------------------------------------------------------------


def test_only_the_very_lease_that_was_seen_is_freed(broker: Broker) -> None:
    add_run(broker, "r1", 2)
    add_job(broker, "i1.0")
    held = lease(broker, "i1.0", 0)
    assert broker.do(watch.free_leases([(held.learner, held.token + 1), ("r1.1", 0)])) == 0
    assert broker.do(watch.free_leases([(held.learner, held.token)])) == 1
    assert reads.learner_records(broker, [held.learner])[0].state == "queued"
    hold = calls.Hold(held.learner, held.token, 0)
    renewed = broker.do(calls.renew("i1.0", NONCE, ttl=30.0, holds=[hold]))
    assert held.learner in renewed.fenced or held.learner in renewed.restored


def test_a_killed_job_gives_back_what_it_held_and_is_fenced(broker: Broker) -> None:
    add_run(broker, "r1", 2)
    add_job(broker, "i1.0")
    held = lease(broker, "i1.0", 0)
    assert broker.do(watch.kill_job("i1.0", "kill by anna")) == 1
    assert reads.learner_records(broker, [held.learner])[0].state == "queued"
    assert not broker.do(calls.acquire("i1.0", NONCE, request="q", slots=[0], ttl=30.0)).leases
    assert broker.redis.hmget(broker.keys.job("i1.0"), ["state", "wish", "reason"]) == [
        b"ended",
        b"cancel",
        b"kill by anna",
    ]
    assert broker.do(watch.kill_job("i1.0", "again")) == -2
    assert broker.do(watch.kill_job("i9.0", "no such job")) == -1


def test_who_asked_for_what_is_an_event(broker: Broker) -> None:
    add_run(broker, "r1", 1)
    broker.do(
        watch.note_action(by="anna@login1", verb="retry", target="1 learner: r1.0", count=1, learner="r1.0")
    )
    last = broker.do(watch.watch(None, count=1)).events[-1]
    assert (last.event, last.learner, last.more["by"], last.more["verb"]) == (
        "asked",
        "r1.0",
        "anna@login1",
        "retry",
    )


# -- the control plane -----------------------------------------------------------------------------------------------


def test_the_control_plane_is_read_without_unpickling(broker: Broker) -> None:
    add_tasks(broker)
    control = broker.do(inspect_tasks("default"))
    (queue,) = control.queues
    assert (queue.name, queue.waiting, queue.running, queue.failed) == ("control", 1, 1, 1)
    by_kind = {task.kind: task for task in control.tasks}
    assert set(by_kind) == {"running", "waiting", "failed"}
    assert by_kind["running"].id == "t-running"
    assert "invalid partition" in by_kind["failed"].traceback
    assert by_kind["failed"].created == 1769860800.0

"""The judge's rule: who renews is never declared dead, who is dead is found, whatever stalls and clock steps."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import redis as redis_py
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fabric_broker import calls
from fabric_broker.broker import Broker
from fabric_broker.records import Holder, Outcome, RunSettings

TEST_CLOCK = "local function read_clock() return tonumber(redis.call('GET', 'test:clock')) end"
TTL_MS = 3000
LOOK_MS = TTL_MS // 8
"""The submitter's tick, or an idle agent's poll: more often than TTL/6."""


@dataclass
class Holding:
    learner: str
    token: int
    next_renewal: int
    alive: bool = True


class World:
    """Holders of one lease each that renew every TTL/3, somebody who looks, and a clock (ms) that tests turn."""

    def __init__(self, redis: redis_py.Redis, holders: int, *, looked_at: bool = True) -> None:
        redis.flushall()
        self.redis = redis
        self.broker = Broker(redis, "test", clock=TEST_CLOCK)
        self.real = 0
        self.offset = 10_000_000
        self.set_clock()
        self.looked_at = looked_at
        self.next_look = 0
        self.reaped: dict[str, int] = {}
        pool = calls.define_pool("local", spec={}, kind="local", limit=1, slots=holders, ttl=TTL_MS / 1000)
        self.broker.do(pool)
        run = RunSettings("r", "r", "local", "/nowhere", "never")
        self.broker.do(calls.define_run(run, b""))
        self.broker.do(calls.add("r", 0, [(str(i), None) for i in range(holders)], last=True))
        redis.hset(self.broker.keys.job("i.0"), mapping={"pool": "local", "state": "submitting"})
        self.broker.do(calls.claim("i.0", nonce="n", restart=0, node="n", pid=1))
        answer = self.broker.do(
            calls.acquire("i.0", "n", request="q", slots=list(range(holders)), ttl=TTL_MS / 1000)
        )
        self.holdings = [Holding(lease.learner, lease.token, TTL_MS // 3) for lease in answer.leases]
        assert len(self.holdings) == holders

    def set_clock(self) -> None:
        self.redis.set("test:clock", self.real + self.offset)

    def step_clock(self, ms: int) -> None:
        """The server's clock jumps; no time passes for anybody."""
        self.offset += ms
        self.set_clock()

    def stall(self, ms: int) -> None:
        """Redis does not answer for so long; whoever wanted something comes when it is back."""
        self.real += ms
        self.set_clock()

    def pass_time(self, ms: int) -> None:
        """Everybody does what is due."""
        until = self.real + ms
        while True:
            due = [holding.next_renewal for holding in self.holdings if holding.alive]
            if self.looked_at:
                due.append(self.next_look)
            if not due or min(due) > until:
                break
            self.real = max(self.real, min(due))
            self.set_clock()
            # After a stall the look comes before the renewals: the worst order for the living.
            if self.looked_at and self.next_look <= self.real:
                self.next_look = self.real + LOOK_MS
                self.broker.do(calls.look())
                self.note_reaped()
            self.renew_those_due()
            self.note_reaped()
        self.real = until
        self.set_clock()

    def renew_those_due(self) -> None:
        for slot, holding in enumerate(self.holdings):
            if holding.alive and holding.next_renewal <= self.real:
                holding.next_renewal = self.real + TTL_MS // 3
                hold = calls.Hold(holding.learner, holding.token, slot)
                answer = self.broker.do(calls.renew("i.0", "n", ttl=TTL_MS / 1000, holds=[hold]))
                assert answer.outcome is Outcome.OK
                assert not answer.fenced, "a holder that renews lost its lease"

    def note_reaped(self) -> None:
        leased = {learner.decode() for learner in self.redis.zrange(self.broker.keys.leases, 0, -1)}
        for holding in self.holdings:
            if holding.learner not in leased:
                assert not holding.alive, "declared dead while alive"
                self.reaped.setdefault(holding.learner, self.real)


EVENTS = st.one_of(
    st.tuples(st.just("time"), st.integers(1, 2 * TTL_MS)),
    st.tuples(st.just("stall"), st.integers(1, 5 * TTL_MS)),
    st.tuples(st.just("step"), st.integers(-20 * TTL_MS, 20 * TTL_MS)),
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(events=st.lists(EVENTS, max_size=8), dead=st.integers(0, 3))
def test_the_living_stay_and_the_dead_are_found_whatever_stalls_and_steps(
    redis: redis_py.Redis, events: list[tuple[str, int]], dead: int
) -> None:
    world = World(redis, 4)
    for holding in world.holdings[:dead]:
        holding.alive = False
    for kind, ms in events:
        if kind == "time":
            world.pass_time(ms)
        elif kind == "stall":
            world.stall(ms)
            world.pass_time(1)
        else:
            world.step_clock(ms)
            world.pass_time(1)
    # A grace of one TTL, a deadline of at most one TTL that is pulled in when that ends, and the looks between.
    world.pass_time(4 * TTL_MS)
    assert set(world.reaped) == {holding.learner for holding in world.holdings if not holding.alive}


def test_without_trouble_the_dead_are_found_within_a_ttl(redis: redis_py.Redis) -> None:
    world = World(redis, 4)
    world.pass_time(5 * TTL_MS)
    for holding in world.holdings[:2]:
        holding.alive = False
    died = world.real
    world.pass_time(2 * TTL_MS)
    assert len(world.reaped) == 2
    assert all(at - died <= TTL_MS + LOOK_MS for at in world.reaped.values())


def test_after_a_stall_longer_than_the_ttl_nobody_alive_is_reaped(redis: redis_py.Redis) -> None:
    world = World(redis, 20)
    world.pass_time(TTL_MS)
    world.stall(3 * TTL_MS)
    world.pass_time(4 * TTL_MS)
    assert world.reaped == {}


def test_a_gap_within_a_grace_does_not_begin_it_anew(redis: redis_py.Redis) -> None:
    world = World(redis, 1, looked_at=False)
    world.holdings[0].alive = False
    reaped: tuple[str, ...] = ()

    def look_after(ms: int) -> None:
        nonlocal reaped
        world.stall(ms)
        reaped += world.broker.do(calls.look()).reaped

    # The gap begins a grace; 6/7 of it are watched, with a gap in the middle.
    look_after(2 * TTL_MS)
    for ms in [TTL_MS // 7] * 3 + [TTL_MS // 2] + [TTL_MS // 7] * 3:
        look_after(ms)
    assert reaped == ()
    look_after(TTL_MS // 7 + 7)
    assert len(reaped) == 1


def test_a_clock_that_steps_forward_twice_does_not_kill_the_living(redis: redis_py.Redis) -> None:
    """The second step falls into the grace that the first began; holders feel neither and renew in their own time."""
    world = World(redis, 4)
    world.step_clock(TTL_MS // 3)
    world.pass_time(1)
    world.step_clock(TTL_MS * 3 // 4)
    world.pass_time(4 * TTL_MS)
    assert world.reaped == {}


def test_a_step_back_of_an_hour_does_not_keep_the_dead_for_an_hour(redis: redis_py.Redis) -> None:
    world = World(redis, 2)
    world.holdings[0].alive = False
    world.pass_time(TTL_MS // 2)
    world.step_clock(-3_600_000)
    world.pass_time(4 * TTL_MS)
    assert set(world.reaped) == {world.holdings[0].learner}


def test_an_expired_lease_that_nobody_reaped_may_still_be_renewed(redis: redis_py.Redis) -> None:
    world = World(redis, 1, looked_at=False)
    world.stall(10 * TTL_MS)
    holding = world.holdings[0]
    hold = calls.Hold(holding.learner, holding.token, 0)
    answer = world.broker.do(calls.renew("i.0", "n", ttl=TTL_MS / 1000, holds=[hold]))
    assert answer.fenced == ()


def test_no_more_than_20_are_reaped_at_once(redis: redis_py.Redis) -> None:
    world = World(redis, 50)
    for holding in world.holdings:
        holding.alive = False
    world.pass_time(TTL_MS - 1)
    world.stall(2)
    counts = [len(world.broker.do(calls.look()).reaped) for _ in range(4)]
    assert counts == [20, 20, 10, 0]


@pytest.mark.parametrize("lost", ["acquire", "nothing"])
def test_a_lease_that_redis_forgot_is_restored_with_its_token(redis: redis_py.Redis, lost: str) -> None:
    """A crash took the last second, and with it the acquire: the learner is queued under an older token."""
    world = World(redis, 1, looked_at=False)
    holding = world.holdings[0]
    hold = calls.Hold(holding.learner, holding.token, 0)
    if lost == "acquire":
        holder = Holder("i.0", "n", 0)
        world.broker.do(calls.release(holder, holding.learner, holding.token, event="release"))
        redis.hset(world.broker.keys.learner(holding.learner), "token", holding.token - 1)
    answer = world.broker.do(calls.renew("i.0", "n", ttl=TTL_MS / 1000, holds=[hold]))
    assert answer.fenced == ()
    assert answer.restored == ((holding.learner,) if lost == "acquire" else ())
    record = redis.hgetall(world.broker.keys.learner(holding.learner))
    assert (record[b"state"], record[b"token"]) == (b"leased", str(holding.token).encode())

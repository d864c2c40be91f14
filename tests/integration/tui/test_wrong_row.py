"""Whatever comes, moves and goes: a key acts on the learner that the user saw under the cursor, or on nothing.

The user's knowledge is what was painted when they last pressed a key; the fabric goes on meanwhile. Only the user
pauses, so Redis tells in the end whom an action hit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from tests.integration.tui.driving import Driver, drive, live_app, screen_text
from tests.integration.tui.filled import add_job, add_run, fail, finish, lease
from tests.redis_process import RedisProcess

from fabric_broker import calls, events
from fabric_broker.broker import Broker
from fabric_broker.records import Lease
from fabric_broker.states import STATES
from fabric_tui.dialogs import Confirm

FILTERS = ["", "state:queued", "!run:ra", "age<1h", "points>0", "pri>2", "!state:done", "b-"]
SORTS = ["State", "Name", "Points", "Loss", "Pri", "Age", "Job"]
SIZES = [(120, 40), (80, 24), (200, 50), (140, 30), (60, 10), (95, 27)]
KEYS = ["j", "k", "j", "k", "g", "G", "pagedown", "pageup", "ctrl+z", "escape", "S", "d"]

STEPS = st.one_of(
    st.tuples(st.just("press"), st.lists(st.sampled_from(KEYS), min_size=1, max_size=3)),
    st.tuples(st.just("mark"), st.just(0)),
    st.tuples(st.just("filter"), st.sampled_from(FILTERS)),
    st.tuples(st.just("sort"), st.sampled_from(SORTS)),
    st.tuples(st.just("resize"), st.sampled_from(SIZES)),
    st.tuples(st.just("world"), st.integers(0, 6)),
    st.tuples(st.just("world"), st.integers(0, 6)),
    st.tuples(st.just("world under"), st.sampled_from(["remove", "cancel", "prioritize", "trim"])),
    st.tuples(st.just("pause"), st.sampled_from(["y", "n"])),
    st.tuples(st.just("pause"), st.just("y")),
    st.tuples(st.just("screen"), st.sampled_from("134562")),
    st.tuples(st.just("redis"), st.sampled_from(["restart", "trim", "flush scripts"])),
)


class World:
    """The fabric as others change it. Nobody here pauses."""

    def __init__(self, process: RedisProcess) -> None:
        self._process = process
        self.redis = process.client()
        self.redis.flushall()
        self.broker = Broker(self.redis, "default")
        self._turn = 0
        for run in ("ra", "rb"):
            add_run(self.broker, run, 12, name=run[1:], attempts=1)
        add_job(self.broker, "i1.0")

    def ids(self) -> list[str]:
        return sorted(id.decode() for id in self.redis.hkeys(self.broker.keys.view))

    def turn(self, what: int) -> None:
        """Something happens; what it hits goes round."""
        self._turn += 1
        ids = self.ids()
        some = [ids[(self._turn * 7 + n) % len(ids)] for n in range(3)] if ids else []
        if what == 0:
            add_run(self.broker, f"rx{self._turn}", 1 + self._turn % 5, name=f"b{self._turn}")
        elif what == 1:
            self.under("remove", some[:1])
        elif what == 2:
            self.under("cancel", some)
        elif what == 3:
            self.broker.do(calls.act("prioritize", some, priority=self._turn % 9))
        elif what == 4:
            self.broker.do(calls.act("retry", ids[:20]))
        else:
            ended: Callable[..., None] = finish if what == 5 else _fail
            if self.redis.zcard(self.broker.keys.queue("local")):
                ended(self.broker, "i1.0", lease(self.broker, "i1.0", 0), self._turn)

    def under(self, what: str, ids: list[str]) -> None:
        """Something happens to just these."""
        if what == "remove" and ids:
            keys = self.broker.keys
            self.redis.hdel(keys.view, *ids)
            self.redis.delete(*(keys.learner(id) for id in ids))
            for place in (keys.queue("local"), keys.leases, *map(keys.state, STATES)):
                self.redis.zrem(place, *ids)
        elif what == "cancel" and ids:
            self.broker.do(calls.act("cancel", ids))
        elif what == "prioritize" and ids:
            self.broker.do(calls.act("prioritize", ids, priority=8))
        else:
            self.redis.xtrim(self.broker.keys.events, maxlen=1, approximate=False)

    def disturb(self, what: str) -> None:
        if what == "restart":
            self._process.stop()
            self._process.start()
        elif what == "flush scripts":
            self.redis.script_flush()
        else:
            self.under("trim", [])

    def paused(self) -> set[str]:
        """Who was ever paused, as far as the events are kept, or is paused now."""
        told = {event.learner for event in events.read_events(self.broker) if event.target == "paused"}
        return told | {id.decode() for id in self.redis.zrange(self.broker.keys.state("paused"), 0, -1)}


def _fail(broker: Broker, job: str, held: Lease, _turn: int) -> None:
    fail(broker, job, held)


class User:
    """Someone who looks at what is painted after each key of theirs, and remembers it."""

    def __init__(self, driver: Driver, world: World) -> None:
        self.driver, self.world = driver, world
        self.pane = driver.app.learners
        self.saw: str | None = None
        self.confirmed: set[str] = set()

    def look(self) -> None:
        """Which learner is highlighted on the screen."""
        self.saw = None
        if "too small" in screen_text(self.driver.app):
            return
        names = {name: id for id, name in self.driver.app.model.names.items()}
        for text in highlighted(self.driver):
            self.saw = next((names[word] for word in text.split() if word in names), None)

    async def press(self, *keys: str) -> None:
        await self.driver.press(*keys)
        self.look()

    async def mark(self) -> None:
        before, saw = set(self.pane.grid.marks), self.saw
        await self.press("space")
        assert {id for id in before ^ self.pane.grid.marks if id in self.driver.app.model.learners} <= {saw}

    async def pause(self, answer: str) -> None:
        """Ask for it, let the fabric go on behind the question, and answer."""
        marks, saw = set(self.pane.grid.marks), self.saw
        await self.driver.press("P")
        screen = self.driver.app.screen
        if not isinstance(screen, Confirm):
            return
        planned = {thing.id for thing in screen._plan.things}
        known = marks & self.driver.app.model.learners.keys()
        assert planned <= (known or {saw}), (planned, known, saw)
        self.world.turn(1)
        self.world.turn(2)
        await self.driver.caught_up()
        await self.driver.press(answer)
        if answer == "y":
            self.confirmed |= planned
        await self.driver.until(lambda: not isinstance(self.driver.app.screen, Confirm), "an answer")
        self.look()


def highlighted(driver: Driver) -> Iterator[str]:
    """The row that is painted in reverse: the one under the cursor, while the table has the keys."""
    grid = driver.app.learners.grid
    for y in range(1, grid.size.height):
        strip = grid.render_line(y)
        if any(segment.style is not None and segment.style.reverse for segment in strip):
            yield strip.text


def play(process: RedisProcess, steps: list[tuple[str, object]]) -> None:
    world = World(process)

    async def script(driver: Driver) -> None:
        await driver.press("2")
        await driver.until(lambda: len(driver.app.model.names) == 24, "24 learners with their names")
        user = User(driver, world)
        user.look()
        for what, how in steps:
            await one(driver, user, world, what, how)
        await driver.pilot.resize_terminal(120, 40)
        await driver.press("ctrl+r")
        await driver.see("● live")
        await driver.caught_up()
        assert world.paused() <= user.confirmed

    with closing(world.redis):
        drive(live_app(process.url, tick=0.1), script)


async def one(driver: Driver, user: User, world: World, what: str, how: object) -> None:
    """One step."""
    if what == "press":
        await user.press(*list(how))  # type: ignore[call-overload]
    elif what == "mark":
        await user.mark()
    elif what == "filter":
        driver.app.learners.set_filter(str(how))
        user.look()
    elif what == "sort":
        driver.app.learners.sort_by(str(how))
        user.look()
    elif what == "resize":
        await driver.pilot.resize_terminal(*how)  # type: ignore[misc]
        user.look()
    elif what == "world":
        world.turn(int(str(how)))
        await driver.caught_up()
    elif what == "world under":
        world.under(str(how), [user.saw] if user.saw else [])
        await driver.caught_up()
    elif what == "pause":
        await user.pause(str(how))
    elif what == "screen":
        await driver.press(str(how))
        await user.press("2")
    else:
        world.disturb(str(how))
        await driver.press("ctrl+r")
        await driver.until(lambda: driver.app.model.connection == "live", "live")
        await driver.caught_up()


CALM = settings(
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    phases=[Phase.explicit, Phase.generate],
)


@settings(CALM, max_examples=1)
@given(steps=st.lists(STEPS, min_size=15, max_size=25))
def test_an_action_hits_whom_the_user_saw(
    private_redis: RedisProcess, steps: list[tuple[str, object]]
) -> None:
    play(private_redis, steps)


@pytest.mark.long
@pytest.mark.timeout(300)
@settings(CALM, max_examples=4)
@given(steps=st.lists(STEPS, min_size=15, max_size=30))
def test_an_action_hits_whom_the_user_saw_in_many_stories(
    private_redis: RedisProcess, steps: list[tuple[str, object]]
) -> None:
    play(private_redis, steps)

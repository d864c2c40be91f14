"""One lease against a model of what the journal, commit and complete scripts do, with everything that goes wrong."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fabric_broker.calls import Committed, Journaled, Known
from fabric_broker.records import Lease, Outcome, Pointer
from fabric_jobs import channel, held
from fabric_jobs.channel import Up
from fabric_jobs.held import Done, Held, Raised, Released, Saved, Step
from fabric_jobs.points import Batch, Points

TOKEN = 17


def lease(seq: int = 0) -> Lease:
    return Lease("rabcdefgh.0", "rabcdefgh", "a", TOKEN, 0, seq, seq, 0.0, 0, None, None, 0, 0)


def points(first: int, count: int) -> Points:
    return Points(count, b"".join(channel.encode(Up.POINT, b"%06d" % (first + i)) for i in range(count)))


def bodies(frames: bytes) -> list[bytes]:
    return [frame.body for frame in channel.Decoder().feed(frames)]


def saved(n: int, upto: int) -> Saved:
    return Saved(Pointer(TOKEN, n, upto, 100, "mac"), upto, None)


@dataclass
class Learner:
    """What Redis holds of a learner, and what its scripts do (lua/journal.lua, commit.lua, complete.lua)."""

    seq: int = 0
    n: int = 0
    upto: int = 0
    previous_upto: int = 0
    journal: list[int] = field(default_factory=list)
    done: bool = False
    full: bool = False  # memory: the journal is refused

    def do(self, step: Step) -> Any:
        if isinstance(step, Batch):
            return self.append(step)
        if isinstance(step, Saved):
            return self.commit(step)
        if isinstance(step, Done):
            return self.complete()
        return Outcome.OK

    def append(self, batch: Batch):
        if self.done:
            return Journaled(Outcome.FENCED, 0, 0, None)
        if batch.last <= self.seq:
            return Journaled(Outcome.ALREADY, self.seq, self.n, None)
        if batch.first != self.seq + 1:
            return Journaled(Outcome.GAP, self.seq, self.n, None)
        if self.full:
            return None
        self.journal += [int(body) for body in bodies(batch.frames)]
        self.seq = batch.last
        return Journaled(Outcome.OK, self.seq, self.n, None)

    def commit(self, step: Saved):
        if self.done:
            return Committed(Outcome.FENCED, None, None)
        if step.pointer.n <= self.n:
            return Committed(Outcome.ALREADY, None, None)
        self.previous_upto = self.upto
        self.journal = [point for point in self.journal if point > self.upto]
        self.n, self.upto = step.pointer.n, step.pointer.upto
        self.seq = max(self.seq, self.upto)
        return Committed(Outcome.OK, None, None)

    def complete(self) -> Outcome:
        if self.done:
            return Outcome.ALREADY
        if self.upto < self.seq:
            return Outcome.GAP
        self.done = True
        return Outcome.OK

    def points(self) -> set[int]:
        """What the next holder would know."""
        return set(range(1, self.upto + 1)) | set(self.journal)


def take(state: Held, step: Step, answer: Any) -> None:
    if answer is None:
        return
    if isinstance(step, Batch):
        state.journaled(answer)
    elif isinstance(step, Saved):
        state.committed(step, answer)
    else:
        state.ended(answer)


def exchange(state: Held, redis: Learner) -> None:
    """One round trip in which nothing goes wrong."""
    for step in state.to_send():
        take(state, step, redis.do(step))


class Story:
    """A slot, its agent's state and Redis, and what may happen to them."""

    def __init__(self, start: int) -> None:
        self.state = Held(lease(start))
        self.redis = Learner(seq=start, journal=list(range(1, start + 1)))
        self.past = [copy.deepcopy(self.redis)]
        self.late: list = []
        self.saves = 0
        self.acknowledged = start

    def finish_points(self, count: int) -> None:
        self.state.add(points(self.state.last + 1, count))

    def save(self) -> None:
        self.saves += 1
        self.state.save(saved(self.saves, self.state.last))

    def talk(self, executed: int, answered: int) -> None:
        """A round trip of which only the first steps are executed, and of those only the first are answered."""
        steps = self.state.to_send()
        answers = []
        for step in steps[:executed]:
            answers.append((step, self.redis.do(step)))
            self.past.append(copy.deepcopy(self.redis))
        self.late += steps[executed:]
        for step, answer in answers[:answered]:
            take(self.state, step, answer)
        if answered < len(steps):  # the connection broke: a renew comes first
            self.renew()

    def renew(self) -> None:
        self.state.known(Known(self.redis.seq, self.redis.n))
        if self.state.needs_save:
            self.save()

    def crash(self, lost: int) -> None:
        """Redis comes back without its last writes; the agent finds out by its renew."""
        full = self.redis.full
        self.redis = copy.deepcopy(self.past[-1 - min(lost, len(self.past) - 1)])
        self.redis.full = full
        self.past = [copy.deepcopy(self.redis)]
        self.renew()

    def arrive_late(self, index: int) -> None:
        """Redis executes what was given up for lost, from a connection that is closed."""
        if self.late:
            self.redis.do(self.late.pop(index % len(self.late)))
            self.past.append(copy.deepcopy(self.redis))


EVENTS = st.one_of(
    st.tuples(st.just("finish_points"), st.integers(1, 6)),
    st.tuples(st.just("save")),
    st.tuples(st.just("talk"), st.integers(0, 6), st.integers(0, 6)),
    st.tuples(st.just("talk"), st.just(99), st.just(99)),
    st.tuples(st.just("crash"), st.integers(0, 5)),
    st.tuples(st.just("arrive_late"), st.integers(0, 9)),
    st.tuples(st.just("full"), st.booleans()),
)


@pytest.fixture(autouse=True, scope="module")
def small_bounds():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(held, "BATCH_BYTES", 40)
        patch.setattr(held, "KEPT_BYTES", 60)
        patch.setattr(held, "UNSENT_BYTES", 100)
        yield


@settings(max_examples=400, deadline=None)
@given(start=st.integers(0, 4), events=st.lists(EVENTS, max_size=40), completes=st.booleans())
def test_whatever_goes_wrong_redis_ends_with_every_point_once(start, events, completes):
    story = Story(start)
    for name, *arguments in events:
        if name == "full":
            story.redis.full = arguments[0]
        else:
            getattr(story, name)(*arguments)
        assert story.redis.points() <= set(range(1, story.state.last + 1))
    if completes:
        story.save()
        story.state.end(Done(story.state.last, None))
    for _ in range(3):
        exchange(story.state, story.redis)
        story.redis.full = False
    assert story.redis.points() == set(range(1, story.state.last + 1))
    assert story.redis.journal == sorted(set(story.redis.journal))
    assert story.redis.done == completes == story.state.over


def test_points_are_sent_before_the_checkpoint_that_covers_them_and_the_end_last():
    state = Held(lease())
    state.add(points(1, 2))
    state.save(saved(1, 2))
    state.end(Done(2, None))
    assert state.to_send() == [Batch(1, 2, points(1, 2).frames), saved(1, 2), Done(2, None)]


@pytest.mark.parametrize("ending", [Raised({}), Released("died"), Released("release")])
def test_a_lease_is_not_given_back_before_redis_said_that_it_has_the_points(ending):
    state, redis = Held(lease()), Learner(full=True)
    state.add(points(1, 2))
    state.end(ending)
    for _ in range(3):
        assert ending not in state.to_send()
        exchange(state, redis)
    redis.full = False
    exchange(state, redis)
    assert state.to_send() == [ending]


def test_with_full_memory_a_checkpoint_still_gets_through_and_makes_room():
    state, redis = Held(lease()), Learner(full=True)
    state.add(points(1, 2))
    exchange(state, redis)
    state.save(saved(1, 2))
    state.end(Done(2, None))
    exchange(state, redis)
    assert redis.done
    assert redis.points() == {1, 2}


def test_a_fenced_lease_sends_nothing_and_keeps_nothing():
    state = Held(lease())
    state.add(points(1, 4))
    state.save(saved(1, 4))
    state.end(Done(4, None))
    state.journaled(Journaled(Outcome.FENCED, 0, 0, None))
    assert state.fenced
    state.add(points(5, 9))
    assert state.to_send() == []
    assert state.unsent_bytes == 0
    assert not state.is_full
    assert not state.needs_save


def test_evaluation_pauses_when_much_is_unsent_and_goes_on_when_redis_has_it():
    state, redis = Held(lease()), Learner()
    while not state.is_full:
        state.add(points(state.last + 1, 1))
    assert state.unsent_bytes >= held.UNSENT_BYTES
    exchange(state, redis)
    assert not state.is_full


def test_a_commit_that_redis_forgot_is_sent_again():
    state, redis = Held(lease()), Learner()
    state.add(points(1, 2))
    exchange(state, redis)
    before = copy.deepcopy(redis)
    state.save(saved(1, 2))
    exchange(state, redis)
    state.known(Known(before.seq, before.n))
    assert state.to_send() == [saved(1, 2)]


def test_only_a_new_checkpoint_covers_points_that_redis_forgot_and_nobody_kept():
    state = Held(lease(seq=10))
    state.known(Known(seq=7, checkpoint_n=0))
    assert state.needs_save
    state.add(points(11, 1))
    assert state.to_send() == [], "a journal with a hole would be refused"
    state.save(saved(1, 11))
    assert not state.needs_save
    assert state.to_send() == [saved(1, 11)]


def test_a_done_that_redis_will_not_have_gives_the_lease_back():
    state = Held(lease())
    state.end(Done(0, None))
    state.ended(Outcome.GAP)
    assert state.to_send() == [Released("release")]


def test_the_two_last_commits_are_sent_again_so_that_the_one_before_stays_known():
    state, redis = Held(lease()), Learner()
    before = copy.deepcopy(redis)
    for n in (1, 2):
        state.add(points(n, 1))
        state.save(saved(n, n))
        exchange(state, redis)
    state.known(Known(before.seq, before.n))
    again = [step for step in state.to_send() if isinstance(step, Saved)]
    assert again == [saved(1, 1), saved(2, 2)]

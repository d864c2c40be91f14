"""The scripts around intents against a real Redis: who leads, who submits, what is true by then."""

from __future__ import annotations

import pytest
from redis import Redis

from fabric_broker import calls, intents
from fabric_broker.broker import Broker
from fabric_broker.intents import (
    Again,
    Ask,
    Cancelling,
    Close,
    Enqueued,
    Forget,
    Found,
    Leadership,
    Mark,
    Over,
    Remember,
)
from fabric_broker.records import Holder, Outcome, RunSettings
from fabric_broker.survey import IntentView, Survey, survey

# Time stands where a test puts it.
CLOCK = "local function read_clock() return tonumber(redis.call('GET', 'test:clock') or '1000000') end"


class Fabric:
    """A broker with one pool, led by "me"."""

    def __init__(self, redis: Redis) -> None:
        self.redis = redis
        self.broker = Broker(redis, "t", clock=CLOCK)
        self.broker.do(
            calls.define_pool("p", spec={"kind": "local"}, kind="local", limit=4, slots=2, ttl=30.0)
        )
        self.me = self.lead("me")

    def at(self, seconds: float) -> None:
        self.redis.set("test:clock", round(seconds * 1000))

    def lead(self, nonce: str) -> Leadership:
        epoch = self.broker.do(intents.lead(nonce, host="h", ttl=10.0))
        assert epoch is not None
        return Leadership(nonce, epoch)

    def intend(self, *names: str) -> Outcome:
        return self.broker.do(intents.intend(self.me, "p", [(name, 1) for name in names]))

    def apply(self, *changes: intents.Change) -> list[bool] | None:
        return self.broker.do(intents.apply(self.me, changes))

    def submit(self, name: str, task: str = "t1") -> None:
        self.intend(name)
        self.broker.do(intents.begin(name, task))
        self.broker.do(intents.submitted(name, task, host="h", ids={f"{name}.0": f"7@{name}"}))

    def claim(self, name: str, nonce: str = "n1") -> None:
        claim = calls.claim(f"{name}.0", nonce=nonce, restart=0, node="x", pid=1)
        assert self.broker.do(claim).outcome is Outcome.OK

    def add_learner(self) -> None:
        self.broker.do(calls.define_run(RunSettings("r1", "r", "p", "/s", "g"), b"x"))
        self.broker.do(calls.add("r1", 0, [("0", b"x")], last=True))

    def acquire(self, name: str, nonce: str = "n1") -> int:
        acquire = calls.acquire(f"{name}.0", nonce, request="q1", slots=[0, 1], ttl=30.0)
        return len(self.broker.do(acquire).leases)

    def survey(self, **args: float) -> Survey:
        return self.broker.do(survey(soon=5.0, old=args.get("old", 3600.0), keep=int(args.get("keep", 100))))

    def intent(self, name: str) -> IntentView:
        return next(intent for intent in self.survey().intents if intent.id == name)


@pytest.fixture
def fabric(redis: Redis) -> Fabric:
    return Fabric(redis)


# -- leading ------------------------------------------------------------------------------------------------


def test_one_leads_until_its_lease_ends_and_the_next_has_a_higher_epoch(fabric):
    other = intents.lead("other", host="h2", ttl=10.0)
    assert fabric.broker.do(other) is None
    assert fabric.lead("me").epoch == fabric.me.epoch, "a renewal keeps the epoch"
    fabric.at(1010.1)
    epoch = fabric.broker.do(other)
    assert epoch is not None
    assert epoch > fabric.me.epoch
    assert fabric.broker.do(intents.lead("me", host="h", ttl=10.0)) is None


def test_whoever_resigns_is_followed_at_once(fabric):
    fabric.broker.do(intents.lead("me", host="h", ttl=0.0))
    assert fabric.broker.do(intents.lead("other", host="h", ttl=10.0)) is not None


def test_a_submitter_that_is_known_dead_is_followed_at_once_under_a_new_epoch(fabric):
    wrong = intents.lead("next", host="h", ttl=10.0, succeeds="another")
    assert fabric.broker.do(wrong) is None
    epoch = fabric.broker.do(intents.lead("next", host="h", ttl=10.0, succeeds="me"))
    assert epoch is not None
    assert epoch > fabric.me.epoch
    assert fabric.intend("i1") is Outcome.FENCED


def test_an_epoch_is_not_issued_again_when_redis_forgot_it(fabric):
    fabric.redis.delete(fabric.broker.keys.leader)
    fabric.at(1000.001)
    assert fabric.lead("other").epoch > fabric.me.epoch


def test_after_a_step_back_of_the_clock_a_dead_leader_is_followed_after_one_ttl(fabric):
    fabric.at(500.0)
    assert fabric.broker.do(intents.lead("other", host="h", ttl=10.0)) is None
    fabric.at(510.1)
    assert fabric.broker.do(intents.lead("other", host="h", ttl=10.0)) is not None


def test_what_a_former_leader_decides_is_not_carried_out(fabric):
    fabric.submit("i1")
    fabric.at(1010.1)
    fabric.lead("other")
    assert fabric.intend("i2") is Outcome.FENCED
    assert fabric.apply(Over("i1.0", "", "dead")) is None
    assert [intent.id for intent in fabric.survey().intents] == ["i1"]
    assert fabric.intent("i1").jobs[0].state == "pending"


def test_a_leader_whose_lease_ran_out_decides_nothing(fabric):
    fabric.at(1010.1)
    assert fabric.intend("i1") is Outcome.FENCED


def test_status_sees_who_leads(redis):
    broker = Broker(redis, "t")
    assert intents.leader(broker) == intents.Leader(False, None, None)
    broker.do(intents.lead("me", host="h", ttl=10.0))
    seen = intents.leader(broker)
    assert (seen.alive, seen.host) == (True, "h")
    broker.do(intents.lead("me", host="h", ttl=0.0))
    assert not intents.leader(broker).alive


# -- intents and tasks --------------------------------------------------------------------------------------


def test_an_intent_goes_its_way_from_wanted_to_over(fabric):
    assert fabric.intend("i1") is Outcome.OK
    assert (fabric.intent("i1").state, fabric.intent("i1").jobs[0].state) == ("wanted", "submitting")
    assert fabric.apply(Enqueued("i1", 1)) == [True]
    assert fabric.intent("i1").tries == 1
    begun = fabric.broker.do(intents.begin("i1", "t1"))
    assert (begun.outcome, begun.kind, begun.spec, begun.jobs) == (
        Outcome.OK,
        "local",
        {"kind": "local"},
        ("i1.0",),
    )
    report = intents.submitted("i1", "t1", host="h", ids={"i1.0": "7@8"})
    assert fabric.broker.do(report) is Outcome.OK
    (job,) = fabric.intent("i1").jobs
    assert (job.state, job.scheduler_id, job.slots) == ("pending", "7@8", 2)
    assert fabric.apply(Over("i1.0", "", "gone"), Close("i1")) == [True, True]
    assert fabric.survey().intents == ()


def test_an_intent_for_a_pool_that_is_gone_is_not_written(fabric):
    fabric.broker.do(calls.remove_pool("p"))
    assert fabric.intend("i1") is Outcome.GONE


def test_of_two_tasks_for_one_intent_one_submits(fabric):
    fabric.intend("i1")
    assert fabric.broker.do(intents.begin("i1", "t1")).outcome is Outcome.OK
    assert fabric.broker.do(intents.begin("i1", "t2")).outcome is Outcome.ALREADY
    assert fabric.broker.do(intents.submitted("i1", "t2", host="h", ids={})) is Outcome.FENCED


def test_a_task_that_was_stopped_while_another_submitted_learns_that_it_is_one_too_many(fabric):
    fabric.intend("i1")
    fabric.broker.do(intents.begin("i1", "t1"))
    assert fabric.apply(Again("i1", fabric.intent("i1").since)) == [True]
    fabric.broker.do(intents.begin("i1", "t2"))
    late = intents.submitted("i1", "t1", host="h", ids={"i1.0": "1@1"})
    assert fabric.broker.do(late) is Outcome.FENCED
    assert fabric.broker.do(intents.submitted("i1", "t2", host="h", ids={"i1.0": "2@2"})) is Outcome.OK
    assert fabric.broker.do(late) is Outcome.FENCED
    assert fabric.intent("i1").jobs[0].scheduler_id == "2@2"


def test_a_task_that_answers_just_before_it_is_given_up_is_believed(fabric):
    fabric.intend("i1")
    fabric.broker.do(intents.begin("i1", "t1"))
    since = fabric.intent("i1").since
    fabric.at(1001.0)
    fabric.broker.do(intents.submitted("i1", "t1", host="h", ids={"i1.0": "7@8"}))
    assert fabric.apply(Again("i1", since)) == [False]


def test_a_job_that_was_found_by_its_name_needs_no_answer(fabric):
    fabric.intend("i1")
    fabric.broker.do(intents.begin("i1", "t1"))
    assert fabric.apply(Found("i1", "h", {"i1.0": "7@8"})) == [True]
    assert fabric.intent("i1").jobs[0].state == "pending"
    assert fabric.broker.do(intents.submitted("i1", "t1", host="h", ids={})) is Outcome.ALREADY


def test_an_agent_may_be_faster_than_the_answer_of_its_submit(fabric):
    fabric.intend("i1")
    fabric.broker.do(intents.begin("i1", "t1"))
    fabric.claim("i1")
    fabric.broker.do(intents.submitted("i1", "t1", host="h", ids={"i1.0": "7@8"}))
    assert fabric.intent("i1").jobs[0].state == "running"


def test_a_refusal_ends_the_jobs_in_the_schedulers_words(fabric):
    fabric.intend("i1")
    fabric.broker.do(intents.begin("i1", "t1"))
    fabric.broker.do(intents.refused("i1", "t1", reason="no such queue"))
    intent = fabric.intent("i1")
    assert (intent.state, intent.jobs[0].state, intent.jobs[0].reason) == (
        "refused",
        "ended",
        "no such queue",
    )


def test_a_busy_scheduler_gets_the_intent_later(fabric):
    fabric.intend("i1")
    fabric.broker.do(intents.begin("i1", "t1"))
    fabric.broker.do(intents.busy("i1", "t1", reason="MaxSubmit", wait=30.0))
    intent = fabric.intent("i1")
    assert (intent.state, intent.not_before, intent.jobs[0].reason) == ("wanted", 1030.0, "MaxSubmit")
    assert fabric.broker.do(intents.begin("i1", "t2")).outcome is Outcome.OK


# -- going --------------------------------------------------------------------------------------------------


def test_what_was_not_submitted_is_cancelled_on_the_spot_and_no_task_submits_it(fabric):
    fabric.intend("i1")
    fabric.apply(Enqueued("i1", 1), Ask("i1.0", "cancel", "no work"))
    intent = fabric.intent("i1")
    assert (intent.state, intent.jobs[0].state, intent.jobs[0].reason) == ("cancelled", "ended", "no work")
    assert fabric.broker.do(intents.begin("i1", "t1")).outcome is Outcome.ALREADY
    claim = calls.claim("i1.0", nonce="n1", restart=0, node="x", pid=1)
    assert fabric.broker.do(claim).outcome is Outcome.FENCED


def test_a_cancel_that_comes_after_the_job_took_work_is_a_drain(fabric):
    fabric.submit("i1")
    fabric.add_learner()
    fabric.apply(Ask("i1.0", "cancel", "no work"), Cancelling("i1"))
    assert fabric.broker.do(intents.cancelling("i1")) == (
        "local",
        (intents.Going("i1.0", "7@i1", "cancel"),),
    )
    fabric.claim("i1")
    assert fabric.acquire("i1") == 1
    assert fabric.broker.do(intents.cancelling("i1"))[1] == (intents.Going("i1.0", "7@i1", "drain"),)


def test_a_cancel_task_of_a_former_leader_does_nothing(fabric):
    fabric.submit("i1")
    fabric.apply(Ask("i1.0", "cancel", "no work"), Cancelling("i1"))
    fabric.at(1010.1)
    fabric.lead("other")
    assert fabric.broker.do(intents.cancelling("i1"))[1] == ()


def test_a_user_can_ask_any_job_that_has_not_ended_to_go(fabric):
    fabric.submit("i1")
    fabric.submit("i2")
    fabric.claim("i2")
    for job in ("i1.0", "i2.0"):
        assert fabric.broker.do(intents.ask_job(job, "a user said so")) == "ok"
    assert [fabric.intent(name).jobs[0].wish for name in ("i1", "i2")] == ["cancel", "drain"]
    fabric.apply(Over("i1.0", "", "its processes are gone"))
    assert fabric.intent("i1").jobs[0].reason == "a user said so"
    assert fabric.broker.do(intents.ask_job("i1.0", "")) == "ended"
    assert fabric.broker.do(intents.ask_job("i9.0", "")) == "no job"


def test_a_dead_jobs_learners_go_back_to_the_queue_at_once(fabric):
    fabric.submit("i1")
    fabric.add_learner()
    fabric.claim("i1")
    fabric.acquire("i1")
    seen = fabric.survey()
    assert (seen.pools["p"].queued, seen.intents[0].jobs[0].holds) == (0, 1)
    assert seen.intents[0].jobs[0].acquired
    assert fabric.apply(Over("i1.0", "n1", "its processes are gone")) == [True]
    assert fabric.survey().pools["p"].queued == 1


def test_a_verdict_on_one_copy_does_not_touch_another(fabric):
    fabric.submit("i1")
    fabric.claim("i1", "n2")
    assert fabric.apply(Over("i1.0", "", "dead"), Over("i1.0", "n1", "dead")) == [False, False]
    assert fabric.intent("i1").jobs[0].state == "running"


def test_a_mark_is_made_only_on_the_state_it_was_based_on(fabric):
    fabric.submit("i1")
    fabric.claim("i1")
    assert fabric.apply(Mark("i1.0", "pending", "unknown", "")) == [False]
    assert fabric.apply(Mark("i1.0", "running", "unknown", "not listed")) == [True]
    job = fabric.intent("i1").jobs[0]
    assert (job.state, job.reason) == ("unknown", "not listed")


# -- pools, holding, forgetting -----------------------------------------------------------------------------


def test_a_pools_circuit_is_remembered_and_closed_again(fabric):
    fields = {"circuit": "no such queue", "deaths": "5", "retry_at": "1005000", "wanted": "3"}
    assert fabric.apply(Remember("p", fields), Remember("q", {"deaths": "1"})) == [True, False]
    pool = fabric.survey().pools["p"]
    assert (pool.circuit, pool.deaths, pool.retry_at, pool.wanted) == ("no such queue", 5, 1005.0, 3)
    assert intents.pool_wanted(fabric.broker, ["p", "none"]) == [3, 0]
    assert fabric.broker.do(intents.resume_pool("p")) is True
    assert fabric.broker.do(intents.resume_pool("q")) is False
    pool = fabric.survey().pools["p"]
    assert (pool.circuit, pool.deaths, pool.retry_at) == (None, 0, 0.0)


def test_a_fabric_is_held_and_let_go(fabric):
    fabric.broker.do(intents.hold(held=True))
    assert fabric.survey().held
    fabric.broker.do(intents.hold(held=False))
    assert not fabric.survey().held


def test_delayed_learners_that_are_due_soon_count_as_work(fabric):
    fabric.submit("i1")
    fabric.add_learner()
    fabric.claim("i1")
    fabric.acquire("i1")
    learner, token = "r1.0", int(fabric.redis.hget(fabric.broker.keys.learner("r1.0"), "token"))
    holder = Holder("i1.0", "n1", 0)
    fabric.broker.do(calls.fail(holder, learner, token, {"type": "E"}))
    assert fabric.survey().pools["p"].soon == 1
    fabric.redis.zadd(fabric.broker.keys.delayed, {learner: 2000 * 1000})
    assert fabric.survey().pools["p"].soon == 0


def test_jobs_that_ended_long_ago_are_forgotten_and_others_are_not(fabric):
    for name in ("i1", "i2", "i3"):
        fabric.submit(name)
    fabric.apply(Over("i1.0", "", "x"), Close("i1"), Over("i2.0", "", "x"), Close("i2"))
    fabric.at(9000.0)
    fabric.lead("me")
    assert fabric.survey().old == (), "so many are kept whatever their age"
    old = fabric.survey(keep=2).old
    assert old == ("i1.0",)
    assert fabric.apply(Forget("i1.0"), Forget("i3.0")) == [True, False]
    keys = fabric.broker.keys
    assert not fabric.redis.exists(keys.job("i1.0"), keys.intent("i1"))
    assert fabric.redis.exists(keys.job("i3.0"), keys.intent("i3")) == 2


def test_a_full_redis_takes_no_new_intents_but_lets_jobs_end(fabric):
    fabric.submit("i1")
    limit = fabric.redis.config_get("maxmemory")["maxmemory"]
    fabric.redis.config_set("maxmemory", "1")
    try:
        with pytest.raises(Exception, match="maxmemory"):
            fabric.intend("i2")
        assert fabric.lead("me").epoch == fabric.me.epoch
        assert fabric.apply(Over("i1.0", "", "x"), Close("i1")) == [True, True]
    finally:
        fabric.redis.config_set("maxmemory", limit)

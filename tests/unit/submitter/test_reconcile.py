"""Reconcile by tables: what is seen at one moment, and what is done about it."""

from dataclasses import replace
from typing import Any, TypeVar

import pytest

from fabric_broker.intents import Again, Ask, Cancelling, Change, Close, Found, Mark, Over, Remember
from fabric_broker.survey import IntentView, JobView, PoolView, Survey
from fabric_submitter.adapters.scheduler import Listing, Seen
from fabric_submitter.judging import Rules, misses_someone
from fabric_submitter.reconcile import Memory, Plan, Scene, reconcile, shares

RULES = Rules()
C = TypeVar("C", bound=Change)
NOW = 1_800_000_000.0


def job(intent: str, state: str = "running", *, holds: int = 0, **rest: Any) -> JobView:
    known = {"running": "n0", "draining": "n0"}
    values = {
        "nonce": known.get(state, ""),
        "slots": 1,
        "acquired": holds > 0,
        "seen": NOW,
        "started": NOW - 10 if state in known else None,
        "ended": NOW if state == "ended" else None,
        "scheduler_id": "",
        "reason": "",
        "wish": None,
    }
    fields: dict[str, Any] = values | rest
    return JobView(f"{intent}.0", state, holds=holds, **fields)


def intent(
    name: str, state: Any = "submitted", jobstate: str | None = None, *, holds: int = 0, **rest: Any
) -> IntentView:
    of_job = {"wanted": "submitting", "enqueued": "submitting", "submitting": "submitting"}
    values: dict[str, Any] = {"pool": "p", "kind": "local", "since": NOW - 10, "tries": 0, "host": "here"}
    values |= {"not_before": 0.0, "cancel_at": 0.0, "cancels": 0}
    mine = {key: rest.pop(key) for key in list(rest) if key in values}
    jobs = (job(name, jobstate or of_job.get(state, "running"), holds=holds, **rest),)
    return IntentView(name, state=state, reason="", jobs=jobs, **(values | mine))


def pool(**values: Any) -> PoolView:
    fields: dict[str, Any] = {"limit": 4, "slots": 1, "ttl": 30.0, "queued": 0, "soon": 0} | values
    return PoolView("p", "local", **fields)


def see(
    *intents: IntentView,
    listing: Listing | None = None,
    memory: Memory | None = None,
    mono: float = 100.0,
    held: bool = False,
    now: float = NOW,
    **fields: Any,
) -> Plan:
    survey = Survey(now, held, {"p": pool(**fields)}, intents)
    return reconcile(survey, {"local": Scene(listing, 10.0)}, memory or Memory(), mono, RULES)


def listing(
    *jobs: str, number: int = 1, began: float = 100.0, proof: bool = True, host: str = "here"
) -> Listing:
    seen = {f"{name}.0": Seen(f"{name}@1", "running") for name in jobs}
    return Listing(began, good=True, jobs=seen, number=number, proof=proof, host=host)


def of(plan: Plan, kind: type[C]) -> list[C]:
    return [change for change in plan.changes if isinstance(change, kind)]


# -- how many -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "intents", "lacking"),
    [
        ({"queued": 0}, [], 0),
        ({"queued": 1}, [], 1),
        ({"queued": 100}, [], 4),
        ({"queued": 100, "limit": 0}, [], 0),
        ({"soon": 2}, [], 2),
        ({"queued": 9, "slots": 4}, [], 3),
        # Free slots of jobs that hold leases take work; the others are themselves what the work wants.
        ({"queued": 5, "slots": 4}, [intent("a", holds=2, slots=4)], 1),
        ({"queued": 2, "slots": 4}, [intent("a", holds=2, slots=4)], 0),
        ({"queued": 2}, [intent("a"), intent("b", jobstate="pending")], 0),
        ({"queued": 2}, [intent("a", holds=1), intent("b", "wanted")], 1),
        # All that may still be alive counts into the ceiling.
        ({"queued": 9, "limit": 3}, [intent("a", jobstate="unknown"), intent("b", wish="drain")], 1),
        ({"queued": 9, "limit": 2}, [intent("a", jobstate="draining"), intent("b", holds=1)], 0),
    ],
)
def test_what_is_lacking_is_intended(fields, intents, lacking):
    assert see(*intents, **fields).want.get("p", 0) == lacking


def test_no_more_than_a_batch_of_intents_a_tick():
    assert see(queued=1000, limit=1000).want == {"p": RULES.batch}


def test_what_is_wanted_is_noted_for_status():
    assert of(see(queued=3), Remember) == [Remember("p", {"wanted": "3"})]
    assert of(see(queued=3, wanted=3), Remember) == []


# -- who goes -----------------------------------------------------------------------------------------------


def test_a_surplus_of_pending_jobs_is_cancelled_once_it_lasts():
    pending = [intent("a", jobstate="pending"), intent("b", jobstate="pending", since=NOW - 5)]
    first = see(*pending, queued=1)
    assert of(first, Ask) == []
    later = see(*pending, queued=1, memory=first.memory, now=NOW + RULES.settle)
    assert [ask.job for ask in of(later, Ask)] == ["b.0"], "the newest goes first"
    assert later.cancel == ("b",)
    assert of(later, Cancelling) == [Cancelling("b")]


def test_a_surplus_that_passes_cancels_nobody():
    pending = intent("a", jobstate="pending")
    memory = see(pending, queued=0).memory
    memory = see(pending, queued=1, memory=memory, now=NOW + 1).memory
    assert of(see(pending, queued=0, memory=memory, now=NOW + RULES.settle), Ask) == []


def test_an_idle_job_is_left_to_leave_by_itself():
    memory = see(intent("a")).memory
    assert of(see(intent("a"), memory=memory, now=NOW + 1000), Ask) == []


def test_holders_of_leases_are_drained_only_when_the_limit_was_lowered():
    holders = [intent(name, holds=1, started=NOW - age) for name, age in (("a", 9), ("b", 1), ("c", 5))]
    assert of(see(*holders, limit=3), Ask) == []
    asked = of(see(*holders, limit=1), Ask)
    assert [(ask.job, ask.wish) for ask in asked] == [("b.0", "drain"), ("c.0", "drain")]


def test_a_held_fabric_cancels_what_is_pending_and_drains_the_rest():
    jobs = [intent("a", jobstate="pending"), intent("b", holds=1), intent("c", "wanted")]
    asked = of(see(*jobs, held=True, queued=9), Ask)
    assert {(ask.job, ask.wish) for ask in asked} == {("a.0", "cancel"), ("b.0", "drain"), ("c.0", "cancel")}


def test_jobs_of_a_removed_pool_go():
    survey = Survey(NOW, False, {}, (intent("a", jobstate="pending"), intent("b", "wanted")))
    plan = reconcile(survey, {}, Memory(), 100.0, RULES)
    assert {ask.job for ask in of(plan, Ask)} == {"a.0", "b.0"}
    assert plan.submit == ()


def test_a_cancel_task_is_sent_again_only_after_a_while():
    job = intent("a", jobstate="pending", wish="cancel", cancel_at=NOW - 1)
    assert see(job).cancel == ()
    assert see(replace(job, cancel_at=NOW - RULES.repeat_cancel)).cancel == ("a",)


# -- intents and their tasks --------------------------------------------------------------------------------


def test_an_intent_gets_a_task_and_another_when_nobody_took_it():
    wanted = intent("a", "wanted")
    assert see(wanted, queued=1).submit == (wanted,)
    assert see(intent("a", "enqueued", since=NOW - 29), queued=1).submit == ()
    stale = intent("a", "enqueued", since=NOW - 30)
    assert see(stale, queued=1).submit == (stale,)


def test_a_busy_scheduler_is_left_alone():
    assert see(intent("a", "wanted", not_before=NOW + 1), queued=1).submit == ()


def test_a_task_that_never_answered_is_looked_up_twice_before_another_submits():
    lost = intent("a", "submitting", since=NOW - 11)
    memory = see(lost, queued=1, listing=listing(number=1, began=99.0), mono=100.0).memory
    for number, changes in ((2, []), (3, [Again("a", lost.since)])):
        plan = see(lost, queued=1, memory=memory, listing=listing(number=number, began=101.0), mono=102.0)
        assert [change for change in plan.changes if not isinstance(change, Remember)] == changes
        assert plan.want == {}
        memory = plan.memory


def test_one_listing_does_not_count_twice():
    lost = intent("a", "submitting", since=NOW - 11)
    memory = see(lost, mono=100.0).memory
    for _ in range(9):
        plan = see(lost, queued=1, memory=memory, listing=listing(number=7, began=101.0))
        memory = plan.memory
        assert of(plan, Again) == []


def test_a_submit_whose_answer_was_lost_is_found_by_its_name():
    plan = see(intent("a", "submitting", since=NOW - 11), listing=listing("a"), queued=1)
    assert of(plan, Found) == [Found("a", "here", {"a.0": "a@1"})]


def test_an_agent_that_claimed_is_never_submitted_again():
    lost = intent("a", "submitting", since=NOW - 60, nonce="n0")
    memory = see(lost, mono=100.0).memory
    for number in range(1, 5):
        plan = see(lost, memory=memory, listing=listing(number=number, began=100.0 + number))
        memory = plan.memory
        assert of(plan, Again) == []


# -- who is dead --------------------------------------------------------------------------------------------


def test_an_absent_process_is_proof_if_the_job_was_known_before_the_question():
    running = intent("a", holds=1)
    plan = see(running, listing=listing(began=99.0), mono=100.0)
    assert of(plan, Over) == []
    plan = see(running, listing=listing(number=2, began=101.0), memory=plan.memory, mono=102.0)
    assert of(plan, Over) == [Over("a.0", "n0", "its processes are gone")]


@pytest.mark.parametrize(
    "empty",
    [
        None,
        Listing(101.0, good=False, number=2),
        Listing(101.0, good=True, number=2),  # a squeue that prints nothing
        listing("b", number=2, began=101.0, host="there"),
    ],
)
def test_a_failed_an_empty_or_a_blind_answer_is_no_information(empty):
    running = intent("a", holds=1, seen=NOW - 100)
    memory = see(running, mono=100.0).memory
    for _ in range(10):
        plan = see(running, listing=empty, memory=memory, mono=102.0)
        memory = plan.memory
        assert of(plan, Over) == []
        assert of(plan, Mark) == []


def absent_from_good_answers(target: IntentView, answers: int) -> list[Change]:
    """Changes to `target` after so many good answers of a scheduler whose silence is no proof."""
    memory = see(target, mono=100.0).memory
    for number in range(1, answers + 1):
        other = listing("other", number=number, began=100.0 + number, proof=False, host="")
        plan = see(target, listing=other, memory=memory)
        memory = plan.memory
    return [change for change in plan.changes if not isinstance(change, Remember)]


def test_absence_is_believed_after_several_good_answers_if_the_agent_is_silent_too():
    silent = intent("a", holds=1, seen=NOW - 31)
    doubt = [Mark("a.0", "running", "unknown", "the scheduler does not list it")]
    assert absent_from_good_answers(silent, RULES.absences - 1) == doubt
    assert [type(change) for change in absent_from_good_answers(silent, RULES.absences)] == [Over]


def test_an_agent_that_speaks_is_alive_whatever_the_scheduler_says():
    assert absent_from_good_answers(intent("a", holds=1), 10) == []
    assert absent_from_good_answers(intent("a", jobstate="unknown", nonce="n0"), 2) == [
        Mark("a.0", "unknown", "running")
    ]


def test_a_job_of_another_host_is_given_up_after_a_long_silence():
    far = intent("a", holds=1, seen=NOW - RULES.abandon - 1, host="there")
    assert [change.job for change in of(see(far, listing=listing()), Over)] == ["a.0"]
    assert of(see(intent("a", holds=1, seen=NOW - 60, host="there"), listing=listing()), Over) == []


def test_a_job_that_left_takes_up_room_until_its_processes_are_gone():
    left = intent("a", jobstate="ended", nonce="n0", reason="idle")
    plan = see(left, listing=listing("a"), queued=1, limit=1)
    assert (plan.want, of(plan, Close)) == ({}, [])
    plan = see(left, listing=listing(number=2, began=101.0), memory=plan.memory, queued=1, limit=1)
    assert (plan.want, of(plan, Close)) == ({"p": 1}, [Close("a")])


def test_a_job_that_said_it_left_is_gone_when_an_empty_answer_agrees_and_not_without_one():
    left = intent("a", jobstate="ended", nonce="n0", reason="idle", ended=NOW - 100)
    memory = see(left, mono=100.0).memory
    assert of(see(left, memory=memory, listing=Listing(101.0, good=False, number=2)), Close) == []
    empty = Listing(101.0, good=True, number=2)  # nothing else is left in the queue, or squeue is broken
    assert of(see(left, memory=memory, listing=empty), Close) == []
    empty = replace(empty, sure_of_none=True)
    assert of(see(left, memory=memory, listing=empty), Close) == [Close("a")]


def test_what_a_killed_keeper_left_behind_is_cleared_away():
    orphaned = Listing(100.0, True, {"a.0": Seen("", "ending")}, proof=True, host="here")
    memory = see(intent("a"), listing=orphaned, mono=100.0).memory
    assert of(see(intent("a"), listing=orphaned, memory=memory, mono=101.0), Ask) == []
    plan = see(intent("a"), listing=orphaned, memory=memory, mono=101.0 + RULES.linger)
    assert [(ask.job, ask.wish) for ask in of(plan, Ask)] == [("a.0", "cancel")]


# -- young deaths -------------------------------------------------------------------------------------------


def dead(name: str = "a", **rest: Any) -> IntentView:
    return intent(name, "refused", jobstate="ended", **({"reason": "no such queue"} | rest))


def test_a_young_death_backs_off_and_further_ones_longer():
    for deaths, wait in ((0, 1.0), (1, 2.0), (3, 8.0), (30, RULES.backoff_most)):
        (remembered,) = of(see(dead(), queued=1, wanted=1, deaths=deaths), Remember)
        assert int(remembered.set["deaths"]) == deaths + 1
        assert int(remembered.set["retry_at"]) == (NOW + wait) * 1000


def test_nothing_is_intended_before_the_backoff_is_over_and_then_one_at_a_time():
    assert see(dead(), queued=9).want == {}
    assert see(queued=9, deaths=1, last_death=NOW, retry_at=NOW + 1).want == {}
    assert see(queued=9, deaths=1, last_death=NOW - 2, retry_at=NOW - 1).want == {"p": 1}
    assert see(intent("b", jobstate="pending"), queued=9, deaths=1, retry_at=NOW - 1).want == {}


def test_a_job_that_takes_work_ends_the_backoff():
    works = intent("b", holds=1, started=NOW - 1)
    plan = see(works, queued=9, deaths=3, last_death=NOW - 5, wanted=4)
    assert of(plan, Remember) == [Remember("p", drop=("deaths", "last_death", "retry_at"))]
    old = intent("b", holds=1, started=NOW - 9)
    assert of(see(old, queued=9, deaths=3, last_death=NOW - 5, wanted=4), Remember) == []


def test_past_a_limit_the_circuit_opens_with_the_reason_and_nothing_is_submitted():
    (remembered,) = of(see(dead(), queued=1, wanted=1, deaths=RULES.deaths - 1), Remember)
    assert remembered.set["circuit"] == "no such queue"
    plan = see(intent("b", "wanted"), queued=9, circuit="no such queue")
    assert (plan.want, plan.submit) == ({}, ())
    assert [ask.job for ask in of(plan, Ask)] == ["b.0"]


@pytest.mark.parametrize(
    ("ended", "queued"),
    [
        (dead(), 0),
        (dead(acquired=True), 1),
        (dead(wish="cancel"), 1),
        (dead(reason="idle"), 1),
        (intent("a", "cancelled", jobstate="ended"), 1),
    ],
)
def test_no_work_a_lease_a_wish_or_a_leave_is_no_young_death(ended, queued):
    plan = see(ended, queued=queued, wanted=min(queued, 4))
    assert of(plan, Close) == [Close("a")]
    assert of(plan, Remember) == []


def silent_since(seconds: float, **rest: Any) -> IntentView:
    return intent("hung", seen=NOW - seconds, acquired=True, started=NOW - 1000, **rest)


AWAKE = Memory(looked=NOW - 1, awake_since=NOW - 1000)


def test_a_job_whose_agent_is_silent_serves_nobody_and_another_is_wanted() -> None:
    plan = see(silent_since(31), listing=listing("hung"), memory=AWAKE, limit=2, queued=1)
    assert plan.want == {"p": 1}
    assert Mark("hung.0", "running", "unknown", "its agent is silent") in plan.changes
    assert not of(plan, Ask)


def test_a_silent_job_makes_room_when_its_pool_is_full_and_work_waits() -> None:
    plan = see(silent_since(31), listing=listing("hung"), memory=AWAKE, limit=1, queued=1)
    assert plan.want == {}
    assert [(ask.job, ask.wish) for ask in of(plan, Ask)] == [("hung.0", "cancel")]


def test_a_silent_job_that_holds_leases_or_that_nobody_needs_is_left_alone() -> None:
    for hung, waiting in ((silent_since(31, holds=1), 1), (silent_since(31), 0)):
        plan = see(hung, listing=listing("hung"), memory=AWAKE, limit=1, queued=waiting)
        assert not of(plan, Ask)


def test_nobody_is_silent_for_a_submitter_that_did_not_look() -> None:
    """Redis or the submitter was away: agents get a TTL to speak again."""
    slept = Memory(looked=NOW - 60, awake_since=NOW - 1000)
    plan = see(silent_since(61), listing=listing("hung"), memory=slept, limit=2, queued=1)
    assert plan.want == {}
    assert not of(plan, Mark)
    assert plan.memory.awake_since == NOW


# -- what a batch scheduler says ----------------------------------------------------------------------------


def says(state: Any, reason: str = "", name: str = "i1", **fields: Any) -> Listing:
    return Listing(100.0, good=True, jobs={f"{name}.0": Seen("7", state, reason)}, number=1, **fields)


def test_a_job_that_the_scheduler_says_ended_is_over_once_its_agent_is_silent():
    ended = says("ended", "it failed")
    assert not of(see(intent("i1", seen=NOW - 14, holds=1), listing=ended), Over)
    assert of(see(intent("i1", seen=NOW - 16, holds=1), listing=ended), Over) == [
        Over("i1.0", "n0", "it failed")
    ]
    assert of(see(intent("i1", jobstate="pending", seen=NOW), listing=ended), Over)


@pytest.mark.parametrize(
    ("reason", "deaths"), [("preempted", 0), ("its node failed: x", 0), ("drained", 0), ("it failed", 1)]
)
def test_ends_that_are_nobodys_fault_charge_nothing(reason, deaths):
    over = intent("i1", jobstate="ended", reason=reason, nonce="n0")
    plan = see(over, listing=says("ended"), queued=3)
    assert of(plan, Close) == [Close("i1")]
    assert sum("deaths" in change.set for change in of(plan, Remember)) == deaths


def test_an_empty_answer_says_nothing_however_long_unless_a_second_look_agrees():
    silent = intent("i1", seen=NOW - 10 * RULES.abandon)

    def die(*, sure: bool) -> list[Over]:
        plan = see(silent, mono=99.0)
        for number in range(1, 9):
            empty = Listing(100.0 + number, good=True, number=number, sure_of_none=sure)
            plan = see(silent, listing=empty, memory=plan.memory, mono=empty.began)
        return of(plan, Over)

    assert not die(sure=False)
    assert die(sure=True)


@pytest.mark.parametrize(
    ("target", "missed"),
    [
        (intent("i1"), False),
        (intent("i1", seen=NOW - 31), True),
        (intent("i1", "submitting", seen=NOW - 31), True),
        (intent("i1", "enqueued", seen=NOW - 31), False),
        (intent("i1", jobstate="ended", nonce="n0"), True),
        (intent("i1", seen=NOW - 31, kind="other"), False),
        (intent("i1", seen=NOW - 1, pool="removed"), True),
    ],
)
def test_somebody_is_missed_who_should_be_there_and_is_silent(target, missed):
    assert misses_someone(Survey(NOW, False, {"p": pool()}, (target,)), "local") is missed


def test_jobs_are_divided_among_submits():
    assert (shares(7, 1), shares(7, 3), shares(2, 1000), shares(0, 5)) == ([1] * 7, [3, 3, 1], [2], [])

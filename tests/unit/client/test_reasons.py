"""Why is this not running? A moment that has a reason gives that reason, and every moment gives at least one."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adaptive_fabric.learner_reasons import why_job, why_learner, why_run
from adaptive_fabric.reasons import Known, Reason, why_pool
from fabric_broker.intents import Leader
from fabric_broker.records import JobRecord, JobState, LearnerRecord, RunStatus
from fabric_broker.standing import JobStanding, LearnerStanding, RunStanding
from fabric_broker.states import STATES
from fabric_broker.survey import IntentState, IntentView, JobView, PoolView, Survey
from fabric_submitter.judging import STARTED

NOW = 1_800_000_000.0
ALIVE = Leader(alive=True, last_seen=NOW, host="login1")


def job(name: str = "i1", state: Any = "running", **fields: Any) -> JobView:
    started = state in ("running", "draining", "unknown")
    values: dict[str, Any] = {
        "nonce": "n" if started else "",
        "slots": 2,
        "holds": 2 if started else 0,
        "acquired": started,
        "seen": NOW,
        "started": NOW - 100 if started else None,
        "ended": None,
        "scheduler_id": "7",
        "reason": "",
        "wish": None,
    }
    return JobView(f"{name}.0", state, **(values | fields))


def intent(*jobs: JobView, state: IntentState = "submitted", **fields: Any) -> IntentView:
    values: dict[str, Any] = {
        "pool": "p",
        "kind": "slurm",
        "since": NOW - 10,
        "tries": 0,
        "host": "",
        "reason": "",
        "not_before": 0.0,
        "cancel_at": 0.0,
        "cancels": 0,
    }
    return IntentView(jobs[0].id[:-2], state=state, jobs=jobs, **(values | fields))


def known(*intents: IntentView, leader: Leader = ALIVE, held: bool = False, **pool: Any) -> Known:
    values: dict[str, Any] = {"limit": 4, "slots": 2, "ttl": 30.0, "queued": 3, "soon": 0}
    view = PoolView("p", "slurm", **(values | pool))
    return Known(Survey(NOW, held, {"p": view}, intents), leader)


def one(found: list[Reason], code: str) -> Reason:
    matching = [reason for reason in found if reason.code == code]
    assert len(matching) == 1, (code, found)
    return matching[0]


# -- pools ---------------------------------------------------------------------------------------------------

SUBMITTING = job(state="submitting")

POOLS: list[tuple[str, Known, str, str]] = [
    ("held", known(held=True), "fabric down", "fabric up"),
    ("no-submitter", known(leader=Leader(False, None, None)), "none was ever seen", "fabric up"),
    ("no-submitter", known(leader=Leader(False, NOW - 90, "login2")), "0:01:30 ago on login2", "fabric up"),
    (
        "circuit",
        known(deaths=5, circuit="it failed: no such module", circuit_since=NOW - 60),
        "since 0:01:00 ago: 5 jobs died young, the last: it failed: no such module",
        "fabric pool resume p",
    ),
    ("no-jobs", known(limit=0), "may have no jobs", "fabric scale p N"),
    ("back-off", known(deaths=2, retry_at=NOW + 8), "2 jobs .* in 0:00:08", "fabric jobs"),
    ("probation", known(deaths=1, retry_at=NOW - 1), "one job at a time", "fabric jobs"),
    (
        "busy",
        known(intent(SUBMITTING, state="wanted", not_before=NOW + 20, reason="QOSMaxSubmitJobPerUserLimit")),
        r"takes no more jobs now \(QOSMaxSubmitJobPerUserLimit\).*0:00:20",
        "scale",
    ),
    ("submitting", known(intent(SUBMITTING, state="enqueued")), "about to be submitted", ""),
    (
        "task-waits",
        known(intent(SUBMITTING, state="enqueued", tries=3)),
        "no task submits 1 job, though one was queued 3 times",
        "submitter.log",
    ),
    ("asked", known(intent(SUBMITTING, state="submitting")), "0:00:10 ago, no answer yet", ""),
    (
        "never-starts",
        known(intent(job(state="pending", reason="PartitionTimeLimit"))),
        "1 job waits in slurm: PartitionTimeLimit .*walltime is longer.*does not pass",
        "shorten walltime",
    ),
    ("pending", known(intent(job(state="pending", reason="Priority"))), "Priority", "wait"),
    ("pending", known(intent(job(state="pending"))), "gives no reason", ""),
    ("starting", known(intent(job(state="pending", reason=STARTED))), STARTED, "fabric explain i1.0"),
    ("silent", known(intent(job(seen=NOW - 31))), "silent for longer than a TTL", "fabric explain i1.0"),
    (
        "trouble",
        known(intent(job(reason="cannot import on n1: No module named 'm'"))),
        "a job of pool p says: cannot import on n1",
        "PYTHONPATH",
    ),
    ("unknown", known(intent(job(state="unknown"))), "does not tell about 1 job", "wait"),
    ("ending", known(intent(job(state="draining"))), "on the way out", ""),
    ("ending", known(intent(job(wish="drain"))), "on the way out", ""),
    (
        "walltime",
        known(intent(job(holds=1, walltime_end=NOW + 50)), last_call=60.0),
        "too little walltime",
        "walltime",
    ),
    (
        "at-limit",
        known(intent(job()), limit=1),
        r"at its limit of 1 job \(2 of 2 slots busy, 3 learners queued\)",
        "fabric scale p N",
    ),
    ("free-slot", known(intent(job(holds=1))), "1 slot free", ""),
    ("no-work", known(intent(job()), queued=0), "nothing is queued in pool p; its jobs hold 2 learners", ""),
    ("soon", known(), "about to be given a job", ""),
]


@pytest.mark.parametrize(("code", "moment", "text", "fix"), POOLS, ids=[case[0] for case in POOLS])
def test_a_pool_gives_its_reason(code, moment, text, fix):
    reason = one(why_pool(moment, "p"), code)

    assert re.search(text, reason.text)
    assert fix in reason.fix


def test_a_pool_that_is_gone_is_said_to_be():
    assert [reason.code for reason in why_pool(known(), "other")] == ["pool-gone"]


def test_a_pool_at_its_limit_that_is_full_names_no_other_reason():
    full = known(intent(job("i1")), intent(job("i2")), limit=2)
    assert [reason.code for reason in why_pool(full, "p")] == ["at-limit"]


def test_a_limit_for_all_pools_together_is_told_when_it_is_reached():
    moment = known(intent(job("i1")), intent(job("i2"), pool="q"))
    assert "ceiling" not in [reason.code for reason in why_pool(replace(moment, most=3), "p")]
    reached = one(why_pool(replace(moment, most=2), "p"), "ceiling")
    assert reached.text == "all pools together may have 2 jobs, and have 2"


def test_what_stops_everything_comes_first_and_what_passes_by_itself_last():
    moment = known(
        intent(job("i1", "pending", reason="Priority")),
        intent(job("i2", "pending", reason="PartitionNodeLimit")),
        leader=Leader(False, NOW - 60, None),
        deaths=5,
        circuit="no",
        limit=2,
    )
    codes = [reason.code for reason in why_pool(moment, "p")]
    assert codes == ["no-submitter", "circuit", "never-starts", "pending", "at-limit"]


def test_a_hundred_jobs_that_wait_alike_are_one_reason():
    jobs = [intent(job(f"i{i}", "pending", reason="Resources")) for i in range(100)]
    jobs += [intent(job(f"j{i}", "submitting"), state="enqueued") for i in range(50)]
    found = why_pool(known(*jobs, limit=200), "p")
    assert one(found, "pending").text.startswith("100 jobs wait")
    assert one(found, "submitting").text.startswith("50 jobs")
    assert len(found) == 2


# -- learners ------------------------------------------------------------------------------------------------


def learner(state: str = "queued", **fields: Any) -> LearnerStanding:
    of_record = {
        "job": None,
        "slot": None,
        "until": None,
        "attempts": 0,
        "error": None,
    }
    record: dict[str, Any] = {key: fields.pop(key, value) for key, value in of_record.items()}
    return LearnerStanding(
        LearnerRecord(
            id="r1.0",
            name="x",
            run="r1",
            pool="p",
            state=state,
            priority=0,
            token=1,
            npoints=7,
            loss=None,
            checkpoint=None,
            **record,
        ),
        **({"run_name": "sweep", "attempts_most": 3, "since": NOW - 60} | fields),
    )


LEARNERS: list[tuple[str, LearnerStanding, str, str]] = [
    ("queued", learner(place=1), "in pool p as number 2 of 3", ""),
    ("running", learner("leased", job="i1.0", slot=1, until=NOW + 20), "job i1.0, slot 1", ""),
    ("asked", learner("leased", job="i1.0", slot=1, command="pause", paused_by="a@b"), "pause by a@b", ""),
    ("silent", learner("leased", job="i2.0", slot=0, until=NOW + 20), "silent.* in 0:00:20", ""),
    ("expired", learner("leased", job="i2.0", slot=0, until=NOW - 20), "0:00:20 ago", ""),
    (
        "back-off",
        learner("delayed", attempts=1, error="ValueError: no luck", due=NOW + 4),
        "attempt 1 of 3 ended with ValueError: no luck; .* 0:00:04",
        "fabric logs r1.0",
    ),
    (
        "paused",
        learner("paused", paused_by="a@b"),
        "it was paused by a@b.* 0:01:00 ago",
        "fabric resume r1.0",
    ),
    ("paused", learner("paused", run_paused=True), "run sweep was paused, .*", "fabric resume r1"),
    ("waiting", learner("waiting"), "must be done first", "fabric runs"),
    ("done", learner("done"), "7 points", ""),
    ("cancelled", learner("cancelled"), "cancelled", "fabric retry r1.0"),
    ("failed", learner("failed", attempts=3, error="E: no"), "3 of 3 attempts .* E: no", "fabric retry r1.0"),
    (
        "failed",
        learner("failed", attempts=3, error="ModuleNotFoundError: No module named 'm'"),
        "No module named 'm'",
        "set PYTHONPATH by env=",
    ),
    ("quarantined", learner("quarantined", error="slot died"), "5 leases .*: slot died", "fabric retry r1.0"),
]


@pytest.mark.parametrize(("code", "standing", "text", "fix"), LEARNERS, ids=[case[0] for case in LEARNERS])
def test_a_learner_gives_its_reason(code, standing, text, fix):

    moment = known(intent(job("i1")), intent(job("i2", seen=NOW - 50)))
    reason = one(why_learner(moment, standing), code)
    assert re.search(text, reason.text)
    assert fix in reason.fix


def test_a_queued_learner_has_the_reasons_of_its_pool_too():
    found = why_learner(known(limit=0), learner(place=0))
    assert [reason.code for reason in found] == ["queued", "no-jobs"]


def test_a_queued_learner_whose_pool_was_removed():
    moment = replace(known(), survey=replace(known().survey, pools={}))
    assert [reason.code for reason in why_learner(moment, learner())] == ["queued", "pool-gone"]


# -- jobs ----------------------------------------------------------------------------------------------------


def standing(view: JobView, **fields: Any) -> JobStanding:
    record = JobRecord(
        view.id, "p", "7", view.state, view.reason or None, "n1", view.slots, [], view.seen, view.walltime_end
    )
    return JobStanding(record, **fields)


JOBS: list[tuple[str, JobView, dict[str, Any], str]] = [
    ("submitting", SUBMITTING, {}, "not submitted to slurm yet"),
    ("pending", job(state="pending", reason="Resources"), {}, "1 job waits in slurm: Resources"),
    ("never-starts", job(state="pending", reason="JobHeldUser"), {}, "held until somebody releases it"),
    ("starting", job(state="pending", reason=STARTED), {}, STARTED),
    ("silent", job(seen=NOW - 40), {}, "silent for 0:00:40"),
    ("unknown", job(state="unknown"), {}, "does not tell"),
    ("draining", job(state="draining"), {}, "saves 2 learners"),
    ("walltime", job(holds=1, walltime_end=NOW + 5), {}, "ends in 0:00:05"),
    ("running", job(), {}, "2 of 2"),
    ("free-slot", job(holds=1), {}, "1 of 2 slots"),
    (
        "trouble",
        job(reason="cannot import on n1: No module named 'm'"),
        {},
        "its agent says: cannot import on n1",
    ),
    ("asked-to-go", job(), {"wish": "drain", "wish_reason": "pool p may have 1 jobs"}, "may have 1 jobs"),
    ("ended", job(state="ended", reason="it failed: no module"), {}, "it failed: no module"),
]


@pytest.mark.parametrize(("code", "view", "fields", "text"), JOBS, ids=[case[0] for case in JOBS])
def test_a_job_gives_its_reason(code, view, fields, text):
    moment = known(intent(view), last_call=10.0)
    assert text in one(why_job(moment, standing(view, **fields)), code).text


def test_a_job_that_the_scheduler_does_not_take_says_so_in_its_words():
    moment = known(
        intent(SUBMITTING, state="wanted", reason="MaxSubmitJobs"), leader=Leader(False, None, None)
    )
    found = why_job(moment, standing(SUBMITTING))
    assert [reason.code for reason in found] == ["busy", "no-submitter"]
    assert "MaxSubmitJobs" in found[0].text


def test_a_job_of_a_pool_that_is_gone():
    moment = replace(known(intent(job())), survey=replace(known(intent(job())).survey, pools={}))
    assert [reason.code for reason in why_job(moment, standing(job()))] == ["pool-gone"]


# -- runs ----------------------------------------------------------------------------------------------------


def run(counts: dict[str, int], state: Any = "active", **fields: Any) -> RunStanding:
    status = RunStatus("r1", "sweep", state, counts, sum(counts.values()), 0, 0.0, None, None, None)
    return RunStanding(status, ("p",), **fields)


def test_a_run_says_what_keeps_its_learners_and_their_pool():
    counts = {"queued": 3, "leased": 2, "delayed": 1, "paused": 1, "failed": 1, "done": 2}
    found = why_run(known(limit=0), run(counts, paused_by="a@b"))
    assert [reason.code for reason in found] == [
        "running",
        "paused",
        "delayed",
        "failed",
        "queued",
        "no-jobs",
    ]
    assert "by a@b" in one(found, "paused").text


def test_a_run_with_pools_of_its_own_says_which_one_is_meant():
    moment = known(intent(job(state="pending", reason="Priority")), leader=Leader(False, None, None))
    other = replace(moment.survey.pools["p"], name="q", limit=0)
    moment = replace(moment, survey=replace(moment.survey, pools={**moment.survey.pools, "q": other}))
    found = why_run(moment, replace(run({"queued": 2}), pools=("p", "q")))
    assert [reason.code for reason in found] == ["queued", "no-submitter", "pending", "no-jobs"]
    assert one(found, "pending").text.startswith("pool p: 1 job waits")
    assert one(found, "no-jobs").text == "pool q may have no jobs"


def test_a_run_that_is_done_and_one_that_is_being_added():
    assert [reason.code for reason in why_run(known(), run({"done": 2}, "done"))] == ["done"]
    assert [reason.code for reason in why_run(known(), run({"done": 2}, adding=True))] == ["adding"]


# -- whatever there is -----------------------------------------------------------------------------------------

LEADERS = st.sampled_from([ALIVE, Leader(False, None, None), Leader(False, NOW + 3, "h")])


@st.composite
def moments(draw: st.DrawFn) -> Known:
    intents = []
    for number in range(draw(st.integers(0, 4))):
        view = job(
            f"i{number}",
            draw(st.sampled_from(get_args(JobState))),
            nonce=draw(st.sampled_from(["", "n"])),
            seen=draw(st.floats(0, 2 * NOW)),
            holds=draw(st.integers(0, 3)),
            reason=draw(st.text(max_size=20)),
            wish=draw(st.sampled_from([None, "drain", "cancel"])),
            walltime_end=draw(st.none() | st.floats(0, 2 * NOW)),
        )
        state = draw(st.sampled_from(get_args(IntentState)))
        intents.append(intent(view, state=state, not_before=draw(st.floats(0, 2 * NOW))))
    return known(
        *intents,
        leader=draw(LEADERS),
        held=draw(st.booleans()),
        limit=draw(st.integers(0, 3)),
        queued=draw(st.integers(0, 2)),
        soon=draw(st.integers(0, 1)),
        deaths=draw(st.integers(0, 6)),
        retry_at=draw(st.floats(0, 2 * NOW)),
        circuit=draw(st.none() | st.text(max_size=9)),
        circuit_since=draw(st.none() | st.floats(0, 2 * NOW)),
    )


@given(moments())
def test_whatever_there_is_a_pool_gives_a_few_reasons_and_each_job_at_least_one(moment):
    found = why_pool(moment, "p")
    assert 1 <= len(found) <= 20
    for each in moment.survey.intents:
        for view in each.jobs:
            assert why_job(moment, standing(view)), view


@given(moments(), st.sampled_from(STATES), st.none() | st.floats(0, 2 * NOW))
def test_whatever_there_is_a_learner_gives_a_reason(moment, state, until):
    there = learner(state, job="i0.0", slot=0, until=until, due=until)
    assert why_learner(moment, there)


def test_every_code_is_told_in_the_docs_and_no_other_is():
    root = Path(__file__).parents[3]
    sources = ("reasons", "learner_reasons", "explaining")
    text = "".join((root / "client" / "adaptive_fabric" / f"{name}.py").read_text() for name in sources)
    codes = set(re.findall(r'Reason\(\s*"([a-z-]+)"', text))
    by_stage = {"busy", "task-waits", "asked", "submitting"}
    by_state = {"paused", "delayed", "waiting", "failed", "quarantined", "cancelled", "queued"}
    table = [
        line for line in (root / "docs" / "explain.md").read_text().splitlines() if line.startswith("| `")
    ]
    told = {code for line in table for code in re.findall(r"`([a-z-]+)`", line.split("|")[1])}
    assert told == codes | by_stage | by_state

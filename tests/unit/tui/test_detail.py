"""What a learner's detail tells, and why it is not running; what is wrong with a fabric, worst first."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tests.unit.tui.things import NOW, board, event, learner, snapshot, watched

from fabric_broker.control_plane import ControlPlane, TaskQueue
from fabric_broker.view import LearnerView
from fabric_broker.watch import Inspected
from fabric_tui.detail import Frame, detail
from fabric_tui.model import Model
from fabric_tui.peek import Data
from fabric_tui.problems import problems, scheduler_error, why
from fabric_tui.requests import Requested
from fabric_tui.updates import LogLines, LogText, Names, Seen

POOL = {"kind": "local", "spec": "{}", "limit": "2", "slots": "4", "ttl": "30000"}
JOB = {"pool": "local", "state": "running", "slots": "4", "nonce": "n", "node": "n12"}
RUN = {"name": "sweep", "total": "9", "goal": "loss <= 0.01", "attempts": "3", "started": "1"}
ALIVE = {"until": str(int(NOW + 100) * 1000), "host": "login1", "seen": str(int(NOW) * 1000)}


def inspected(**more: Any) -> Inspected:
    fields: dict[str, Any] = {
        "fields": {},
        "until": None,
        "problem": None,
        "place": None,
        "queued": 0,
        "batches": 0,
        "run": RUN,
        "job": {},
    }
    return Inspected(now=NOW, **(fields | more))


def model_of(*views: LearnerView, **more: Any) -> Model:
    told = {"runs": {"r1": (RUN, {})}, "jobs": {"i1.0": (NOW, JOB, ("r1.0",))}, "leader": ALIVE} | more
    model = Model()
    model.apply(snapshot(*views, board=board(**told)))
    return model


def shown(model: Model, data: Data | None = None, *, whole: bool = True, now: float = NOW) -> str:
    return detail(model, "r1.0", now, Frame(80, whole, plot_height=8), data).plain


HELD = learner("r1.0", "leased", token=17, job="i1.0", slot=2, attempts=1, npoints=40, loss=0.5, priority=4)


def test_all_of_a_learner_that_runs() -> None:
    model = model_of(HELD)
    model.apply(Names({"r1.0": "a=0.1"}))
    for points, loss in ((60, 0.2), (90, 0.05), (120, 0.02)):
        model.apply(watched(HELD._replace(npoints=points, loss=loss), board=model.board))
    fields = {
        "leased_ms": "61000",
        "checkpoint": "17-2",
        "checkpoint_upto": "100",
        "checkpoint_size": "4200",
        "checkpoint_mac": "00",
        "checkpoint_at": str(int((NOW - 90) * 1000)),
    }
    model.apply(Seen("r1.0", inspected(fields=fields, until=NOW + 20, batches=3)))
    text = shown(model)
    assert text.startswith("a=0.1\nr1.0  run sweep  pool local\n● leased")
    for told in (
        "It runs: job i1.0, slot 2, on n12.",
        "attempts   1 of 3   priority 4",
        "job        i1.0 slot 2 on n12",
        "lease      20s left",
        "token      17",
        "leased for 1m",
        "checkpoint 1m old, 4.2 kB, covers 100 points",
        "journal    3 batches",
        "Loss against points, logarithmic, goal dashed",
        "d draws them",
    ):
        assert told in text
    assert "lease      3s left" in shown(model, now=NOW + 17)
    assert "lease      ended 5s ago" in shown(model, now=NOW + 25)


def test_its_history_names_who_asked() -> None:
    model = model_of(HELD)
    asked = event(3, "r1.0", "asked", "", by="anna@login1", verb="pause")
    model.apply(watched(HELD, events=(event(1), event(2, "r1.0", "acquire", "leased", job="i1.0"), asked)))
    lines = [line.split("ago  ")[1].split() for line in shown(model).splitlines() if "ago  " in line]
    assert lines == [
        ["anna@login1", "asked:", "pause"],
        ["leased", "acquire", "i1.0"],
        ["queued", "add"],
    ]


def test_an_error_with_its_traceback_and_point() -> None:
    model = model_of(learner("r1.0", "failed", attempts=3))
    trace = (
        "Traceback (most recent call last):\n"
        + "".join(f"  line {n}\n" for n in range(20))
        + "ValueError: no"
    )
    problem = {"type": "ValueError", "text": "no", "point": "-0.25", "node": "n7", "traceback": trace}
    model.apply(Seen("r1.0", inspected(problem=json.dumps(problem))))
    text = shown(model)
    assert "Its function raised 3 times: ValueError no." in text
    assert "point      -0.25" in text
    assert "line 0\n" in text
    assert "line 0\n" not in shown(model, whole=False), "beside the table only the end is shown"


def test_a_request_a_log_and_data() -> None:
    model = model_of(HELD)
    model.requests.ask("learner", "r1.0", Requested("pause"))
    lines = (LogText("1-0", NOW, "r1.0", "of it"), LogText("2-0", NOW, "r1.1", "of another"))
    model.apply(LogLines("i1.0", (*lines, LogText("3-0", NOW, "", "of the \x1b[31mjob")), fresh=True))
    text = shown(model, Data("1d", tuple((n / 9, (n / 9) ** 2) for n in range(10))))
    assert "» pause requested" in text
    assert "Log of i1.0" in text
    assert "of it" in text
    assert "of another" not in text
    assert "\x1b" not in text
    assert "Data, 10 points" in text
    assert "▒" in shown(model, Data("2d", tuple((x, y, x + y) for x in (0.0, 1, 2) for y in (0.0, 1, 2))))
    assert "has no data" in shown(model, Data("none", text="a Foo has no data that could be drawn"))


def test_a_learner_that_is_gone() -> None:
    assert shown(model_of()) == "r1.0 is gone"


# -- why is this not running? ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("view", "more", "told"),
    [
        (learner(), {"pools": {}}, "Its pool local is gone."),
        (learner(), {}, "2 learners come first"),
        (learner(), {}, "1 running job with 4 slots each"),
        (
            learner(),
            {"jobs": {"i2.0": (NOW, JOB | {"state": "pending", "reason": "Resources"}, ())}},
            "1 job wait in the scheduler: Resources.",
        ),
        (
            learner(),
            {"pools": {"local": (POOL | {"circuit": "bad account"}, 1)}},
            "gave up submitting: bad acc",
        ),
        (learner(), {"pools": {"local": (POOL | {"limit": "0"}, 1)}}, "may have no jobs; set N"),
        (learner(), {"leader": {}}, "No submitter is alive"),
        (learner(state="delayed", attempts=2), {}, "Attempt 2 of 3 raised"),
        (learner(state="waiting"), {}, "waits for learners that must be done first"),
        (learner(state="paused"), {}, "Resume queues it again"),
        (learner(state="cancelled"), {}, "Retry queues it again"),
        (learner(state="quarantined"), {}, "without one new point"),
        (learner(state="done"), {}, "goal is reached"),
        (HELD, {"jobs": {"i1.0": (NOW - 100, JOB, ("r1.0",))}}, "its job is silent"),
    ],
)
def test_why_a_learner_does_not_run(view: LearnerView, more: dict[str, Any], told: str) -> None:
    assert told in " ".join(why(model_of(view, **more), view, inspected(place=2)))


# -- problems --------------------------------------------------------------------------------------------------------


def test_problems_come_worst_first_and_say_where_to_look() -> None:
    model = model_of(
        learner("r1.0", "failed"),
        learner("r1.1", "failed"),
        learner("r1.2", "quarantined"),
        learner("r1.3", "queued"),
        jobs={"i1.0": (NOW - 300, JOB, ("r1.0",))},
        leader={},
        pools={
            "local": (POOL | {"circuit": "bad account"}, 1),
            "gpu": (POOL | {"retry_at": str(int(NOW + 60) * 1000), "deaths": "3"}, 0),
            "none": (POOL | {"limit": "0"}, 5),
        },
    )
    model.apply(ControlPlane((TaskQueue("control", 0, 0, 2),), ()))
    assert [(problem.text, problem.where) for problem in problems(model)] == [
        ("pool local: gave up submitting: bad account", "pools"),
        ("submitter: no submitter was ever seen; no new jobs until `fabric up` starts one", "control"),
        ("run sweep: 1 learner quarantined", "learners"),
        ("run sweep: 2 learners failed", "learners"),
        ("pool none: 5 learners queued, but it may have no jobs", "pools"),
        ("pool gpu: 3 jobs died young; next try in 1m", "pools"),
        ("job i1.0: running, silent for 5m, holds 1 learner", "jobs"),
        ("control plane: 2 tasks failed", "control"),
    ]


def test_the_last_scheduler_error_is_the_newest_refusal() -> None:
    refused = {"state": "refused", "since": "5", "reason": "sbatch: error: QOS limit"}
    earlier = {"state": "refused", "since": "4", "reason": "older"}
    assert scheduler_error(model_of()) is None
    model = model_of(intents={"i1": refused, "i2": earlier, "i3": {"state": "submitted"}})
    assert scheduler_error(model) == "sbatch: error: QOS limit"

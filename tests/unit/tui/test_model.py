"""What news do to the model: counts agree with the learners, requests end when fulfilled, memory is bounded."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st
from tests.unit.tui.things import NOW, board, event, learner, snapshot, watched

from fabric_broker.records import JobRecord
from fabric_broker.states import STATES
from fabric_tui.history import BIN, EVENTS, LOSSES, EventLog, LossHistory, Trend
from fabric_tui.model import Model
from fabric_tui.problems import problems
from fabric_tui.requests import Requested, Requests
from fabric_tui.updates import Glance, Names, Resync, Trouble

VIEWS = st.lists(
    st.builds(
        learner,
        st.integers(0, 9).map(lambda n: f"r1.{n}"),
        st.sampled_from(STATES),
        npoints=st.integers(0, 50),
        loss=st.one_of(st.none(), st.floats(0, 1)),
    ),
    max_size=8,
)


@given(VIEWS, st.lists(st.tuples(VIEWS, st.booleans()), max_size=4))
def test_counts_are_those_of_the_learners(first, rounds) -> None:
    model = Model()
    model.apply(snapshot(*first))
    for views, whole in rounds:
        model.apply(Resync({view.id: view for view in views}) if whole else watched(*views))
        by_state = Counter(view.state for view in model.learners.values())
        assert {state: number for state, number in model.counts.items() if number} == by_state
        assert model.points == sum(view.npoints for view in model.learners.values())


def test_a_trouble_makes_it_stale_and_news_make_it_live() -> None:
    model = Model()
    trouble = Trouble("unreachable", "cannot reach Redis", 1, 1.0)
    model.apply(trouble)
    connections = [str(model.connection)]
    for update in (snapshot(learner()), trouble, watched()):
        model.apply(update)
        connections.append(model.connection)
    assert connections == ["connecting", "live", "stale", "live"]
    assert model.learners
    assert model.trouble is None


def test_a_learner_that_is_gone_is_forgotten() -> None:
    model = Model()
    model.apply(snapshot(learner("r1.0"), learner("r1.1")))
    model.apply(Names({"r1.0": "a", "r1.1": "b"}))
    changes = model.apply(watched(gone="r1.0"))
    assert changes.learners == frozenset({"r1.0"})
    assert list(model.learners) == ["r1.1"]
    assert model.names == {"r1.1": "b"}


def test_names_are_asked_for_until_all_are_there() -> None:
    model = Model()
    model.apply(snapshot(learner("r1.0"), learner("r1.1"), learner("r1.2")))
    assert model.nameless(2) == ["r1.0", "r1.1"]
    model.apply(Names({"r1.0": "a", "r1.2": "c"}))
    assert model.nameless(2) == ["r1.1"]


def test_what_changed_is_told() -> None:
    model = Model()
    assert model.apply(snapshot(learner("r1.0"))).learners is None
    assert model.apply(watched(learner("r1.0"))).learners == frozenset()
    assert model.apply(watched(learner("r1.0", "done"))).learners == frozenset({"r1.0"})


def test_a_request_lasts_until_the_broker_shows_it_done() -> None:
    model = Model()
    model.apply(snapshot(learner("r1.0", "leased", token=5), learner("r1.1", "failed"), learner("r1.2")))
    model.requests.ask("learner", "r1.0", Requested("pause"))
    model.requests.ask("learner", "r1.1", Requested("retry"))
    model.requests.ask("learner", "r1.2", Requested("prioritize", number=3))
    model.apply(watched(learner("r1.0", "leased", token=5, npoints=9), learner("r1.1", "failed")))
    assert sorted(model.requests.learners()) == ["r1.0", "r1.1", "r1.2"]
    model.apply(watched(learner("r1.0", "paused", token=5), learner("r1.1"), learner("r1.2", priority=3)))
    assert model.requests.learners() == []


def test_a_released_lease_is_confirmed_by_another_token() -> None:
    requests = Requests()
    requests.ask("learner", "r1.0", Requested("release", token=5))
    requests.settle_learner("r1.0", learner("r1.0", "leased", token=5))
    assert requests.of("r1.0")
    requests.settle_learner("r1.0", learner("r1.0", "leased", token=6))
    assert requests.of("r1.0") is None


def test_requests_for_jobs_and_pools_are_confirmed_by_their_records() -> None:
    model = Model()
    fields = {"pool": "local", "state": "running", "slots": "4", "nonce": "n"}
    model.apply(snapshot(board=board(jobs={"i1.0": (NOW, fields, ())})))
    model.requests.ask("job", "i1.0", Requested("drain"))
    model.requests.ask("pool", "local", Requested("scale", number=7))
    model.apply(watched(board=board(jobs={"i1.0": (NOW, fields, ())})))
    assert model.requests.jobs() == ["i1.0"]
    pools = {"local": ({**board().pools["local"][0], "limit": "7"}, 0)}
    told = board(jobs={"i1.0": (NOW, fields | {"state": "draining"}, ())}, pools=pools)
    model.apply(watched(board=told))
    assert model.requests.jobs() == model.requests.pools() == []


def test_a_kill_is_confirmed_by_the_end_alone() -> None:
    requests, job = Requests(), JobRecord("i1.0", "p", None, "draining", None, None, 1, [], None, None)
    requests.ask("job", "i1.0", Requested("kill"))
    requests.settle_job("i1.0", job)
    assert requests.of("i1.0")


def test_events_are_kept_without_gaps_and_bounded() -> None:
    log = EventLog()
    log.begin([event(5), event(6)])
    log.extend([event(7)])
    log.extend_back([event(4), event(3)])
    assert [each.id for each in log] == ["3-0", "4-0", "5-0", "6-0", "7-0"]
    log.extend(event(n) for n in range(8, EVENTS + 100))
    log.extend_back([event(2)])
    assert len(log) == EVENTS
    assert log.oldest != "2-0"


def test_the_events_of_one_learner_follow_what_comes() -> None:
    log = EventLog()
    log.begin([event(1, "r1.0"), event(2, "r1.1")])
    assert [each.id for each in log.of("r1.0")] == ["1-0"]
    log.extend([event(3, "r1.0")])
    assert [each.id for each in log.of("r1.0")] == ["1-0", "3-0"]


def test_the_events_of_one_learner_go_with_the_oldest() -> None:
    log, fresh = EventLog(), EventLog()
    log.begin(event(n, f"r1.{n % 3}") for n in range(EVENTS - 5))
    assert log.of("r1.1")
    for first in range(EVENTS - 5, 2 * EVENTS, 7):
        log.extend(event(n, f"r1.{n % 3}") for n in range(first, first + 7))
    fresh.begin(log)
    assert log.of("r1.1") == fresh.of("r1.1")
    log.extend(event(n, "r1.2") for n in range(3 * EVENTS, 5 * EVENTS))
    assert log.of("r1.1") == []


def test_a_glance_counts_what_the_snapshot_then_brings() -> None:
    settings = {"name": "sweep", "total": "3"}
    runs = {"r1": (settings, {"queued": "2", "failed": "1", "points": "30"})}
    model = Model()
    model.apply(Glance(NOW, "unix:///s", "default", board(runs=runs), (event(1),)))
    assert model.connection == "live"
    assert (model.counts["queued"], model.counts["failed"], model.points) == (2, 1, 30)
    assert "run sweep: 1 learner failed" in [problem.text for problem in problems(model)]
    assert [each.id for each in model.events] == ["1-0"]

    views = [learner("r1.0"), learner("r1.1"), learner("r1.2", "failed", npoints=30)]
    model.apply(snapshot(*views, board=board(runs=runs), events=(event(1),)))
    assert (model.counts["queued"], model.counts["failed"], model.points) == (2, 1, 30)
    model.apply(Glance(NOW, "unix:///s", "default", board(), ()))
    assert (model.counts["queued"], model.points) == (2, 30)


def test_losses_get_sparse_but_keep_the_first_and_the_newest() -> None:
    losses = LossHistory()
    for n in range(1000):
        losses.note("r1.0", n, 1.0 / (n + 1))
    kept = losses.of("r1.0")
    assert len(kept) <= LOSSES + 1
    assert (kept[0][0], kept[-1][0]) == (0, 999)
    losses.note("r1.0", 3, 0.5)
    assert losses.of("r1.0") == [(3, 0.5)]


def test_rates_come_from_samples_by_redis_time() -> None:
    trend = Trend()
    trend.sample(NOW, 0, 0)
    for n in range(1, 4):
        trend.sample(NOW + n * BIN, 50 * n, n)
    assert trend.points_per_s()[-2:] == [5.0, 5.0]
    assert trend.done_per_h_now() > 0
    trend.sample(NOW - 1000, 10, 0)
    assert trend.points_per_s() == []

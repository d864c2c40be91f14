"""What the agent asks and concludes, without Redis, processes or clock."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest

from fabric_broker.calls import Acquired, Claimed, Committed, Ended, Journaled, Known, Renewed
from fabric_broker.keys import Keys
from fabric_broker.records import Command, Lease, Outcome
from fabric_broker.scripts import Call
from fabric_broker.signing import Signer
from fabric_jobs import channel
from fabric_jobs.channel import Down, Frame, Up
from fabric_jobs.crew import AHEAD_PATIENCE, BRIEF, BRIEF_LEASES, FENCED_PATIENCE, Crew
from fabric_jobs.deciding import Deciding
from fabric_jobs.fetching import Plain
from fabric_jobs.lease import LeaseOrder
from fabric_jobs.orders import Death, Fork, Kill, Remove, Say, Tell
from fabric_jobs.points import Points
from fabric_jobs.telling import Identity

SPEC = {"ttl": 30.0, "grace": 30.0, "idle_timeout": 60.0, "executor": "serial", "cores": 1}
PLAIN = {
    "HMGET": [b"/store", b"60.0", b"30.0"],
    "GET": b"signed",
    "LRANGE": [],
    "XADD": b"1-1",
}


KILLED = Death("was killed by SIGKILL", "SIGKILL")


def lease(learner: str = "rabcdefgh.0", slot: int = 0, token: int = 5) -> Lease:
    return Lease(learner, learner.split(".")[0], "a", token, slot, 0, 0, 0.0, 0, None, None, 0, 0)


def point() -> Points:
    return Points(1, channel.encode(Up.POINT, b"x"))


def said(kind: Up, **record: Any) -> Frame:
    return Frame(kind, channel.encode_json(kind, record)[channel.HEADER.size :])


def saved(n: int = 1, upto: int = 1) -> Frame:
    record = {"token": 5, "upto": upto, "size": 1, "mac": "m", "npoints": upto, "loss": 0.5}
    return said(Up.SAVED, n=n, **record, reason="goal", damaged=False)


class Agent:
    """An agent whose Redis says what a test wants."""

    def __init__(self, slots: int = 1, **spec: float) -> None:
        self.now = 1000.0
        self.crew = Crew(slots, "node1")
        self.deciding = Deciding(
            Identity("i1.0", "nonce", 0, "node1", 1),
            SPEC | spec,
            self.crew,
            Keys("f"),
            Signer(bytes(32), "f"),
            Random(1),
        )

    def asked(self) -> list[Any]:
        """What would be asked now, by name."""
        return [name(sending.ask) for sending in self.deciding.compose(self.now)]

    def exchange(self, **answers: Any) -> list[str]:
        """One round trip; what has no answer here is lost. Answers what was asked."""
        sendings = self.deciding.compose(self.now)
        names = []
        for sending in sendings:
            names.append(name(sending.ask))
            answer = answers.get(names[-1], PLAIN.get(names[-1]))
            if callable(answer):
                answer = answer(sending.ask)
            if answer is not None:
                sending.take(answer)
        self.deciding.settle(self.now)
        return names

    def orders(self, kind: type | None = None) -> list[Any]:
        found = [order for order in self.crew.orders if kind is None or isinstance(order, kind)]
        self.crew.orders.clear()
        return found

    def work(self, *leases: Lease) -> None:
        """Lease and start."""
        self.exchange(acquire=Acquired(Outcome.OK, leases or (lease(),)))
        self.exchange()

    def hear(self, serial: int, item: Points | Frame) -> None:
        """A slot process says something."""
        self.crew.heard(serial, item, self.now)

    def stops(self) -> list[dict[str, Any]]:
        """The STOP orders since the last look."""
        frames = [order.frame for order in self.orders(Tell)]
        heads = [(frame[4], frame[channel.HEADER.size :]) for frame in frames]
        return [Frame(kind, body).json() for kind, body in heads if kind == Down.STOP]


def name(ask: Call[Any] | Plain) -> str:
    return ask.script if isinstance(ask, Call) else str(ask.args[0])


def journaled(call: Call[Any]) -> Journaled:
    return Journaled(Outcome.OK, call.args["last"], 0, None)


COMMITTED = Committed(Outcome.OK, None, None)
OK = {
    "journal": journaled,
    "commit": COMMITTED,
    "complete": Outcome.OK,
    "release": Ended(Outcome.OK, "queued"),
}


@pytest.fixture
def agent() -> Agent:
    return Agent()


def test_a_new_lease_is_read_in_one_round_trip_and_started_in_a_new_process(agent):
    agent.exchange(acquire=Acquired(Outcome.OK, (lease(),)))
    assert agent.exchange() == ["HMGET", "GET", "GET", "LRANGE"]
    fork, tell = agent.orders()
    assert fork == Fork(1, 0)
    assert tell.serial == 1
    assert tell.frame[4] == Down.LEASE


def test_a_slot_is_told_how_long_its_workers_may_take_to_come(agent):
    agent.deciding.start_timeout = 7.0
    agent.work()
    _, tell = agent.orders()
    assert LeaseOrder.decode(tell.frame[channel.HEADER.size :]).start_timeout == 7.0


def test_a_done_learner_and_the_next_one_cost_two_round_trips(agent):
    agent.work()
    for item in (point(), saved(), said(Up.DONE, npoints=1, loss=0.5)):
        agent.hear(1, item)
    next_lease = Acquired(Outcome.OK, (lease("rabcdefgh.1"),))
    assert agent.exchange(**OK, acquire=next_lease) == ["journal", "commit", "complete", "acquire"]
    agent.orders()
    assert agent.exchange() == ["GET", "LRANGE"], "the run's data are here already"
    (tell,) = agent.orders()
    assert tell.serial == 1, "the same process"
    assert [held.lease.learner for held in agent.crew.helds] == ["rabcdefgh.1"]


def test_a_learner_of_another_run_gets_a_new_process(agent):
    agent.work()
    agent.hear(1, said(Up.DONE, npoints=0, loss=None))
    agent.exchange(**OK, acquire=Acquired(Outcome.OK, (lease("rzzzzzzzz.0"),)))
    agent.orders()
    agent.exchange()
    leave, fork, tell = agent.orders()
    assert leave == Tell(1, channel.encode(Down.EXIT))
    assert fork == Fork(2, 0)
    assert tell.serial == 2


def test_a_lost_acquire_is_asked_again_under_the_same_id(agent):
    first = agent.deciding.compose(agent.now)[0].ask.args
    agent.deciding.troubled(agent.now)
    agent.now += 3
    assert agent.deciding.compose(agent.now)[0].ask.args == first
    agent.exchange(acquire=Acquired(Outcome.OK))
    agent.now += 3
    assert agent.deciding.compose(agent.now)[0].ask.args != first


def test_after_trouble_the_leases_are_validated_before_anything_is_written(agent):
    agent.work()
    agent.hear(1, point())
    agent.deciding.troubled(agent.now)
    assert agent.exchange() == ["renew"]
    assert agent.exchange() == ["renew"], "an unanswered renew is no validation"
    agent.exchange(renew=Renewed(Outcome.OK, known={"rabcdefgh.0": Known(0, 0)}))
    assert "journal" in agent.asked()


def test_an_agent_that_slept_past_its_deadline_asks_first(agent):
    agent.work()
    agent.hear(1, point())
    agent.hear(1, saved())
    agent.now += 26
    assert agent.asked() == ["renew"]


def test_what_others_hold_is_stopped_without_saving_and_nothing_more_is_written(agent):
    agent.work()
    agent.hear(1, point())
    agent.now += 31
    agent.exchange(renew=Renewed(Outcome.OK, fenced=("rabcdefgh.0",)))
    assert agent.stops() == [{"cause": "fenced", "save": False}]
    agent.hear(1, point())
    agent.hear(1, saved(upto=2))
    agent.now += 1
    assert agent.exchange() == [], "its slot is not free and there is nothing to say"
    assert agent.stops() == []
    agent.hear(1, said(Up.STOPPED, cause="fenced", npoints=2, loss=None, error=None))
    agent.now += 1
    assert agent.exchange(acquire=Acquired(Outcome.OK)) == ["acquire"]
    assert agent.crew.helds == []


def test_a_fenced_slot_that_does_not_stop_is_killed(agent):
    agent.work()
    agent.now += 31
    agent.exchange(renew=Renewed(Outcome.OK, fenced=("rabcdefgh.0",)))
    assert agent.crew.tick(agent.now) == agent.now + FENCED_PATIENCE
    assert agent.orders(Kill) == []
    agent.crew.tick(agent.now + FENCED_PATIENCE)
    agent.crew.tick(agent.now + FENCED_PATIENCE)
    assert agent.orders(Kill) == [Kill(1)]


def test_leases_are_renewed_every_third_of_the_ttl(agent):
    agent.work()
    assert "renew" not in agent.asked()
    agent.now += 10.1
    assert agent.exchange(renew=Renewed(Outcome.OK, known={"rabcdefgh.0": Known(0, 0)}))[0] == "renew"
    agent.now += 9
    assert "renew" not in agent.asked()


def test_points_are_journaled_twice_a_second_and_at_once_when_they_are_large(agent):
    agent.work()
    agent.now += 1
    agent.exchange()
    agent.hear(1, point())
    assert agent.asked() == []
    agent.hear(1, Points(1, channel.encode(Up.POINT, bytes(1 << 20))))
    assert agent.exchange(**OK) == ["journal"] * 2
    agent.hear(1, point())
    agent.now += 0.5
    assert agent.asked() == ["journal"]


def test_a_dead_slot_gives_its_learner_back_with_what_is_known_after_its_points(agent):
    agent.work()
    agent.hear(1, point())
    agent.crew.died(1, Death("was killed by SIGKILL", "SIGKILL", ["last words"]), agent.now)
    assert agent.exchange(**OK) == ["journal", "acquire"]
    release = agent.deciding.compose(agent.now)[0].ask
    assert release.args["event"] == "died"
    for word in ("SIGKILL", "node1", "last words", "slot 0"):
        assert word in release.args["problem"]


def test_a_slot_that_could_not_be_started_gives_its_learner_back_as_not_begun(agent):
    agent.work()
    agent.crew.died(1, Death("could not be started: no mpiexec", began=False), agent.now)
    (release,) = [each.ask for each in agent.deciding.compose(agent.now) if name(each.ask) == "release"]
    assert (release.args["event"], release.args["began"]) == ("died", False)
    assert "no mpiexec" in release.args["problem"]


def test_a_job_that_cannot_start_slots_gives_back_and_ends_with_the_reason(agent):
    agent.work()
    agent.crew.died(1, Death("could not be started: no mpiexec", began=False), agent.now)
    agent.deciding.despair("no mpiexec", agent.now)
    agent.deciding.despair("again", agent.now)
    assert "release" in agent.exchange(**OK, drain_job=Outcome.OK)
    (end,) = [each.ask for each in agent.deciding.compose(agent.now) if name(each.ask) == "end_job"]
    assert end.args["reason"] == "slots cannot be started on node1: no mpiexec"
    assert agent.exchange(end_job=0) == ["end_job"]
    assert agent.deciding.ended == end.args["reason"]


def test_what_a_job_leases_is_unproven_until_a_slot_came_up(agent):
    agent.deciding.proven = False
    proofs = []

    def acquired(ask):
        assert ask.args["proven"] is False
        return Acquired(Outcome.OK, (lease(),))

    def renewed(ask):
        proofs.append(ask.args["proof"])
        return Renewed(Outcome.OK, known={"rabcdefgh.0": Known(0, 0)})

    agent.exchange(acquire=acquired)
    agent.exchange()
    agent.now += 11
    assert "renew" in agent.exchange(renew=renewed)
    agent.hear(1, said(Up.READY, pid=1))
    assert "renew" in agent.exchange(renew=renewed), "at once"
    assert "renew" not in agent.asked()
    agent.now += 11
    agent.exchange(renew=renewed)
    assert proofs == [False, True, False]


def test_a_slot_that_died_after_its_done_is_done(agent):
    agent.work()
    for item in (point(), saved(), said(Up.DONE, npoints=1, loss=None)):
        agent.hear(1, item)
    agent.crew.died(1, KILLED, agent.now)
    assert agent.exchange(**OK)[:3] == ["journal", "commit", "complete"]


def test_a_slot_that_keeps_dying_rests_a_little_longer_each_time(agent):
    rests = []
    for serial in range(1, 8):
        agent.work()
        agent.crew.died(serial, KILLED, agent.now)
        agent.exchange(**OK)
        rested = agent.crew.next_rested(agent.now)
        assert rested is not None
        assert agent.crew.free(rested) == [0]
        rests.append(rested - agent.now)
        agent.now = rested + 0.5
    assert rests == sorted(rests)
    assert rests[0] < 0.3
    assert rests[-1] == pytest.approx(2.0)


@pytest.mark.parametrize("verb", ["pause", "cancel"])
def test_a_command_is_taken_once_echoed_and_answered_with_a_release(agent, verb):
    agent.work()
    order = Renewed(
        Outcome.OK,
        known={"rabcdefgh.0": Known(0, 0)},
        commands={"rabcdefgh.0": Command(3, verb)},
    )
    for _ in range(2):
        agent.now += 11
        agent.exchange(renew=order)
    assert agent.stops() == [{"cause": verb, "save": True}]
    agent.now += 11
    (renew, *_) = agent.deciding.compose(agent.now)
    assert renew.ask.args["holds"] == [["rabcdefgh.0", 5, 0, 3]]
    agent.hear(1, saved(upto=0))
    agent.hear(1, said(Up.STOPPED, cause=verb, npoints=0, loss=None, error=None))
    agent.deciding._renew_at = agent.now + 1
    assert agent.exchange(**OK)[:2] == ["commit", "release"]


def test_a_drain_stops_slots_gives_back_says_so_and_ends(agent):
    agent = Agent(slots=2)
    agent.work()
    agent.deciding.drain(agent.now)
    assert agent.stops() == [{"cause": "drain", "save": True}]
    assert agent.exchange(drain_job=Outcome.OK) == ["drain_job"]
    for item in (point(), saved(), said(Up.STOPPED, cause="drain", npoints=1, loss=None, error=None)):
        agent.hear(1, item)
    assert Tell(1, channel.encode(Down.EXIT)) in agent.orders()
    assert agent.exchange(**OK) == ["journal", "commit", "release"]
    assert agent.exchange(end_job=0) == ["end_job"]
    assert agent.deciding.ended == "drained"


def test_a_drain_kills_a_slot_that_does_not_stop_in_time(agent):
    agent.work()
    agent.deciding.drain(agent.now)
    kill_at = agent.crew.tick(agent.now)
    assert kill_at is not None
    assert agent.now < kill_at < agent.now + 30
    agent.crew.tick(kill_at)
    assert agent.orders(Kill) == [Kill(1)]
    agent.crew.died(1, KILLED, kill_at)
    (release,) = [
        sending.ask for sending in agent.deciding.compose(agent.now) if name(sending.ask) == "release"
    ]
    assert release.args["event"] == "release", "we killed it: not the learner's fault"


def test_a_drain_does_not_wait_past_grace_for_a_slot_that_cannot_die(agent):
    agent.work()
    agent.deciding.drain(agent.now)
    agent.exchange(drain_job=Outcome.OK)
    agent.now += 29.5
    known = {"rabcdefgh.0": Known(0, 0)}
    agent.exchange(renew=Renewed(Outcome.OK, known=known))
    assert "end_job" in agent.exchange(end_job=1)
    assert agent.deciding.ended == "drained"


def test_leases_that_come_while_draining_go_back_untouched(agent):
    assert agent.exchange() == ["acquire"], "and its answer is lost"
    agent.deciding.drain(agent.now)
    agent.deciding.troubled(agent.now)
    assert agent.deciding.ended is None
    assert agent.exchange(acquire=Acquired(Outcome.OK, (lease(),)), drain_job=Outcome.OK)[0] == "acquire"
    assert agent.exchange(**OK) == ["release"]
    assert agent.exchange(end_job=0) == ["end_job"]
    assert agent.orders(Fork) == []


def test_an_idle_agent_asks_whether_it_may_leave(agent):
    none = Acquired(Outcome.OK)
    agent.exchange(acquire=none)
    agent.now += 59
    assert "leave" not in agent.exchange(acquire=none)
    agent.now += 2
    assert "leave" in agent.exchange(acquire=none, leave="stay")
    assert agent.deciding.ended is None
    agent.now += 1
    assert "leave" in agent.exchange(acquire=none, leave="leave")
    assert agent.deciding.ended == "idle"


def test_an_agent_without_learners_does_not_wait_for_redis_for_ever(agent):
    agent.exchange(acquire=Acquired(Outcome.OK))
    agent.now += 59
    agent.deciding.troubled(agent.now)
    assert agent.deciding.ended is None
    agent.now += 2
    agent.deciding.troubled(agent.now)
    assert agent.deciding.ended == "unreachable"


def test_an_agent_with_learners_does(agent):
    agent.work()
    agent.now += 10_000
    agent.deciding.troubled(agent.now)
    assert agent.deciding.ended is None


def test_a_second_copy_that_took_over_ends_this_one(agent):
    agent.work()
    agent.now += 11
    agent.exchange(renew=Renewed(Outcome.FENCED))
    assert agent.deciding.ended == "fenced"
    assert agent.crew.helds[0].to_send() == []
    assert any("another copy" in order.text for order in agent.orders(Say))


def test_a_claim_that_redis_forgot_is_made_again_and_the_leases_validated(agent):
    agent.work()
    agent.now += 11
    agent.exchange(renew=Renewed(Outcome.GONE))
    assert agent.exchange(claim=Claimed(Outcome.OK, "local", {})) == ["claim"]
    assert agent.asked() == ["renew"]


def test_a_forgotten_claim_that_somebody_else_made_ends_this_agent(agent):
    agent.work()
    agent.now += 11
    agent.exchange(renew=Renewed(Outcome.GONE))
    agent.exchange(claim=Claimed(Outcome.FENCED, "", {}))
    assert agent.deciding.ended == "fenced"


def test_points_that_only_the_slot_still_has_are_saved_by_it_once(agent):
    agent.exchange(
        acquire=Acquired(
            Outcome.OK, (Lease("rabcdefgh.0", "rabcdefgh", "a", 5, 0, 9, 9, 0, 0, None, None, 0, 0),)
        )
    )
    agent.exchange()
    agent.now += 11
    agent.orders()
    for _ in range(2):
        agent.exchange(renew=Renewed(Outcome.OK, known={"rabcdefgh.0": Known(7, 0)}))
        agent.now += 11
    assert agent.orders(Tell) == [Tell(1, channel.encode(Down.SAVE))]
    agent.hear(1, saved(upto=9))
    agent.exchange(renew=Renewed(Outcome.OK, known={"rabcdefgh.0": Known(7, 0)}))
    agent.now += 0.5
    assert agent.exchange(**OK) == ["commit"]


def test_a_checkpoint_file_goes_only_when_no_crash_of_redis_can_bring_its_pointer_back(agent):
    agent.work()
    agent.hear(1, saved(n=3))
    agent.now += 0.5
    agent.exchange(journal=journaled, commit=Committed(Outcome.OK, (4, 1), None))
    (remove,) = agent.orders(Remove)
    assert remove.store == "/store"
    assert remove.path == "rabcdefgh/rabcdefgh.0/4-1"
    assert remove.due == pytest.approx(1000.0 + 2.0), "two seconds after the commit before"


def test_a_journal_entry_that_nobody_wrote_gives_the_learner_back(agent):
    agent.exchange(acquire=Acquired(Outcome.OK, (lease(),)))
    agent.exchange(LRANGE=[b"rubbish"])
    (release,) = [
        sending.ask for sending in agent.deciding.compose(agent.now) if name(sending.ask) == "release"
    ]
    assert "rubbish" in release.args["problem"]


def test_log_lines_go_out_once_a_second(agent):
    agent.work()
    agent.deciding.log += [("rabcdefgh.0", "one"), (None, "two")]
    agent.now += 2
    assert agent.exchange().count("XADD") == 2
    agent.deciding.log.append((None, "three"))
    assert "XADD" not in agent.asked()


def test_a_slot_that_becomes_free_does_not_wait_for_the_next_poll():
    agent = Agent(slots=2)
    agent.work()
    agent.now += 0.01
    assert "acquire" not in agent.asked(), "slot 1 has asked in vain a moment ago"
    agent.hear(1, said(Up.DONE, npoints=0, loss=None))
    agent.now += 0.01
    (acquire,) = [each.ask for each in agent.deciding.compose(agent.now) if name(each.ask) == "acquire"]
    assert isinstance(acquire, Call)
    assert acquire.args["slots"] == [0, 1]


# -- a lease ahead ---------------------------------------------------------------------------------------------------


def brief(agent: Agent, count: int, begin: int = 0) -> None:
    """The slot works off brief learners, each of which costs two round trips."""
    for index in range(begin, begin + count):
        agent.exchange(**OK, acquire=Acquired(Outcome.OK, (lease(f"rabcdefgh.{index}"),)))
        agent.exchange(**OK)
        agent.orders()
        agent.now += 0.01
        agent.hear(1, said(Up.DONE, npoints=0, loss=None))


@pytest.fixture
def ahead(agent: Agent) -> Agent:
    """An agent with one lease at work and one ahead."""
    brief(agent, BRIEF_LEASES)
    agent.exchange(**OK, acquire=Acquired(Outcome.OK, (lease("rabcdefgh.20"),)))
    agent.exchange()
    agent.exchange(acquire=Acquired(Outcome.OK, (lease("rabcdefgh.21", token=6),)))
    agent.exchange()
    agent.orders()
    assert [held.lease.learner for held in agent.crew.helds] == ["rabcdefgh.20", "rabcdefgh.21"]
    return agent


def test_after_many_brief_learners_the_next_one_is_there_when_it_is_needed(ahead):
    ahead.hear(1, said(Up.DONE, npoints=0, loss=None))
    (tell,) = ahead.orders()
    assert b"rabcdefgh.21" in tell.frame
    ahead.now += 0.01
    assert ahead.exchange(**OK, acquire=Acquired(Outcome.OK))[-2:] == ["complete", "acquire"]


def test_a_lease_that_waits_behind_a_long_one_is_given_back(ahead):
    assert ahead.crew.tick(ahead.now) == ahead.now + AHEAD_PATIENCE
    ahead.now += AHEAD_PATIENCE
    ahead.crew.tick(ahead.now)
    (release,) = [each.ask for each in ahead.deciding.compose(ahead.now) if name(each.ask) == "release"]
    assert isinstance(release, Call)
    assert release.args["learner"] == "rabcdefgh.21"
    assert release.args["began"] is False
    ahead.hear(1, said(Up.DONE, npoints=0, loss=None))
    assert ahead.orders() == []
    assert ahead.crew.free(ahead.now) == [0]


def test_no_lease_is_taken_ahead_behind_one_that_is_not_brief(agent):
    brief(agent, BRIEF_LEASES)
    agent.exchange(**OK, acquire=Acquired(Outcome.OK, (lease("rabcdefgh.20"),)))
    agent.exchange()
    agent.now += BRIEF
    assert agent.crew.free(agent.now) == []


@pytest.mark.parametrize("how", ["drain", "death"])
def test_a_lease_ahead_goes_back_when_its_slot_will_not_take_it(ahead, how):
    if how == "drain":
        ahead.deciding.drain(ahead.now)
    else:
        ahead.crew.died(1, KILLED, ahead.now)
    released = [each.ask for each in ahead.deciding.compose(ahead.now) if name(each.ask) == "release"]
    assert "rabcdefgh.21" in [ask.args["learner"] for ask in released if isinstance(ask, Call)]


def test_a_lease_ahead_that_others_hold_is_dropped(ahead):
    ahead.now += 31
    ahead.exchange(renew=Renewed(Outcome.OK, known={"rabcdefgh.20": Known(0, 0)}, fenced=("rabcdefgh.21",)))
    assert [held.lease.learner for held in ahead.crew.helds] == ["rabcdefgh.20"]
    assert ahead.stops() == []
    ahead.hear(1, said(Up.DONE, npoints=0, loss=None))
    assert ahead.orders(Tell) == []


def test_after_a_release_the_agent_asks_at_once(agent):
    agent.work()
    agent.hear(1, point())
    agent.crew.died(1, KILLED, agent.now)
    none = Acquired(Outcome.OK)
    assert agent.exchange(**OK, acquire=none) == ["journal", "acquire"]
    assert agent.exchange(**OK) == ["release"]
    assert agent.asked() == ["acquire"]


# -- the walltime ----------------------------------------------------------------------------------------------------


def test_it_leases_nothing_that_would_not_fit_and_ends_when_it_holds_nothing():
    agent = Agent(grace=10.0, min_lease_time=20.0)
    agent.deciding.ends_at(agent.now + 40.0)
    agent.now += 9.0
    assert "acquire" in agent.asked()
    agent = Agent(grace=10.0, min_lease_time=20.0)
    agent.deciding.ends_at(agent.now + 40.0)
    agent.now += 11.0
    assert agent.asked() == ["end_job"]


def test_it_drains_a_grace_time_before_its_walltime_ends():
    agent = Agent(grace=10.0)
    agent.deciding.ends_at(agent.now + 19.0)
    agent.exchange(acquire=Acquired(Outcome.OK, [lease()]))
    assert "drain_job" not in agent.asked()
    agent.now += 9.1
    assert "drain_job" in agent.asked()


def lacks(module: str) -> Frame:
    text = f"No module named '{module}'"
    return said(
        Up.RAISED,
        type="ModuleNotFoundError",
        text=text,
        traceback="",
        point=None,
        node="node1",
        npoints=None,
        loss=None,
    )


def test_a_module_that_a_node_lacks_is_noted_in_the_jobs_record_until_redis_has_it(agent):
    agent.work(lease())
    agent.hear(1, lacks("mine"))
    assert "fail" in agent.exchange(fail=Ended(Outcome.OK, "delayed"))
    assert "note_job" in agent.exchange(), "whose answer is lost"
    noted: list[str] = []

    def take(call: Call[Any]) -> Outcome:
        noted.append(call.args["reason"])
        return Outcome.OK

    agent.exchange(note_job=take)
    assert noted == ["cannot import on node1: No module named 'mine'"]
    assert "note_job" not in agent.exchange(note_job=take)


def test_any_other_error_of_a_learner_is_not_the_jobs(agent):
    agent.work(lease())
    agent.hear(1, said(Up.RAISED, type="ValueError", text="no", point="0.5", npoints=0, loss=None))
    agent.exchange(fail=Ended(Outcome.OK, "delayed"))
    assert "note_job" not in agent.exchange()

"""Real slots, forked from a real fork server: what they say of a lease, whatever the user's function does."""

from __future__ import annotations

import ctypes
import os
import pickle
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import adaptive
import cloudpickle
import pytest
from tests.slots import Ledger, Seated, load

from fabric_broker.signing import Signer
from fabric_jobs import channel
from fabric_jobs.channel import Down, Frame, Up

# The slot need not import the tests.
cloudpickle.register_pickle_by_value(sys.modules[__name__])


def twice(x: Any) -> Any:
    return 2 * x


def slowly(x: Any) -> Any:
    time.sleep(0.03)
    return x


def line(function: Callable[[Any], Any] = twice) -> Any:
    return adaptive.Learner1D(function, (-1, 1))


def items(function: Callable[[Any], Any], n: int) -> Any:
    return adaptive.SequenceLearner(function, list(range(n)))


def test_a_learner_runs_to_its_goal_and_its_file_loads_with_plain_adaptive(site, tmp_path):
    ledger = Ledger(site.signer, tmp_path, line(), goal=50)
    site.run(ledger)
    kind, record = ledger.ending()
    assert (kind, record["npoints"], ledger.seq) == (Up.DONE, 50, 50)
    assert dict(load(ledger, line()).data) == dict(ledger.journaled())
    assert [frame.kind for frame in ledger.frames][:3] == [Up.READY, Up.SAVED, Up.DONE]


def test_an_unfinished_learner_goes_on_in_another_slot(site, tmp_path):
    ledger = Ledger(site.signer, tmp_path, items(lambda x: slowly(os.getpid()), 40))

    async def first(slot: Seated) -> None:
        def stop(frame: Frame) -> None:
            if frame.kind == Up.POINT and ledger.seq == 5:
                slot.stop("drain")

        await slot.lease(ledger, on_frame=stop)

    site.new_slot(first)
    kind, record = ledger.ending()
    assert (kind, record["cause"]) == (Up.STOPPED, "drain")
    assert ledger.said(Up.SAVED)[-1]["upto"] == ledger.seq < 40
    before = ledger.seq
    site.run(ledger)
    assert ledger.ending()[0] is Up.DONE
    assert ledger.seq == 40
    data = load(ledger, items(abs, 40)).data
    assert len(set(list(data.values())[:before])) == 1
    assert len(set(data.values())) == 2


def test_a_slot_takes_learner_after_learner_and_keeps_its_globals(site, tmp_path):
    async def act(slot: Seated) -> list[Any]:
        pids = []
        for n in range(3):
            ledger = Ledger(site.signer, tmp_path, items(lambda x: os.getpid(), 3), id=f"r0000000a.{n}")
            await slot.lease(ledger)
            pids += [value for _, value in ledger.journaled()]
        return [slot.pid, *pids]

    assert len(set(site.new_slot(act))) == 1


@pytest.mark.parametrize("executor", ["serial", "process-pool", pytest.param("loky", marks=pytest.mark.long)])
def test_each_executor_reaches_the_goal(site, tmp_path, executor):
    shift = 5
    ledger = Ledger(site.signer, tmp_path, line(lambda x: x + shift), goal=20, executor=executor)
    site.run(ledger)
    assert ledger.ending()[0] is Up.DONE
    assert all(y == x + 5 for x, y in load(ledger, line()).data.items())


def test_the_initializer_runs_once_before_the_first_learner(site, tmp_path):
    def initialize():
        os.environ["CALLS"] = os.environ.get("CALLS", "") + "x"

    async def act(slot: Seated) -> list[Any]:
        found = []
        for n in range(2):
            learner = items(lambda x: os.environ["CALLS"], 2)
            ledger = Ledger(site.signer, tmp_path, learner, initializer=initialize, id=f"r0000000a.{n}")
            await slot.lease(ledger)
            found += [value for _, value in ledger.journaled()]
        return found

    assert site.new_slot(act) == ["x"] * 4


def test_functions_of_a_module_beside_the_slots_script_are_found(site, tmp_path, monkeypatch):
    (tmp_path / "beside_the_slots_script.py").write_text(
        "from pathlib import Path\n"
        "def f(x):\n    return Path('here').read_text()\n"
        "def goal(learner):\n    return learner.npoints >= 3\n"
    )
    (tmp_path / "here").write_text("yes")
    monkeypatch.syspath_prepend(str(tmp_path))
    import beside_the_slots_script  # type: ignore[import-not-found]

    learner = items(beside_the_slots_script.f, 3)
    ledger = Ledger(
        site.signer,
        tmp_path / "s",
        learner,
        goal=beside_the_slots_script.goal,
        cwd=tmp_path,
        sys_path=(str(tmp_path),),
    )
    site.run(ledger)
    assert ledger.ending()[0] is Up.DONE, ledger.ending()
    assert {value for _, value in ledger.journaled()} == {"yes"}


def test_a_working_directory_that_is_not_there_is_told(site, tmp_path):
    ledger = Ledger(site.signer, tmp_path, line(), goal=3, cwd=tmp_path / "gone")
    site.run(ledger)
    assert ledger.ending()[0] is Up.DONE
    assert "working directory" in ledger.said(Up.WARNING)[0]["text"]


def test_an_error_comes_with_point_traceback_and_node_after_what_was_found_is_saved(site, tmp_path):
    def broken(x):
        return 1 / (x - 3)

    ledger = Ledger(site.signer, tmp_path, items(broken, 9))
    site.run(ledger)
    kind, record = ledger.ending()
    assert kind is Up.RAISED
    assert (record["type"], record["point"], record["node"]) == ("ZeroDivisionError", "(3, 3)", "n7")
    assert "1 / (x - 3)" in record["traceback"]
    assert record["npoints"] == 3
    assert ledger.said(Up.SAVED)[-1]["upto"] == 3


@pytest.mark.parametrize(
    ("learner", "goal", "kind"),
    [
        (lambda: items(lambda x: sys.exit(4), 3), None, "SystemExit"),
        (lambda: line(), lambda learner: 1 / 0, "ZeroDivisionError"),
        (lambda: line(), None, "fabric_broker.errors.UsageError"),
        (lambda: line(), True, "fabric_broker.errors.UsageError"),
        (lambda: items(lambda x: x, 3), 4, "fabric_jobs.drive.ExhaustedError"),
    ],
    ids=["sys.exit", "goal raises", "no goal", "bool", "out of reach"],
)
def test_other_errors_are_the_learners_too(site, tmp_path, learner, goal, kind):
    ledger = Ledger(site.signer, tmp_path, learner(), goal=goal)
    site.run(ledger)
    ended, record = ledger.ending()
    assert ended is Up.RAISED
    assert record["type"] == kind


def test_a_slot_goes_on_after_an_error(site, tmp_path):
    async def act(slot: Seated) -> list[Up]:
        ends = []
        for n, function in enumerate([lambda x: 1 / 0, lambda x: sys.exit(), twice]):
            ledger = Ledger(site.signer, tmp_path, items(function, 3), id=f"r0000000a.{n}")
            ends.append((await slot.lease(ledger)).ending()[0])
        return ends

    assert site.new_slot(act) == [Up.RAISED, Up.RAISED, Up.DONE]


def test_another_runs_learner_is_refused(site, tmp_path):
    async def act(slot: Seated) -> Any:
        await slot.lease(Ledger(site.signer, tmp_path, items(twice, 2)))
        return (await slot.lease(Ledger(site.signer, tmp_path, items(twice, 2), id="r0000000b.0"))).ending()

    kind, record = site.new_slot(act)
    assert kind is Up.RAISED
    assert "serves run r0000000a" in record["text"]


class Boobytrap:
    """Creates a folder when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.path),)


def test_what_a_stranger_signed_is_refused_and_never_unpickled(site, tmp_path):
    trap = tmp_path / "sprung"
    stranger = Signer(b"s" * 32, "default")
    ledger = Ledger(site.signer, tmp_path / "s", items(twice, 2))
    forged = pickle.dumps(Boobytrap(trap))
    good_run, good_learner = ledger.run_blob, ledger.learner_blob

    async def act(slot: Seated) -> list[Any]:
        ends = []
        ledger.run_blob = stranger.sign("run", forged, learner=ledger.run)
        ends.append((await slot.lease(ledger)).ending())
        ledger.run_blob, ledger.learner_blob = good_run, stranger.sign("learner", forged, learner=ledger.id)
        ends.append((await slot.lease(ledger)).ending())
        ledger.learner_blob = good_learner
        ends.append((await slot.lease(ledger)).ending())
        return ends

    first, second, third = site.new_slot(act)
    for kind, record in (first, second):
        assert (kind, record["type"]) == (Up.RAISED, "fabric_broker.errors.SignatureError")
    assert third[0] is Up.DONE
    assert not trap.exists()


def test_what_the_function_prints_comes_out_at_once_and_disturbs_nothing(site, tmp_path):
    def talk(x):
        print("out", x)
        os.system(f"echo from a shell {x}")
        print("x" * 2000, file=sys.stderr)
        return x

    ledger = Ledger(site.signer, tmp_path, items(talk, 20))
    printed = site.run(ledger)
    assert ledger.ending()[0] is Up.DONE
    assert printed.index("out 7\n") < printed.index("from a shell 7\n") < printed.index("out 8\n")


def greet(x: Any) -> Any:
    print("hello", x)
    return x


@pytest.mark.parametrize("executor", ["process-pool", pytest.param("loky", marks=pytest.mark.long)])
def test_what_workers_print_comes_out_too(site, tmp_path, executor):
    ledger = Ledger(site.signer, tmp_path, items(greet, 3), executor=executor)
    printed = site.run(ledger)
    assert {f"hello {n}" for n in range(3)} <= set(printed.splitlines())


def test_a_function_that_changes_folder_disturbs_no_other_learner(site, tmp_path):
    def wander(x):
        os.chdir("/")
        return x

    async def act(slot: Seated) -> Any:
        ends = []
        for n, function in enumerate([wander, lambda x: str(Path.cwd())]):
            ledger = Ledger(
                site.signer, tmp_path / "s", items(function, 3), cwd=tmp_path, id=f"r0000000a.{n}"
            )
            ends.append((await slot.lease(ledger)).ending()[0])
        return ends, ledger.journaled()

    ends, found = site.new_slot(act)
    assert ends == [Up.DONE, Up.DONE]
    assert {value for _, value in found} == {str(tmp_path)}


def test_a_forked_child_that_falls_back_into_the_slot_says_nothing(site, tmp_path):
    def forks(x):
        pid = os.fork()
        if pid:
            os.waitpid(pid, 0)
        return x

    ledger = Ledger(site.signer, tmp_path, items(forks, 5))
    site.run(ledger)
    assert ledger.ending()[0] is Up.DONE
    assert ledger.seq == 5


@pytest.mark.parametrize(
    ("fatal", "signal", "code", "word"),
    [
        (lambda: os._exit(3), None, 3, ""),
        (lambda: ctypes.string_at(0), "SIGSEGV", None, "Segmentation fault"),
        (lambda: os.abort(), "SIGABRT", None, "Aborted"),
    ],
    ids=["_exit", "segfault", "abort"],
)
def test_a_slot_that_dies_has_told_all_that_it_found(site, tmp_path, fatal, signal, code, word):
    def dies(x):
        if x == 4:
            print("last words")
            fatal()
        return x

    ledger = Ledger(site.signer, tmp_path, items(dies, 9))

    async def act(slot: Seated) -> Any:
        with pytest.raises(EOFError):
            await slot.lease(ledger)
        return await slot.end(), await slot.output()

    ended, printed = site.new_slot(act)
    assert (ended.signal, ended.code) == (signal, code)
    assert [point for point, _ in ledger.journaled()] == [(n, n) for n in range(4)]
    assert "last words" in printed
    assert word in printed


def test_what_a_scheduler_sends_to_all_processes_ends_no_evaluation(site, tmp_path):
    import signal

    ledger = Ledger(site.signer, tmp_path, items(lambda x: slowly(x), 20), executor="process-pool")

    async def act(slot: Seated) -> None:
        def bother(frame: Frame) -> None:
            if frame.kind == Up.POINT and ledger.seq in (3, 6, 9):
                for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1):
                    os.kill(slot.pid, number)
                    os.kill(slot.agent.forks.pid, number)

        await slot.lease(ledger, on_frame=bother)

    site.new_slot(act)
    assert ledger.ending()[0] is Up.DONE


def test_a_slot_without_anything_to_save_stops_at_once_when_fenced(site, tmp_path):
    ledger = Ledger(site.signer, tmp_path, items(lambda x: slowly(x), 500))

    async def act(slot: Seated) -> None:
        def stop(frame: Frame) -> None:
            if frame.kind == Up.POINT and ledger.seq == 3:
                slot.stop("fenced", save=False)

        await slot.lease(ledger, on_frame=stop)

    site.new_slot(act)
    assert ledger.ending()[0] is Up.STOPPED
    assert ledger.said(Up.SAVED) == []


def test_status_is_told_and_a_save_can_be_asked_for(site, tmp_path):
    ledger = Ledger(site.signer, tmp_path, items(lambda x: slowly(x), 25), log_interval=0.1)

    async def act(slot: Seated) -> None:
        def ask(frame: Frame) -> None:
            if frame.kind == Up.POINT and ledger.seq == 3:
                slot.tell(channel.encode(Down.SAVE))

        await slot.lease(ledger, on_frame=ask)

    site.new_slot(act)
    assert [record["reason"] for record in ledger.said(Up.SAVED)] == ["asked", "end"]
    status = ledger.said(Up.STATUS)
    assert status
    assert {*status[0]} == {"npoints", "loss", "seq", "overhead", "cpu", "memory"}
    # It sleeps in the function nearly all the time, and never computes.
    assert 0 <= status[-1]["overhead"] < 60
    assert status[-1]["cpu"] < 90
    assert status[-1]["memory"] > 10e6


def test_a_done_learner_that_cannot_be_saved_is_not_done(site, tmp_path):
    (tmp_path / "store").write_text("no folder")
    ledger = Ledger(site.signer, tmp_path / "store", items(twice, 5))
    site.run(ledger)
    kind, record = ledger.ending()
    assert kind is Up.RAISED
    assert record["type"] == "fabric_broker.errors.StoreError"
    assert "cannot write" in record["text"]
    assert ledger.seq == 5


def test_a_stop_or_save_that_comes_late_is_not_the_next_learners(site, tmp_path):
    async def act(slot: Seated) -> Any:
        await slot.lease(Ledger(site.signer, tmp_path, items(twice, 2)))
        slot.stop("pause")
        slot.tell(channel.encode(Down.SAVE))
        return (await slot.lease(Ledger(site.signer, tmp_path, items(twice, 9), id="r0000000a.1"))).ending()

    assert site.new_slot(act)[0] is Up.DONE


def test_a_function_that_holds_the_gil_ends_as_any_other(site, tmp_path):
    def hold(x):
        libc = ctypes.PyDLL(None)  # unlike CDLL it keeps the GIL
        libc.usleep(300_000)
        return x

    ledger = Ledger(site.signer, tmp_path, items(hold, 4), save_interval=0.1)
    site.run(ledger)
    assert ledger.ending()[0] is Up.DONE


def test_numpy_and_large_values_travel(site, tmp_path):
    def large(x):
        import numpy

        return {"array": numpy.full(300_000, x), "number": numpy.float32(x)}

    ledger = Ledger(site.signer, tmp_path, items(large, 4))
    site.run(ledger)
    assert ledger.ending()[0] is Up.DONE
    data = load(ledger, items(abs, 4)).data
    assert [value["array"].sum() for value in data.values()] == [0, 300_000, 600_000, 900_000]


def test_many_bytes_are_saved_before_the_interval(site, tmp_path):
    ledger = Ledger(site.signer, tmp_path, items(lambda x: slowly(os.urandom(1_000_000)), 12))
    site.run(ledger)
    assert ledger.said(Up.SAVED)[0]["reason"] == "journal"
    assert ledger.ending()[0] is Up.DONE

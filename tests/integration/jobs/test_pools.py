"""Real pools of workers: what is computed, what kills a worker, and what that costs."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import BrokenExecutor, Future, ProcessPoolExecutor
from pathlib import Path
from typing import Any

import adaptive
import cloudpickle
import pytest

from fabric_broker.errors import UsageError
from fabric_broker.memo import Memo
from fabric_jobs import channel, executors
from fabric_jobs.drive import Course, EvaluationError, ExhaustedError, Options, Stop
from fabric_jobs.evaluate import Missing
from fabric_jobs.executors import Pool
from fabric_jobs.finished import Finished
from fabric_jobs.pooled import Pooled
from fabric_jobs.processes import Processes, loky, process_pool
from fabric_jobs.workers import Kind, NoWorkersError, Wanted, describe_exit

cloudpickle.register_pickle_by_value(sys.modules[__name__])


class Desk:
    """Drives learners with a pool."""

    def __init__(self, pool: Pool) -> None:
        self.pool = pool
        self.warned: list[str] = []
        self.finished: Finished
        self._stop: Stop | None = None

    def run(
        self,
        learner: Any,
        goal: Callable[[Any], bool],
        look: Callable[[], Stop | None] = lambda: None,
        **options: Any,
    ) -> Stop | None:
        reader, writer = channel.open_pipe()
        drain = threading.Thread(target=_drain, args=(reader,))
        drain.start()
        self.finished = Finished(writer, 0)
        try:
            course = Course(self.finished, look, Memo(), self.warned.append, Options(**options))
            return Pooled(learner, goal, self.pool, course).run()
        finally:
            os.write(writer, END)  # closing would not do: forked workers have the pipe too
            drain.join(20)
            os.close(writer)
            os.close(reader)


END = b"the end"


def _drain(reader: int) -> None:
    while not os.read(reader, 1 << 20).endswith(END):
        pass


@pytest.fixture
def kind() -> str:
    return "process-pool"


@pytest.fixture
def desk(kind) -> Iterator[Desk]:
    pool = Pool(kind, Wanted(2))
    yield Desk(pool)
    workers = workers_of(pool)
    pool.close()
    assert not [worker for worker in workers if lives(worker)]


def workers_of(pool: Pool) -> list[int]:
    workers: Any = pool._workers
    if isinstance(workers, Processes):
        return [process.pid for process in workers._processes]
    return list((workers._children if pool.name == "dask" else workers._engines).pids)


def lives(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except OSError:  # gone, perhaps while it was read
        return False
    return state not in "ZX"


def reached(n: int) -> Callable[[Any], bool]:
    return lambda learner: learner.npoints >= n


def sequence(function: Callable[[Any], Any], n: int) -> Any:
    return adaptive.SequenceLearner(function, list(range(n)))


def done(learner: Any) -> bool:
    return bool(learner.done())


def note(folder: Path, x: Any) -> None:
    """Leave a trace of an evaluation: its point and the process."""
    with (folder / f"{x}").open("a") as file:
        file.write(f"{os.getpid()}\n")


def evaluations(folder: Path) -> Counter[str]:
    return Counter({path.name: len(path.read_text().splitlines()) for path in folder.iterdir()})


# The workers of the others are new interpreters, so they are slow to start. What goes on in them is the same for all
# of them, so one will do where nothing is asked of the library below.
SLOW_START = pytest.mark.timeout(500)
LOKY = pytest.param("loky", marks=pytest.mark.long)
DASK = pytest.param("dask", marks=[pytest.mark.long, SLOW_START, pytest.mark.needs("dask")])
IPYPARALLEL = pytest.param(
    "ipyparallel", marks=[pytest.mark.long, SLOW_START, pytest.mark.needs("ipyparallel")]
)


def each_of(*far: Any) -> pytest.MarkDecorator:
    """With the executors of one node, and these."""
    return pytest.mark.parametrize("kind", ["process-pool", LOKY, *far])


@each_of()
def test_a_lambda_with_a_closure_is_evaluated_in_other_processes(desk):
    shift = 3
    learner = sequence(lambda x: (x + shift, os.getpid()), 30)
    assert desk.run(learner, done) is None
    assert [value for value, _ in learner.data.values()] == list(range(3, 33))
    assert os.getpid() not in {pid for _, pid in learner.data.values()}
    assert desk.finished.seq == 30


@each_of()
def test_the_workers_are_warm_for_the_next_learner(desk):
    pids = []
    for _ in range(3):
        learner = sequence(lambda x: os.getpid(), 6)
        desk.run(learner, done)
        pids.append(set(learner.data.values()))
    assert len(set.union(*pids)) <= 2


def test_a_function_travels_as_often_as_there_are_workers_and_on_demand(desk, monkeypatch):
    with_code = 0
    submit = desk.pool._workers._executor.submit

    def count(evaluate, digest, code, body):
        nonlocal with_code
        with_code += code is not None
        return submit(evaluate, digest, code, body)

    monkeypatch.setattr(desk.pool._workers._executor, "submit", count)
    desk.run(sequence(lambda x: x, 60), done)
    assert 2 <= with_code < 20


def test_a_worker_without_the_function_says_so(desk):
    desk.pool.use(lambda x: x)
    desk.pool._sent = 99
    assert desk.pool.submit(1).result(30) == Missing()
    learner = sequence(lambda x: 2 * x, 5)
    desk.run(learner, done)
    assert list(learner.data.values()) == [0, 2, 4, 6, 8]


@each_of(DASK, IPYPARALLEL)
def test_a_killed_worker_costs_a_new_pool_and_no_learner(desk, tmp_path):
    def slow(x):
        note(tmp_path, x)
        time.sleep(0.05)
        return x

    killed: list[int] = []

    def look() -> None:
        if not killed and desk.finished.seq >= 3:
            killed.append(workers_of(desk.pool)[0])
            os.kill(killed[0], signal.SIGKILL)

    learner = sequence(slow, 20)
    assert desk.run(learner, done, look) is None
    assert killed
    assert list(learner.data.values()) == list(range(20))
    assert "died of SIGKILL; the pool was rebuilt" in desk.warned[0]
    counts = evaluations(tmp_path)
    assert sum(counts.values()) <= 20 + 3  # what was in flight, queued included
    assert desk.finished.seq == 20


@each_of(DASK)
def test_a_worker_killed_while_idle_is_not_the_learners_fault(desk):
    desk.run(sequence(lambda x: x, 4), done)
    victim = workers_of(desk.pool)[0]
    os.kill(victim, signal.SIGKILL)
    while lives(victim):
        time.sleep(0.01)
    learner = sequence(lambda x: x, 4)
    assert desk.run(learner, done) is None
    assert len(learner.data) == 4


@each_of(DASK)
def test_the_point_that_kills_its_worker_each_time_is_found_and_named(desk):
    def poison(x):
        if x == 5:
            os.kill(os.getpid(), signal.SIGVTALRM)  # which nobody uses
        time.sleep(0.01)
        return x

    learner = sequence(poison, 10)
    with pytest.raises(EvaluationError, match="WorkerDied: it killed its worker") as caught:
        desk.run(learner, done)
    assert caught.value.point == (5, 5)
    assert "SIGVTALRM" in caught.value.failure.text
    assert 5 not in learner.data


def test_an_error_shows_the_line_where_it_happened_in_the_worker(desk):
    with pytest.raises(EvaluationError) as caught:
        desk.run(sequence(lambda x: 1 / x, 3), done)
    assert caught.value.point == (0, 0)
    assert caught.value.failure.type == "ZeroDivisionError"
    assert "1 / x" in caught.value.failure.traceback


class UnpicklableError(Exception):
    """Its unpickling breaks the standard library's pool."""

    def __init__(self, a: int, b: int) -> None:
        super().__init__("text")


@each_of(IPYPARALLEL)
def test_an_error_that_cannot_be_unpickled_breaks_no_pool(desk):
    def fails(x):
        raise UnpicklableError(1, 2)

    with pytest.raises(EvaluationError, match="UnpicklableError: text"):
        desk.run(sequence(fails, 3), done)
    assert desk.warned == []


def test_a_value_that_cannot_travel_is_the_functions_error(desk):
    with pytest.raises(EvaluationError, match="cannot pickle"):
        desk.run(sequence(lambda x: threading.Lock(), 3), done)


def test_sys_exit_is_not_tried_again(desk, tmp_path):
    def leave(x):
        note(tmp_path, x)
        sys.exit(3)

    with pytest.raises(EvaluationError, match="SystemExit: 3"):
        desk.run(sequence(leave, 1), done, retries=5)
    assert evaluations(tmp_path) == {"0": 1}


def test_retries_are_made_and_end(desk, tmp_path):
    def flaky(x):
        note(tmp_path, x)
        if x == 2 and evaluations(tmp_path)["2"] < 3:
            raise OSError("busy")
        return x

    learner = sequence(flaky, 5)
    desk.run(learner, done, retries=2)
    assert evaluations(tmp_path) == {"0": 1, "1": 1, "2": 3, "3": 1, "4": 1}

    def never(x):
        raise OSError("busy")

    with pytest.raises(EvaluationError, match="OSError: busy"):
        desk.run(sequence(never, 5), done, retries=2)


def test_a_point_can_be_given_up(desk):
    learner = sequence(lambda x: 1 / (x - 2), 5)
    with pytest.raises(ExhaustedError):
        desk.run(learner, done, raise_if_retries_exceeded=False)
    assert sorted(learner.data) == [0, 1, 3, 4]
    assert "gave up the point (2, 2)" in desk.warned[0]


def test_so_many_run_at_a_time_as_is_asked(desk, tmp_path):
    def look_around(x):
        mine = tmp_path / f"{x}"
        mine.touch()
        time.sleep(0.03)
        there = len(list(tmp_path.iterdir()))
        mine.unlink()
        return there

    learner = sequence(look_around, 8)
    desk.run(learner, done, ntasks=1)
    assert set(learner.data.values()) == {1}


@each_of(DASK, IPYPARALLEL)
def test_a_stop_waits_for_what_runs_and_starts_nothing_new(desk, tmp_path):
    def slow(x):
        note(tmp_path, x)
        time.sleep(0.3)
        return x

    stop = Stop("drain", save=True)

    def look() -> Stop | None:
        return stop if evaluations(tmp_path) else None

    learner = sequence(slow, 30)
    assert desk.run(learner, done, look) is stop
    assert len(learner.data) == len(evaluations(tmp_path)) <= 4
    assert desk.finished.seq == len(learner.data)


@each_of(IPYPARALLEL)
def test_a_fenced_learner_is_dropped_at_once(desk, tmp_path):
    def for_ever(x):
        note(tmp_path, x)
        while (tmp_path / "go on").exists():
            time.sleep(0.01)
        return x

    (tmp_path / "go on").touch()
    stop = Stop("fenced", save=False)
    learner = sequence(for_ever, 30)
    try:
        assert desk.run(learner, done, lambda: stop if len(evaluations(tmp_path)) > 1 else None) is stop
    finally:
        (tmp_path / "go on").unlink()
    assert len(learner.data) == 0


def test_what_still_runs_at_the_goal_does_not_disturb_the_next_learner(desk, tmp_path):
    gate = tmp_path / "gate"
    gate.touch()

    def waits_at_one(x):
        while x == 1 and gate.exists():
            time.sleep(0.01)
        return x

    desk.run(sequence(waits_at_one, 10), reached(3))
    learner = sequence(lambda x: -x, 6)
    desk.run(learner, done)
    gate.unlink()
    assert list(learner.data.values()) == [0, -1, -2, -3, -4, -5]
    assert desk.finished.seq == 6


@each_of(IPYPARALLEL)
def test_workers_have_random_numbers_of_their_own(desk):
    def draw(x):
        import random

        import numpy

        time.sleep(0.05)
        return os.getpid(), random.random(), numpy.random.random()

    learner = sequence(draw, 6)
    desk.run(learner, done)
    assert len({pid for pid, _, _ in learner.data.values()}) == 2
    assert len({one for _, one, _ in learner.data.values()}) == 6
    assert len({other for _, _, other in learner.data.values()}) == 6


@pytest.mark.long
def test_loky_workers_are_initialized():
    def initialize():
        os.environ["INITIALIZED"] = "yes"

    pool = Pool("loky", Wanted(1, cloudpickle.dumps(initialize)))
    learner = sequence(lambda x: os.environ.get("INITIALIZED"), 2)
    try:
        Desk(pool).run(learner, done)
    finally:
        pool.close()
    assert set(learner.data.values()) == {"yes"}


@pytest.mark.long
def test_the_pickler_of_our_messages_is_not_the_users():
    """A function may have an executor of loky's own, and send what only cloudpickle can."""

    def nested(x):
        import loky
        from loky.backend.reduction import get_loky_pickler_name

        with loky.ProcessPoolExecutor(1, timeout=None) as executor:
            return get_loky_pickler_name(), executor.submit(lambda: x + 1).result(60)

    pool = Pool("loky", Wanted(1))
    learner = sequence(nested, 1)
    try:
        Desk(pool).run(learner, done)
    finally:
        pool.close()
    assert learner.data == {0: ("fabric_jobs.loky_pickler", 1)}


def test_an_unknown_executor_is_refused():
    with pytest.raises(UsageError, match="'mpi' is none of serial, process-pool, loky, mpi4py, dask"):
        Pool("mpi", Wanted(2))


def test_workers_that_cannot_be_had_again_end_the_slot(monkeypatch):
    monkeypatch.setattr(executors, "KINDS", {"one world": Kind(process_pool, rebuilt=False)})
    pool = Pool("one world", Wanted(1))
    try:
        with pytest.raises(NoWorkersError, match="one world died of SIGKILL; this slot cannot get others"):
            Desk(pool).run(sequence(lambda x: os.kill(os.getpid(), signal.SIGKILL), 2), done)
    finally:
        pool.close()


def test_exit_codes_read_as_words():
    assert [describe_exit(code) for code in (3, -11, -64, -99)] == [
        "exit code 3",
        "SIGSEGV",
        "SIGRTMAX",
        "signal 99",
    ]


def test_a_future_is_a_standard_one(desk):
    desk.pool.use(abs)
    assert isinstance(desk.pool.submit(-1), Future)


@pytest.mark.parametrize("make", [process_pool, pytest.param(loky, marks=pytest.mark.long)])
def test_only_the_thread_that_takes_answers_waits_for_a_core(make):
    workers = make(Wanted(1))
    try:
        before = set(threading.enumerate())
        worker = workers.submit(os.getpid).result(60)
        policies = {
            thread.native_id: os.sched_getscheduler(thread.native_id)
            for thread in set(threading.enumerate()) - before
            if thread.native_id is not None
        }
        batch = [number for number, policy in policies.items() if policy == os.SCHED_BATCH]
        assert batch == [workers._executor._executor_manager_thread.native_id]
        assert os.sched_getscheduler(worker) == os.sched_getscheduler(0) == os.SCHED_OTHER
    finally:
        workers.close()


def test_a_pool_that_breaks_at_its_first_evaluation_is_no_fault_of_the_slot(monkeypatch):
    submit = ProcessPoolExecutor.submit

    def submit_and_break(executor: Any, *args: Any) -> Any:
        future = submit(executor, *args)
        for process in executor._processes.values():
            os.kill(process.pid, signal.SIGKILL)
        executor._executor_manager_thread.join(20)
        return future

    monkeypatch.setattr(ProcessPoolExecutor, "submit", submit_and_break)
    workers = process_pool(Wanted(1))
    try:
        with pytest.raises(BrokenExecutor):
            workers.submit(time.sleep, 60).result(20)
    finally:
        workers.close()


def test_a_worker_that_dies_during_a_stop_costs_no_time_for_another_pool(desk, tmp_path):
    def die(x):
        note(tmp_path, x)
        time.sleep(0.2)
        os.kill(os.getpid(), signal.SIGKILL)

    stop = Stop("drain", save=True)
    learner = sequence(die, 4)
    assert desk.run(learner, done, lambda: stop if evaluations(tmp_path) else None) is stop
    assert desk.warned == []
    second = sequence(lambda x: x, 4)
    assert desk.run(second, done) is None
    assert len(second.data) == 4

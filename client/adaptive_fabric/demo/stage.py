"""Run the demo: start a fabric of its own, submit, kill a job half-way, count what that cost, stop everything."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from adaptive_fabric import running
from adaptive_fabric.asking import asking
from adaptive_fabric.fabric import Fabric
from adaptive_fabric.files import write_table
from adaptive_fabric.runs import ENDED, Run
from fabric_broker import events
from fabric_broker.config import Config
from fabric_broker.errors import FabricError, LockedError, MissingExtraError
from fabric_broker.home import Home
from fabric_broker.lock import take_flock
from fabric_broker.records import LearnerRecord
from fabric_submitter.specs import Local

from . import example
from .crash import Crash, kill_busiest
from .interruption import Interruption
from .plotting import plot
from .screen import Screen, View

JOBS: Final = 2
SPEC: Final = Local(slots=2, ttl=3, grace=10, idle_timeout=10)
LIMIT_S: Final = 300.0
"""The demo gives up after so long; it takes about 25 s."""

_LOOK_S: Final = 0.2
_KEPT_VARIABLES: Final = ("FABRIC_REDIS_SERVER", "FABRIC_DEBUG")


class DemoError(FabricError):
    """The demo did not come to its end."""


@dataclass(frozen=True, slots=True)
class Row:
    """One learner at the end."""

    name: str
    state: str
    points: int
    loss: float | None
    jobs: list[str]
    """those that leased it, in order"""


@dataclass(frozen=True, slots=True)
class Report:
    """What came of the demo."""

    learners: int
    done: int
    points: int
    killed_jobs: int
    reassigned: int
    """learners of the killed job that other jobs took over"""
    points_lost: int
    """finished evaluations that were evaluated again or are missing from the data"""
    seconds: float
    plot: str | None
    data: str
    failed: int
    rows: list[Row]

    def as_json(self) -> dict[str, Any]:
        """As in `fabric demo --json`."""
        record = asdict(self)
        for name in ("failed", "rows"):
            del record[name]
        return record


def run_demo(folder: str | Path, screen: Screen) -> Report:
    """Run the demo with its own fabric in `folder`; whatever happens, nothing of it runs afterwards.

    Raises
    ------
    LockedError
        A demo runs in this folder.
    DemoError
        It took too long.
    """
    home = Home(folder).create()
    lock = take_flock(home.path / "demo.flock")
    if lock is None:
        raise LockedError(f"a demo runs in {home.path} already; give another folder with --dir")
    try:
        with _own_environment(home), Interruption() as interruption:
            config = Config.load(home, os.environ)
            try:
                with screen:
                    return _perform(home, config, screen, interruption)
            finally:
                interruption.over()
                running.down(home, config)
                screen.say("everything that was started has stopped")
    finally:
        os.close(lock)


def _perform(home: Home, config: Config, screen: Screen, interruption: Interruption) -> Report:
    screen.say(f"starting a Redis server, a submitter and {JOBS} jobs in {home.path}")
    with interruption.shielded():
        running.up(home, config)
    with Fabric.open(home, config) as fabric:
        for earlier in fabric.runs():
            earlier.cancel()  # of a demo that was cut off
        old_jobs = frozenset(job.id for job in fabric.jobs())
        (home.path / example.NOTES).write_text("")
        learners, names = example.learners()
        fabric.pool("local", SPEC, jobs=JOBS)
        began = time.monotonic()
        run = fabric.submit(learners, names=names, goal=example.enough, pool="local", save_interval=5)
        try:
            crash = _watch(run, old_jobs, screen)
        except BaseException:  # ctrl+c too: nothing of the demo may go on
            run.cancel()
            raise
        seconds = time.monotonic() - began
        return _report(run, home, crash, seconds)


def _watch(run: Run, old_jobs: frozenset[str], screen: Screen) -> Crash | None:
    """Show the run until it has ended; half-way, kill one of its jobs."""
    crash: Crash | None = None
    deadline = time.monotonic() + LIMIT_S
    while True:
        view = _view(run, old_jobs)
        screen.show(view)
        if crash is None and view.share >= 0.5:
            crash = kill_busiest(run.broker, view.jobs, view.learners)
            if crash is not None:
                held = " and ".join(each.name for each in crash.held.values())
                screen.say(f"killed job {crash.job} (SIGKILL to its agent, pid {crash.pid}); it held {held}")
        for move in crash.look(view.learners) if crash is not None else ():
            screen.say(
                f"{move.name} went on in job {move.job} {move.after_s:.1f} s later, "
                f"with {move.npoints} points"
            )
        if view.status.state in ENDED:
            return crash
        if time.monotonic() > deadline:
            raise DemoError(f"the demo did not end in {LIMIT_S:.0f} s; see {run.id} in the logs of its home")
        time.sleep(_LOOK_S)


def _view(run: Run, old_jobs: frozenset[str]) -> View:
    # The records after the status: when that says "ended", they are the last ones.
    status = run.status()
    return View(status, [job for job in run.fabric.jobs() if job.id not in old_jobs], run.learners())


def _report(run: Run, home: Home, crash: Crash | None, seconds: float) -> Report:
    learners = run.load()
    records = run.learners()
    evaluations = example.finished(home.path)
    picture = _plot(learners, home.path / "plot.png")
    return Report(
        learners=len(records),
        done=sum(each.state == "done" for each in records),
        points=sum(learner.npoints for learner in learners),
        killed_jobs=0 if crash is None else 1,
        reassigned=0 if crash is None else len(crash.moves),
        points_lost=example.lost(evaluations, example.points_of(learners)),
        seconds=round(seconds, 1),
        plot=None if picture is None else str(picture),
        data=str(_write_data(run, learners, home.path)),
        failed=sum(each.state in ("failed", "quarantined") for each in records),
        rows=_rows(run, records),
    )


def _rows(run: Run, records: list[LearnerRecord]) -> list[Row]:
    leased: dict[str, list[str]] = {}
    with asking(run.broker.redis):
        for event in events.read_events(run.broker):
            if event.run == run.id and event.event == "acquire" and event.job is not None:
                leased.setdefault(event.learner, []).append(event.job)
    return [Row(each.name, each.state, each.npoints, each.loss, leased.get(each.id, [])) for each in records]


def _plot(learners: list[Any], file: Path) -> Path | None:
    try:
        return plot(learners, file)
    except MissingExtraError:
        return None


def _write_data(run: Run, learners: list[Any], folder: Path) -> Path:
    """All points as one table: parquet, or csv without the extra that writes parquet."""
    try:
        return write_table(run.to_dataframe(), folder / "data.parquet")
    except MissingExtraError:
        return example.write_csv(learners, folder / "data.csv")


@contextmanager
def _own_environment(home: Home) -> Iterator[None]:
    """Let nothing of the user's own fabric reach the demo's: its variables name another server, store, name."""
    before = {name: value for name, value in os.environ.items() if name.startswith("FABRIC_")}
    for name in before.keys() - set(_KEPT_VARIABLES):
        del os.environ[name]
    os.environ["FABRIC_HOME"] = str(home.path)
    try:
        yield
    finally:
        del os.environ["FABRIC_HOME"]
        os.environ.update(before)

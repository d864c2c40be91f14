"""What the demo counts and shows."""

from __future__ import annotations

import io
import os
import signal
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import adaptive
import pytest

from adaptive_fabric.cli import run as cli_run
from adaptive_fabric.demo import example, plotting, stage
from adaptive_fabric.demo.crash import Crash
from adaptive_fabric.demo.example import Point
from adaptive_fabric.demo.interruption import Interruption
from adaptive_fabric.demo.screen import Lines, Picture, View
from fabric_broker.errors import LockedError
from fabric_broker.lock import take_flock
from fabric_broker.records import JobRecord, LearnerRecord, RunStatus


def record(id: str, *, job: str | None, token: int, state: str = "leased") -> LearnerRecord:
    return LearnerRecord(
        id, f"name of {id}", "r", "local", state, 0, token, job, 0, None, 0, 7, None, None, None
    )


def view() -> View:
    status = RunStatus("r", "demo", "active", {"leased": 1, "done": 19}, 20, 2010, 200.0, 1.0, 0.0, None)
    job = JobRecord("i.0", "local", None, "running", None, "n", 2, ["r.0"], 0.0, None)
    return View(status, [job], [record("r.0", job="i.0", token=1)])


def points(*xs: float) -> list[Point]:
    return [Point(0.1, 2, x) for x in xs]


def test_lost_points_are_those_that_were_evaluated_again_or_are_missing() -> None:
    once, twice, missing, both = points(0.0, 0.1, 0.2, 0.3)
    evaluations = Counter({once: 1, twice: 2, missing: 1, both: 2})

    assert example.lost(evaluations, {once, twice}) == 0 + 1 + 1 + 2
    assert example.lost(Counter({once: 1}), {once}) == 0


def test_every_finished_evaluation_is_noted_and_compared_with_the_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FABRIC_HOME", str(tmp_path))
    monkeypatch.setattr(example, "PAUSE_S", 0.0)
    learners, names = example.learners()
    assert (len(learners), len(set(names))) == (20, 20)
    for learner in learners:
        adaptive.runner.simple(learner, goal=example.enough)

    evaluations = example.finished(tmp_path)

    assert sum(evaluations.values()) == 20 * example.POINTS
    assert example.lost(evaluations, example.points_of(learners)) == 0
    forgetful = learners[0]
    forgetful.data.popitem()
    assert example.lost(evaluations, example.points_of(learners)) == 1
    assert len(example.write_csv(learners, tmp_path / "data.csv").read_text().splitlines()) == 20 * 201
    assert plotting.plot(learners, tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")


def test_a_learner_has_moved_when_another_job_leases_it() -> None:
    crash = Crash("a.0", 1, {"r.0": record("r.0", job="a.0", token=1)}, 0.0)

    assert not crash.look([record("r.0", job="a.0", token=1), record("r.1", job="b.0", token=9)])
    assert not crash.look([record("r.0", job=None, token=1, state="queued")])
    (move,) = crash.look([record("r.0", job="b.0", token=2)])
    assert (move.name, move.job, move.npoints) == ("name of r.0", "b.0", 7)
    assert not crash.look([record("r.0", job="b.0", token=2)])
    assert len(crash.moves) == 1


def test_lines_say_how_far_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    for quietly in (False, True):
        with Lines(quietly=quietly) as screen:
            screen.show(view())
            screen.say("something happened")

    said = capsys.readouterr()
    assert said.out == said.err
    assert " 50%  2010 points, 19/20 learners done, 1 job, 1 learners leased" in said.out


def test_the_picture_shows_jobs_learners_and_news(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = io.StringIO()
    terminal.isatty = lambda: True  # type: ignore[method-assign]
    monkeypatch.setattr(sys, "stdout", terminal)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "100")

    with Picture() as screen:
        screen.show(view())
        screen.say("something [happened]")
    screen.say("the end")

    shown = terminal.getvalue()
    for text in ("i.0", "name of r.0", "something [happened]", "19/20"):
        assert text in shown
    assert shown.endswith("the end\n")


def test_a_signal_while_a_process_is_started_waits_until_it_is_written_down() -> None:
    steps: list[str] = []
    with Interruption() as interruption:
        try:
            with interruption.shielded():
                os.kill(os.getpid(), signal.SIGTERM)
                steps.append("started")
            steps.append("never")
        except KeyboardInterrupt:
            steps.append("interrupted")
    assert steps == ["started", "interrupted"]


def test_only_the_first_signal_interrupts_and_none_the_stopping() -> None:
    steps: list[str] = []
    with Interruption() as interruption:
        try:
            os.kill(os.getpid(), signal.SIGINT)
            steps.append("never")
        except KeyboardInterrupt:
            os.kill(os.getpid(), signal.SIGINT)
            steps.append("stopping")
        interruption.over()
        os.kill(os.getpid(), signal.SIGTERM)
        steps.append("stopped")
    assert steps == ["stopping", "stopped"]


@pytest.mark.parametrize(("failed", "code"), [(0, 0), (2, 5)])
def test_failed_learners_end_the_demo_with_5(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    failed: int,
    code: int,
) -> None:
    rows = [stage.Row("a", "done", 201, 0.1, ["i.0", "j.0"])]
    report = stage.Report(20, 20 - failed, 4020, 1, 2, 3, 20.0, None, "data.csv", failed, rows)
    folders: list[Any] = []

    def pretend(folder: Any, _screen: Any) -> stage.Report:
        folders.append(folder)
        return report

    monkeypatch.setattr(stage, "run_demo", pretend)

    assert cli_run(["--home", str(tmp_path), "demo"]) == code

    said = capsys.readouterr().out
    assert folders == [tmp_path / "demo"]
    assert "i.0 → j.0" in said
    assert "the crash cost 3 finished points" in said
    assert "matplotlib is not installed" in said


def test_two_demos_do_not_share_a_folder(tmp_path: Path) -> None:
    lock = take_flock(tmp_path / "demo.flock")
    assert lock is not None
    with pytest.raises(LockedError, match="a demo runs in"):
        stage.run_demo(tmp_path, Lines(quietly=True))

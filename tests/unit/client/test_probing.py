"""What a probe's silence means: never from an answer that failed, and never before it could have phoned."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import pytest

from adaptive_fabric import probing
from adaptive_fabric.probing import last_words, small
from fabric_broker.errors import SchedulerError
from fabric_broker.home import Home
from fabric_broker.probes import Report
from fabric_submitter.adapters.scheduler import Listing, Request, Seen
from fabric_submitter.specs import PBS, Local, Slurm


class Queue:
    """A scheduler whose answers the test gives."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.cancelled: list[str] = []
        self.answers: list[Listing] = []

    def submit(self, request: Request) -> dict[str, str]:
        self.requests.append(request)
        return {request.jobs[0]: "77"}

    def list(self) -> Listing:
        return self.answers.pop(0)

    def cancel(self, jobs: Sequence[tuple[str, str, str]]) -> None:
        self.cancelled += [its_id for _, its_id, _ in jobs]
        raise SchedulerError("it does not answer")


@pytest.fixture
def queue(monkeypatch: pytest.MonkeyPatch) -> Queue:
    queue = Queue()
    monkeypatch.setattr(probing, "find", lambda _kind: lambda _home: queue)
    monkeypatch.setattr(probing, "_LISTING", 0.0)
    return queue


@pytest.fixture
def sent(queue: Queue, tmp_path: Path) -> probing._Probe:
    home = Home(tmp_path / "h").create()
    return probing._Probe(home, SimpleNamespace(name="cpu", spec=Slurm(slots=4).to_dict()))


def listing(sent: probing._Probe, state: str | None, reason: str = "", **settings: bool) -> Listing:
    jobs = {sent.job: Seen("77", state, reason)} if state else {}
    return Listing(0.0, **{"good": True, **settings}, jobs=jobs)


def look(sent: probing._Probe, report: Report | None = None, *, late: bool = False) -> probing.Verdict | None:
    return sent.look(report, late=late, wait=9.0)


@pytest.mark.parametrize(
    ("spec", "changed"),
    [
        (Local(cores=4, slots=8, executor="loky", ttl=9), Local(grace=5, ttl=9)),
        (
            Slurm(partition="p", cores=4, nodes=4, walltime=7200, min_lease_time=60, memory="4GB"),
            Slurm(partition="p", cores=4, nodes=4, walltime=300, memory="4GB", grace=5),
        ),
        (PBS(queue="q", slots=3, walltime=60), PBS(queue="q", walltime=60, grace=5)),
    ],
)
def test_a_probe_is_a_small_job_that_goes_where_the_pools_jobs_go(spec, changed):
    assert small(spec) == changed


def test_a_report_is_the_verdict(sent):
    assert look(sent, Report("n3", "py (3.11)")) == probing.Verdict(
        "cpu", ok=True, text="a job phoned home from n3, python py (3.11)"
    )
    verdict = look(sent, Report("n3", "py", ("no x", "no y")))
    assert verdict is not None
    assert not verdict.ok
    assert verdict.text.endswith("learners cannot run: no x; no y")


def test_one_that_ended_is_given_a_last_chance_to_have_phoned(sent, queue):
    queue.answers = [listing(sent, "running"), listing(sent, "ended", "it failed")]
    assert look(sent) is None
    assert look(sent) is None
    verdict = look(sent, Report("n1", "py"))
    assert verdict is not None
    assert verdict.ok


def test_one_that_ended_in_silence_is_told_with_its_last_words(sent, queue):
    queue.answers = [listing(sent, "ended", "it failed")]
    assert look(sent) is None
    sent._home.job_log(sent.job).write_text("python: No module named fabric_jobs\nkeeper: the agent failed\n")
    verdict = look(sent)
    assert verdict is not None
    assert "(it failed)" in verdict.text
    assert "No module named fabric_jobs / keeper: the agent failed" in verdict.text
    assert verdict.text.endswith("must be one that has adaptive-fabric")


def test_no_log_asks_whether_nodes_see_the_home(sent, queue):
    queue.answers = [listing(sent, None, proof=True)]
    assert look(sent) is None
    verdict = look(sent)
    assert verdict is not None
    assert "do nodes see it?" in verdict.text


def test_neither_a_failed_answer_nor_one_absence_is_an_end(sent, queue):
    queue.answers = [listing(sent, None, good=False)] * 5 + [listing(sent, None), listing(sent, "running")]
    queue.answers += [listing(sent, None), listing(sent, None)]
    for _ in range(9):
        assert look(sent) is None
    verdict = look(sent)
    assert verdict is not None
    assert "not listed any more" in verdict.text


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (("pending", "Resources"), "did not start within 9 s: pending, Resources; it was cancelled"),
        (("running", ""), "runs, and did not phone home within 9 s: it said nothing yet"),
        ((None, ""), "did not start within 9 s: the scheduler does not list it"),
    ],
)
def test_when_time_is_up_its_state_is_told(sent, queue, answer, told):
    queue.answers = [listing(sent, *answer)]
    verdict = look(sent, late=True)
    assert verdict is not None
    assert not verdict.ok
    assert told in verdict.text


def test_it_is_cancelled_and_its_files_removed_whatever_the_scheduler_says(sent, queue):
    script = sent._home.job_script(sent.job.partition(".")[0])
    script.write_text("x")
    sent.clear()
    assert queue.cancelled == ["77"]
    assert not script.exists()
    assert queue.requests[0].probe


def test_last_words_are_the_last_lines_and_never_too_many(tmp_path):
    log = tmp_path / "log"
    assert last_words(log) == ""
    log.write_text("x" * 9000 + "\n\nb\nc\nd\ne\n")
    assert last_words(log) == "b / c / d / e"
    log.write_bytes(b"\xff" * 9000)
    assert len(last_words(log)) <= 500

"""How schedulers are found by name, and asked at their own pace."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest

from fabric_broker.errors import UsageError
from fabric_broker.home import Home
from fabric_broker.survey import Wish
from fabric_submitter.adapters import scheduler
from fabric_submitter.adapters.local import LocalScheduler
from fabric_submitter.adapters.scheduler import (
    GROUP,
    BusyError,
    Listing,
    RefusedError,
    Request,
    Scheduler,
    Seen,
    find,
)
from fabric_submitter.polling import Poller
from fabric_submitter.specs import Local, Spec, spec_from_dict


class Ours:
    """A scheduler of another package."""

    poll_interval = 0.01
    answer_within = 1.0
    host = ""
    jobs_per_submit = 1

    def __init__(self, home: Home) -> None:
        self.home = home
        self.answers: list[Listing | Exception] = []
        self.asked = self.looked_again = 0
        self.none = False

    def submit(self, request: Request) -> Mapping[str, str]:
        return {job: f"ours-{job}" for job in request.jobs}

    def check(self, spec: Spec) -> None:
        pass

    def list(self) -> Listing:
        self.asked += 1
        answer = self.answers.pop(0) if self.answers else Listing(time.monotonic(), good=True)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def has_none(self) -> bool:
        self.looked_again += 1
        return self.none

    def cancel(self, jobs: Sequence[tuple[str, str, Wish]]) -> None:
        pass


def wait_for(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_the_local_scheduler_is_known_by_name(tmp_path):
    assert isinstance(find("local")(Home(tmp_path)), LocalScheduler)


def test_a_scheduler_of_another_package_is_found_by_its_entry_point(monkeypatch):
    entry = EntryPoint("ours", f"{__name__}:Ours", GROUP)
    monkeypatch.setattr(EntryPoint, "load", lambda _self: Ours)
    monkeypatch.setattr(
        scheduler, "entry_points", lambda **wanted: [entry] if wanted["name"] == "ours" else []
    )
    found: Scheduler = find("ours")(Home(Path("/nowhere")))
    assert found.submit(Request("i", "p", None, ("i.0",))) == {"i.0": "ours-i.0"}
    with pytest.raises(UsageError, match="theirs"):
        find("theirs")


def test_a_pool_of_another_packages_scheduler_has_its_spec(monkeypatch):
    @dataclass(frozen=True, kw_only=True)
    class Coloured(Local):
        kind = "ours"
        colour: str = "red"

    monkeypatch.setattr(Ours, "spec", Coloured, raising=False)
    entry = EntryPoint("ours", f"{__name__}:Ours", GROUP)
    monkeypatch.setattr(EntryPoint, "load", lambda _self: Ours)
    monkeypatch.setattr(
        scheduler, "entry_points", lambda **wanted: [entry] if wanted["name"] == "ours" else []
    )
    assert spec_from_dict({"kind": "ours", "colour": "blue"}) == Coloured(colour="blue")
    with pytest.raises(UsageError, match="kind"):
        spec_from_dict({"kind": "theirs"})


def test_the_documented_adapter_is_one(tmp_path, monkeypatch):
    text = (Path(__file__).parents[3] / "docs" / "schedulers.md").read_text()
    names: dict[str, Any] = {"__name__": "documented"}
    code = text.partition("```python\n")[2].partition("```")[0]
    exec(compile(code, "schedulers.md", "exec", dont_inherit=True), names)
    home = Home(tmp_path / "h").create()
    mine: Scheduler = names["Mine"](home)
    for name, line in (
        ("mysub", 'echo 7; echo "$*" >&2'),
        ("mystat", "echo 7 fab-iabc R; echo 8 other Q"),
        ("mykill", "false"),
    ):
        (tmp_path / name).write_text(f"#!/bin/sh\n{line}\n")
        (tmp_path / name).chmod(0o700)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin")
    request = Request("iabc", "p", names["MySpec"](python="/bin/true"), ("iabc.0",))
    assert mine.submit(request) == {"iabc.0": "7"}
    assert "/bin/true -m fabric_jobs agent" in home.job_script("iabc").read_text()
    assert mine.list().jobs == {"iabc.0": Seen("7", "running")}
    mine.cancel([("iabc.0", "7", "drain")])
    for status, error in ((75, BusyError), (1, RefusedError)):
        (tmp_path / "mysub").write_text(f"#!/bin/sh\nexit {status}\n")
        with pytest.raises(error):
            mine.submit(request)
    assert not mine.has_none()
    (tmp_path / "mystat").write_text("#!/bin/sh\nexit 1\n")
    assert not mine.list().good


@pytest.fixture
def ours(tmp_path: Path) -> Ours:
    return Ours(Home(tmp_path))


def test_listings_are_numbered_and_only_the_newest_is_kept(ours):
    poller = Poller("ours", ours)
    assert poller.latest() is None or ours.asked
    wait_for(lambda: (newest := poller.latest()) and newest.number >= 3)
    poller.stop()


def newest_of(poller: Poller, answers: int, *, misses_someone: bool) -> Listing:
    """A listing that was asked for after now."""
    wait_for(lambda: (each := poller.latest(misses_someone=misses_someone)) and each.number > answers)
    newest = poller.latest(misses_someone=misses_someone)
    assert newest is not None
    return newest


def test_an_empty_answer_is_looked_at_twice_when_somebody_is_missed(ours):
    poller = Poller("ours", ours)
    assert not newest_of(poller, 2, misses_someone=False).informs
    assert ours.looked_again == 0
    assert not newest_of(poller, ours.asked + 2, misses_someone=True).informs
    ours.none = True
    assert newest_of(poller, ours.asked + 2, misses_someone=True).informs
    looked = ours.looked_again
    ours.answers = [Listing(1.0, good=False) for _ in range(1000)]
    newest_of(poller, ours.asked + 2, misses_someone=True)
    assert ours.looked_again <= looked + 1, "no second look where the first one failed"
    poller.stop()


def test_a_scheduler_without_an_answer_is_told_of_once(ours, caplog):
    caplog.set_level("INFO")
    ours.answers = [Listing(1.0, good=good) for good in (True, False, False, False, True)]
    poller = Poller("ours", ours)
    wait_for(lambda: poller.latest() and ours.asked > 5)
    poller.stop()
    assert [record.message for record in caplog.records] == [
        "scheduler ours gives no answer; nothing is concluded from that",
        "scheduler ours answers again",
    ]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_poller_whose_scheduler_broke_asks_again(ours):
    ours.answers = [RuntimeError("a bug in somebody's adapter")]
    poller = Poller("ours", ours)
    poller.latest()
    wait_for(lambda: not [each for each in threading.enumerate() if each.name == "poller ours"])
    wait_for(poller.latest)
    poller.stop()


def test_a_site_can_have_a_scheduler_asked_less_often_than_it_would(ours):
    slow, quick = Poller("ours", ours, 3600.0), Poller("other", Ours(ours.home))
    wait_for(slow.latest)
    wait_for(lambda: (newest := quick.latest()) and newest.number >= 5)
    assert ours.asked == 1
    slow.stop()
    quick.stop()

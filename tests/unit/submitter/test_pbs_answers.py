"""Every recorded answer of a real OpenPBS, the crooked ones too, and what the adapter makes of it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fabric_broker.errors import SchedulerError, UsageError
from fabric_broker.home import Home
from fabric_submitter.adapters import cluster, pbs
from fabric_submitter.adapters.commands import Said
from fabric_submitter.adapters.pbs import PBSScheduler, _records, _refusal, read_listing, submit_command
from fabric_submitter.adapters.scheduler import AnswerLostError, BusyError, RefusedError, Request
from fabric_submitter.scripts import render
from fabric_submitter.specs import PBS, spec_from_dict

CALLS = [json.loads(line) for line in (Path(__file__).parents[2] / "data/openpbs-23.06.jsonl").open()]
OURS = {
    "fabric-arr": "fab-iarr",
    "fabric-0a1b2c": "fab-ione",
    "fabric-held": "fab-iheld",
    "fabric-exit3": "fab-iexit",
}
OURS |= {"fabric-big": "fab-ibig", "fabric-wall": "fab-iwall"}


def asked(monkeypatch: pytest.MonkeyPatch, answer: Callable[..., Said]) -> None:
    """Let `answer` stand for the commands of PBS."""
    for module in (pbs, cluster):
        monkeypatch.setattr(module, "ask", answer)


def said(what: str) -> Said:
    call = next(each for each in CALLS if each["what"] == what)
    out = call["stdout"]
    for theirs, ours in OURS.items():
        out = out.replace(f'"Job_Name":\t"{theirs}"', f'"Job_Name":\t"{ours}"')
    return Said(call["rc"], out, call["stderr"])


def listing(what: str) -> dict[str, tuple[str, str, str]]:
    seen = read_listing(_records(said(what), "Jobs"))
    return {job: (each.scheduler_id, each.state, each.reason) for job, each in seen.items()}


def test_there_are_44_calls_and_each_json_answer_is_read():
    assert len(CALLS) == 44
    for call in CALLS:
        if call["stdout"].lstrip().startswith("{"):
            read_listing(_records(Said(call["rc"], call["stdout"], call["stderr"]), "Jobs"))


def test_running_pending_held_and_arrays_are_told_apart():
    seen = listing("listing, everything, no ids")
    assert {job: its_id for job, (its_id, state, _) in seen.items() if state == "running"} == {
        "ione.0": "0.login1",
        **{f"iarr.{place}": f"1[{place}].login1" for place in range(4)},
    }
    assert seen["ibig.0"][:2] == ("2.login1", "pending")
    assert "Insufficient" in seen["ibig.0"][2] or "Never" in seen["ibig.0"][2]
    assert seen["iheld.0"][:2] == ("3.login1", "pending")
    assert "iexit.0" not in seen


def test_history_tells_how_jobs_ended():
    assert listing("listing with history (-x)")["iexit.0"] == ("12.login1", "ended", "it failed (status 3)")
    # This one had been sent USR1, which kills a script job.
    assert listing("passed its walltime")["iwall.0"][1:] == ("ended", "it failed (status 266)")
    over = {"3.s": {"Job_Name": "fab-iabc", "job_state": "F", "Exit_status": -29}}
    assert read_listing(over)["iabc.0"].reason == "its walltime is over"
    after = listing("after cancelling, with history")
    assert {after[f"iarr.{place}"][1] for place in range(4)} <= {"ended", "running"}


def test_an_answer_without_jobs_is_an_empty_one():
    assert listing("empty listing, no jobs at all") == {}


def test_others_jobs_are_not_ours():
    call = next(each for each in CALLS if each["what"] == "listing, everything, no ids")
    assert read_listing(_records(Said(0, call["stdout"], ""), "Jobs")) == {}


@pytest.mark.parametrize("out", ["", "not json", "[1]", '{"Jobs": []}', '{"Jobs": {"1.s": 3}}', '{"Jobs": {'])
def test_what_is_no_answer_is_no_information(out):
    with pytest.raises(SchedulerError):
        _records(Said(0, out, ""), "Jobs")


def test_mangled_values_do_no_harm():
    found = read_listing(
        {"7[3].s": {"Job_Name": "fab-iabc", "job_state": 7, "comment": 1}, "8.s": {"Job_Name": 7}}
    )
    assert found["iabc.3"].state == "running"
    assert len(found) == 1


@pytest.mark.parametrize(
    ("what", "kind", "words"),
    [
        ("submit to a queue that does not exist", RefusedError, "Unknown queue"),
        ("submit with too long a walltime for the queue", RefusedError, "violates queue"),
        ("submit with a malformed resource", RefusedError, "select.ncpus"),
        ("server down: qsub", AnswerLostError, "cannot connect"),
    ],
)
def test_a_refusal_is_told_in_its_words_and_silence_is_unknown(what, kind, words):
    error = _refusal(said(what))
    assert type(error) is kind
    assert words in str(error)


def test_a_qsub_that_was_killed_may_have_submitted():
    assert type(_refusal(Said(-9, "", ""))) is AnswerLostError


def test_a_limit_means_wait():
    text = "qsub: would exceed queue generic's per-user limit"
    assert type(_refusal(Said(1, "", text))) is BusyError


def test_the_command_says_what_the_spec_says():
    spec = PBS(
        queue="short", walltime=40, grace=5, cores=2, slots=2, memory="1GB", directives=["-l software=1 -m n"]
    )
    command = submit_command(Request("iabc", "p", spec, ("iabc.0", "iabc.1")), spec, "/h/jobs/iabc.sh")
    assert command[:3] == ["qsub", "-N", "fab-iabc"]
    text = " ".join(command)
    for part in (
        "-l select=1:ncpus=4:mem=1024mb",
        "-l walltime=0:00:40",
        "-q short",
        "-J 0-1",
        "-l software=1 -m n",
    ):
        assert part in text
    assert command[-3:] == ["--", "/bin/sh", "/h/jobs/iabc.sh"]


@pytest.mark.parametrize(
    ("values", "names"),
    [
        ({"directives": ["-N mine"]}, "N itself"),
        ({"directives": ["-l select=3"]}, "select itself"),
        ({"directives": ["-lwalltime=5"], "walltime": 60}, "walltime"),
        ({"directives": ["-l software=1,walltime=5"], "walltime": 60}, "walltime"),
        ({"directives": ["-q other"], "queue": "workq"}, "queue"),
        ({"directives": ["-V"]}, "V itself"),
        ({"select": "1:ncpus=2", "memory": "1GB"}, "select"),
        ({"nodes": 2, "slots": 2}, "one slot"),
        ({"queue": "a b"}, "queue"),
    ],
)
def test_what_contradicts_itself_is_named(values, names):
    with pytest.raises(UsageError, match=names):
        PBS(**values)


def test_a_spec_comes_back_from_json_as_it_was(tmp_path):
    spec = PBS(queue="workq", walltime="1:00:00", select="2:ncpus=4", directives=["-l software=1"])
    assert spec_from_dict(json.loads(json.dumps(spec.to_dict()))) == spec
    assert 'iabc."${PBS_ARRAY_INDEX:-0}"' in render(Home(tmp_path), Request("iabc", "p", spec, ("iabc.0",)))


@pytest.mark.parametrize(
    ("fields", "names"),
    [
        ({"queue": "nosuch"}, "nosuch.*short"),
        ({"queue": "short", "walltime": "0:02:00"}, "0?0:01:00"),
        ({"cores": 3, "slots": 2}, "more than 4"),
        ({"memory": "4GB"}, "2048MB"),
    ],
)
def test_what_could_never_start_is_refused_with_the_limit(fields, names, tmp_path, monkeypatch):
    answers: dict[str, Any] = {"-Bf": "server limits", "-Qf": "queues", "-av": "nodes"}
    asked(monkeypatch, lambda command, within: said(answers[command[1]]))
    monkeypatch.setattr("shutil.which", lambda name: name)
    scheduler = PBSScheduler(Home(tmp_path))
    with pytest.raises(UsageError, match=names):
        scheduler.check(PBS(**fields))
    scheduler.check(PBS(cores=2, slots=2, memory="2GB"))


# -- the adapter before each recorded call, by what it was asked ------------------------------------------------

LISTED = {
    "empty listing, no jobs at all": 0,
    "listing, everything, no ids": 7,
    "listing with history (-x)": 8,
    "one id": 1,
    "three ids in one query (this build answers only the first)": 1,
    "finished id with -x": 1,
    "after cancelling, with history": 7,
    "passed its walltime": 1,
    "after USR1": 0,
}
NO_LISTING = ("known and unknown id", "unknown id", "finished id without -x", "server down: qstat")
SUBMITTED = {
    "submit from stdin": "0.login1",
    "submit an array": "1[0].login1",
    "submit what can never run (too many cpus)": "2.login1",
    "submit held": "3.login1",
    "submit a command, no script: qsub -- exe args": "11.login1",
    "submit, will exit 3": "12.login1",
    "submit, will pass its walltime": "2.login1",
    "submit, exits 3": "3.login1",
}
REFUSED = {
    "submit to a queue that does not exist": RefusedError,
    "submit with too long a walltime for the queue": RefusedError,
    "submit with a malformed resource": RefusedError,
    "submit with a name that is too long": RefusedError,
    "submit with a bad name": RefusedError,
    "server down: qsub": AnswerLostError,
}
TOLD = (
    *("cancel running", "cancel held", "cancel several at once", "cancel again", "cancel unknown"),
    *("cancel known and unknown together", "cancel the whole array"),
    *("signal a running job", "signal a running job (script mode)"),
)
DOWN = ("server down: qdel", "server down: qsig")
OF_THE_SITE = ("version", "server limits", "queues", "nodes", "plain listing")


def test_every_recorded_call_is_held_by_a_test():
    kinds = {*LISTED, *NO_LISTING, *SUBMITTED, *REFUSED, *TOLD, *DOWN, *OF_THE_SITE}
    assert {call["what"] for call in CALLS} == kinds


@pytest.fixture
def replay(tmp_path, monkeypatch):
    """Make an adapter whose next commands are answered as recorded."""

    def make(what: str) -> PBSScheduler:
        answers = {"-Bf": said("server limits")}
        asked(monkeypatch, lambda command, within: answers.get(command[1], said(what)))
        return PBSScheduler(Home(tmp_path / "h").create())

    return make


@pytest.mark.parametrize(("what", "jobs"), LISTED.items())
def test_a_recorded_listing_holds_so_many_of_ours(replay, what, jobs):
    seen = replay(what).list()
    assert seen.good
    assert len(seen.jobs) == jobs
    assert seen.informs == (what != "empty listing, no jobs at all"), "others' jobs are an answer too"


@pytest.mark.parametrize("what", NO_LISTING)
def test_an_answer_with_an_error_is_no_information(replay, what):
    assert not replay(what).list().good


@pytest.mark.parametrize(("what", "its_id"), SUBMITTED.items())
def test_a_recorded_submit_answers_the_id(replay, what, its_id):
    jobs = ("iabc.0", "iabc.1") if "array" in what else ("iabc.0",)
    assert replay(what).submit(Request("iabc", "p", PBS(), jobs))["iabc.0"] == its_id


@pytest.mark.parametrize(("what", "error"), REFUSED.items())
def test_a_recorded_refusal_is_told_apart_from_silence(replay, what, error):
    with pytest.raises(error, match=said(what).err.split(": ")[1].split("\n")[0].strip()[:20]):
        replay(what).submit(Request("iabc", "p", PBS(), ("iabc.0",)))


@pytest.mark.parametrize("what", TOLD)
def test_cancelling_what_is_there_or_gone_is_no_error(replay, what):
    replay(what).cancel([("iabc.0", "0.login1", "drain" if "signal" in what else "cancel")])


@pytest.mark.parametrize("what", DOWN)
def test_cancelling_while_the_server_is_down_is_done_again(replay, what):
    with pytest.raises(SchedulerError):
        replay(what).cancel([("iabc.0", "0.login1", "drain" if "qsig" in what else "cancel")])


def test_the_second_look_takes_the_servers_count(replay, monkeypatch):
    assert replay("empty listing, no jobs at all").has_none()
    busy = said("server limits").out.replace('"total_jobs":\t0', '"total_jobs":\t3')
    asked(monkeypatch, lambda command, within: Said(0, busy, ""))
    assert not PBSScheduler(Home("/nowhere")).has_none()
    hidden = busy.replace('"query_other_jobs":\t"True"', '"query_other_jobs":\t"False"')
    for answer, none in (("", True), ("7.login1\n", False)):
        replies = {"qstat": Said(0, hidden, ""), "qselect": Said(0, answer, "")}
        asked(monkeypatch, lambda command, within, told=replies: told[command[0]])
        assert PBSScheduler(Home("/nowhere")).has_none() is none
    asked(monkeypatch, lambda command, within: said("server down: qstat"))
    assert not PBSScheduler(Home("/nowhere")).has_none()

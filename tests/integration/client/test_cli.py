"""The real command: exit codes and JSON of the contract, one line on stderr, never a traceback."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import adaptive
import cloudpickle
import pandas as pd
import pytest
import redis as redis_py
from tests.integration.client.conftest import Agent, everything
from tests.redis_process import RedisProcess

from adaptive_fabric import Fabric, Local
from adaptive_fabric.cli import run as cli_run
from adaptive_fabric.naming import whoever
from adaptive_fabric.script import MODULE
from fabric_broker import calls, events
from fabric_broker.home import Home

GOOD = """
import adaptive
learners = [adaptive.Learner1D(lambda x: x**2, (-1, 1)) for _ in range(2)]
names = ["a=1/b", "ü 2"]
goal = 5
"""

Cli = Callable[..., "Done"]


@dataclass
class Done:
    """What a command left."""

    returncode: int
    stdout: str
    stderr: str


@pytest.fixture
def cli(
    home: Home,
    redis_process: RedisProcess,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> Iterator[Cli]:
    """Runs the command line in this process, against the test's server, in a folder of the test's own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))

    def run(*arguments: object, url: str | None = redis_process.url) -> Done:
        options = ["--home", str(home.path), *(["--url", url] if url else [])]
        capfd.readouterr()
        code = cli_run([*options, *map(str, arguments)])
        return Done(code, *capfd.readouterr())

    yield run
    module = sys.modules.pop(MODULE, None)
    if module is not None and MODULE in cloudpickle.list_registry_pickle_by_value():
        cloudpickle.unregister_pickle_by_value(module)


@pytest.fixture
def command(home: Home, redis_process: RedisProcess, tmp_path: Path) -> Cli:
    """Runs the command line as a process of its own."""

    def run(*arguments: object, url: str | None = redis_process.url) -> Done:
        options = ["--home", str(home.path), *(["--url", url] if url else [])]
        words = [sys.executable, "-m", "adaptive_fabric", *options, *map(str, arguments)]
        done = subprocess.run(words, capture_output=True, text=True, timeout=60, cwd=tmp_path, check=False)
        return Done(done.returncode, done.stdout, done.stderr)

    return run


def fails(done: Done, code: int, *says: str) -> None:
    """It failed as the contract says: this exit code, nothing on stdout, one line on stderr."""
    assert done.returncode == code, done.stderr
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1, done.stderr
    assert done.stderr.startswith("fabric: ")
    for text in says:
        assert text in done.stderr


def answer(done: Done) -> dict[str, Any]:
    """What it printed as JSON."""
    assert done.returncode == 0, done.stderr
    record: dict[str, Any] = json.loads(done.stdout)
    assert record.pop("schema") == 1
    return record


def line() -> adaptive.Learner1D:
    return adaptive.Learner1D(lambda x: x**2, (-1, 1))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "sweep.py"
    path.write_text(GOOD)
    return path


# -- servers that cannot be used -----------------------------------------------------------------------------


@pytest.fixture
def stranger() -> Iterator[str]:
    """The URL of a server that is no Redis: it answers as a web server does."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                connection.recv(1000)
                connection.sendall(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    yield f"redis://127.0.0.1:{listener.getsockname()[1]}"
    listener.close()


@pytest.mark.parametrize(
    "command", ["status", "runs", "jobs", "pools", "learners x", "cancel x", "scale p 1"]
)
def test_without_a_server_every_command_ends_with_4(cli: Cli, command: str) -> None:
    fails(cli(*command.split(), url=None), 4, "fabric up")


def test_an_unreachable_server_ends_with_4(cli: Cli, command: Cli, file: Path) -> None:
    fails(command("submit", file, url="redis://127.0.0.1:1"), 4, "cannot reach Redis at redis://127.0.0.1:1")
    fails(cli("status", "--json", url="unix:///nowhere/redis.sock"), 4)


def test_a_wrong_password_ends_with_4_and_is_not_shown(cli: Cli, private_redis: RedisProcess) -> None:
    with private_redis.client() as client:
        client.config_set("requirepass", "right")

    done = cli("status", url=f"unix://:wr0ng@{private_redis.socket}")

    fails(done, 4, "refused the password")
    assert "wr0ng" not in done.stderr


def test_a_server_that_is_no_redis_ends_with_4(cli: Cli, stranger: str) -> None:
    fails(cli("status", url=stranger), 4, "is not a Redis server")


def test_another_releases_schema_ends_with_1_and_changes_nothing(
    cli: Cli, fabric: Fabric, file: Path
) -> None:
    redis = fabric.broker.redis
    redis.hset(fabric.broker.keys.meta, "schema", "99")
    before = everything(redis)

    fails(cli("submit", file), 1, "schema 99")

    assert everything(redis) == before


def test_a_url_that_is_none_ends_with_2(cli: Cli) -> None:
    fails(cli("status", url="http://x"), 2, "redis://")


# -- files that cannot be submitted -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "code", "says"),
    [
        ("learners = 1 / 0", 1, "raised ZeroDivisionError: division by zero (line 1)"),
        ("import sys; sys.exit()", 1, "raised SystemExit"),
        ("goal = 3", 2, "defines no learners"),
        ("learners = []", 2, "no learners"),
        ("learners = [3]", 2, "learner 0 is a int"),
        (GOOD + "names = ['a', 'a']", 2, "not unique"),
        (GOOD + "names = ['a']", 2, "1 names for 2 learners"),
        (GOOD + "goal = True", 2, "a bool is no goal"),
        (GOOD + "goal = None", 2, "never ends by itself"),
        (
            GOOD + "import _thread; lock = _thread.allocate_lock(); goal = lambda l: lock",
            2,
            "the goal cannot be pickled",
        ),
    ],
)
def test_a_file_that_cannot_be_submitted_changes_nothing(
    cli: Cli, fabric: Fabric, file: Path, text: str, code: int, says: str
) -> None:
    file.write_text(text)
    before = everything(fabric.broker.redis)

    fails(cli("submit", file), code, says)

    assert everything(fabric.broker.redis) == before


def test_usage_errors_end_with_2(cli: Cli, fabric: Fabric, file: Path) -> None:
    fails(cli("submit"), 2, "submit:", "FILE")
    fails(cli("submit", "nothing.py"), 2, "there is no file nothing.py")
    fails(cli("submit", file, "--goal", "soon"), 2, "goal 'soon'")
    fails(cli("nonsense"), 2, "nonsense")
    fails(cli("status", "--colour"), 2, "--colour")
    fails(cli("scale", "local", "-1"), 2, "jobs=-1")
    fails(cli("scale", "local", "many"), 2, "many")
    fails(cli("logs", "--json", "-f", "x"), 2, "--json")


def test_what_is_not_there_ends_with_3(cli: Cli, fabric: Fabric, file: Path) -> None:
    run = fabric.submit([line()], goal=3).id
    fails(cli("submit", file, "--pool", "nope"), 3, "no pool 'nope'")
    fails(cli("learners", "nope"), 3, "no run 'nope'")
    fails(cli("cancel", "nope"), 3, "nope")
    fails(cli("pause", "nope", "--run", run), 3, "nope")
    fails(cli("retry", f"{run}.7"), 3, f"{run}.7")
    fails(cli("scale", "nope", 3), 3, "no pool 'nope'")
    fails(cli("pool", "show", "nope"), 3)
    fails(cli("pool", "remove", "nope"), 3)
    fails(cli("logs", "inothingwas.0"), 3)
    fails(cli("results", "nope", "-o", "x.csv"), 3)
    fails(cli("save", "nope", "out"), 3)


@pytest.mark.parametrize("name", ["data.xlsx", "data", "gone/data.csv"])
def test_a_table_that_we_do_not_write_ends_with_2(cli: Cli, fabric: Fabric, name: str) -> None:
    run = fabric.submit([line()], goal=3).id

    fails(cli("results", run, "-o", name), 2, name)


def test_a_home_that_cannot_be_written_ends_with_1(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    fails(cli("--home", tmp_path / "file" / "home", "up", url=None), 1, "cannot write the fabric's home")


# -- commands that work -----------------------------------------------------------------------------------------


def test_submit_prints_the_id_alone(command: Cli, fabric: Fabric, file: Path) -> None:
    file.write_text(GOOD + "print('something')")

    done = command("submit", file, "--name", "mine", "--goal", "7")

    run = fabric.run("mine")
    assert done.stdout == f"{run.id}\n"
    assert [record.name for record in run.learners()] == ["a=1/b", "ü 2"]
    assert fabric.broker.redis.hget(fabric.broker.keys.run(run.id), "goal") == b"npoints >= 7"


def test_waiting_ends_with_5_when_learners_failed(
    command: Cli, fabric: Fabric, agent: Agent, file: Path
) -> None:
    codes: list[int] = []
    waiter = threading.Thread(target=lambda: codes.append(command("submit", file, "--wait").returncode))
    waiter.start()
    for end in ("done", "failed"):
        while not fabric.broker.redis.zcard(fabric.broker.keys.queue("local")):
            threading.Event().wait(0.02)
        learner_id, learner = agent.lease()
        if end == "done":
            agent.evaluate(learner_id, learner, 5)
            agent.save(learner_id, learner)
            agent.complete(learner_id, learner)
        else:
            fabric.broker.redis.hset(fabric.broker.keys.run(learner_id[:9]), "attempts", "1")
            agent.fail(learner_id)
    waiter.join(60)

    assert codes == [5]


def test_json_of_the_contract(cli: Cli, fabric: Fabric, agent: Agent) -> None:
    run = fabric.submit([line(), line()], name="mine", names=["a", "ü"], goal=5)
    learner_id, learner = agent.lease()
    agent.evaluate(learner_id, learner, 5)
    fabric.broker.redis.xadd(
        fabric.broker.keys.log(agent.job),
        events.log_fields(learner_id, "ä line"),
    )

    status = answer(cli("status", "--json"))
    assert set(status) == {"fabric", "broker", "submitter", "counts", "pools", "runs"}
    assert status["fabric"] == "default"
    assert status["broker"] == {"url": fabric.server.url, "ok": True}
    assert status["submitter"] == {"alive": False, "last_seen": None}
    assert status["counts"] == {"queued": 1, "leased": 1}
    assert status["pools"] == [{"name": "local", "wanted": 0, "running": 1, "pending": 0, "circuit": None}]
    (shown,) = status["runs"]
    assert set(shown) == {
        "id", "name", "state", "counts", "total", "points", "points_per_s", "eta_s", "started", "ended",
    }  # fmt: skip
    assert answer(cli("runs", "--json")).keys() == {"runs"}

    (first, second) = answer(cli("learners", "mine", "--json"))["learners"]
    assert set(first) == {
        "id", "name", "run", "pool", "state", "priority", "token", "job", "slot", "until", "attempts", "npoints",
        "loss", "checkpoint", "error",
    }  # fmt: skip
    assert (first["id"], first["state"], first["npoints"], first["job"]) == (
        learner_id,
        "leased",
        5,
        agent.job,
    )
    assert (second["name"], second["state"], second["job"]) == ("ü", "queued", None)

    (job,) = answer(cli("jobs", "--json"))["jobs"]
    assert set(job) == {
        "id", "pool", "scheduler_id", "state", "reason", "node", "slots", "learners", "last_seen", "walltime_end",
    }  # fmt: skip
    assert job["learners"] == [learner_id]

    for target in ([agent.job], [learner_id], ["a", "--run", run.id]):
        (logged,) = answer(cli("logs", *target, "--json"))["lines"]
        assert set(logged) == {"time", "job", "learner", "text"}
        assert (logged["job"], logged["learner"], logged["text"]) == (agent.job, learner_id, "ä line")


def test_the_log_of_a_failed_learner_ends_with_its_traceback(cli: Cli, fabric: Fabric, agent: Agent) -> None:
    run = fabric.submit([line()], goal=5, attempts=1)
    learner_id, _ = agent.lease()
    agent.fail(learner_id)

    said = cli("logs", "0", "--run", run.id).stdout

    assert "last error: point 0.5, node n7\nTraceback" in said
    assert said.endswith("ValueError: no luck\n")


def test_a_loss_that_json_cannot_say_is_null(cli: Cli, fabric: Fabric, agent: Agent) -> None:
    run = fabric.submit([line()], goal=5)
    learner_id, learner = agent.lease()
    agent.evaluate(learner_id, learner, 1)
    agent.save(learner_id, learner)

    (record,) = answer(cli("learners", run.id, "--json"))["learners"]

    assert record["loss"] is None


def test_tables_show_every_name(cli: Cli, fabric: Fabric, agent: Agent) -> None:
    run = fabric.submit([line()], name="sweep/ä", names=["a=1\nb"], goal=5)

    assert "sweep/ä" in cli("status").stdout
    assert "sweep/ä" in cli("runs").stdout
    assert "a=1 b" in cli("learners", run.id).stdout
    assert agent.job in cli("jobs").stdout
    assert "local" in cli("pools").stdout
    assert "slots = 1" in cli("pool", "show", "local").stdout


def test_what_runs_can_be_changed(cli: Cli, fabric: Fabric, agent: Agent) -> None:
    run = fabric.submit([line() for _ in range(3)], name="mine", names=["a", "b", "c"], goal=5)

    def states() -> list[str]:
        return [record.state for record in run.learners()]

    assert cli("pause", "mine").returncode == 0
    assert states() == ["paused"] * 3
    assert cli("resume", "b", "--run", "mine").returncode == 0
    assert states() == ["paused", "queued", "paused"]
    assert "2 learners resumed" in cli("resume", run.id).stderr
    assert cli("cancel", f"{run.id}.2").returncode == 0
    assert states() == ["queued", "queued", "cancelled"]
    assert "1 learner queued again" in cli("retry", "mine").stderr
    assert cli("prioritize", "c", 7, "--run", "mine").returncode == 0
    assert cli("prioritize", "a", "-7", "--run", "mine").returncode == 0
    assert [record.priority for record in run.learners()] == [-7, 0, 7]
    assert cli("scale", "local", 5).returncode == 0
    assert fabric.pool("local").jobs == 5
    fails(cli("pool", "remove", "local"), 1, "not done")
    assert cli("cancel", agent.job).returncode == 0
    assert fabric.broker.redis.hget(fabric.broker.keys.job(agent.job), "wish") == b"drain"
    fails(cli("pause", agent.job), 2, "is a job")


def test_results_are_written_as_table_and_as_files(
    cli: Cli, fabric: Fabric, agent: Agent, tmp_path: Path
) -> None:
    run = fabric.submit([line()], names=["a=1/b"], goal=5)
    learner_id, learner = agent.lease()
    agent.evaluate(learner_id, learner, 5)

    assert cli("results", run.id, "-o", "data.csv").returncode == 0
    assert cli("results", run.id, "-o", tmp_path / "data.parquet").returncode == 0
    assert cli("save", run.id, "out").returncode == 0

    assert list(pd.read_csv(tmp_path / "data.csv")["learner"]) == ["a=1/b"] * 5
    assert len(pd.read_parquet(tmp_path / "data.parquet")) == 5
    fresh = line()
    fresh.load(tmp_path / "out" / "a=1/b")
    assert fresh.data == learner.data


def test_settings_and_key(cli: Cli, home: Home) -> None:
    home.config_file.write_text('name = "mine"\n')

    assert f"home = {home.path}\nname = mine\n" in cli("config").stdout
    assert str(home.config_file) in cli("config", "--explain").stdout
    assert cli("key", "export").stdout == home.work_key.read_text()


@pytest.mark.long
def test_doctor_names_what_is_wrong_and_ends_with_1(cli: Cli, fabric: Fabric, home: Home) -> None:
    done = cli("doctor", "--json")
    checks = {check["name"]: check for check in json.loads(done.stdout)["checks"]}

    assert done.returncode == 1
    assert not checks["submitter"]["ok"], "there is none in this test"
    others = {name: check for name, check in checks.items() if name != "submitter"}
    assert all(check["ok"] for check in others.values()), others

    home.work_key.chmod(0o644)
    fabric.broker.redis.hset(fabric.broker.keys.meta, "schema", "99")
    said = cli("doctor").stdout
    assert "chmod 600" in said
    assert "schema 99" in said


def test_doctor_without_a_server_tells_so(cli: Cli) -> None:
    done = cli("doctor", "--json", url="redis://127.0.0.1:1")

    assert done.returncode == 1
    last = json.loads(done.stdout)["checks"][-1]
    assert (last["name"], last["ok"]) == ("server", False)


def test_help_is_quick_because_it_imports_nothing_heavy() -> None:
    heavy = (
        "{'redis', 'rich', 'adaptive', 'numpy', 'pandas', 'rq', 'loky', 'cloudpickle', 'jinja2', 'asyncio'}"
    )
    code = (
        f"import sys; from adaptive_fabric.cli import run; run(['--help']); print({heavy} & set(sys.modules))"
    )

    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )

    assert done.stdout.splitlines()[-1] == "set()"
    assert "prioritize" in done.stdout


@pytest.mark.parametrize(
    "package", ["import adaptive_fabric", "import adaptive_fabric, sys; dir(adaptive_fabric)"]
)
def test_importing_the_package_is_light(package: str) -> None:
    code = f"{package}; import sys; print({{'redis', 'adaptive', 'numpy', 'rq', 'click'}} & set(sys.modules))"

    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )

    assert done.stdout == "set()\n"


def test_the_client_never_imports_rq() -> None:
    code = (
        "import sys, adaptive_fabric\n"
        "for name in adaptive_fabric.__all__: getattr(adaptive_fabric, name)\n"
        "import adaptive_fabric.running, adaptive_fabric.demo.stage, adaptive_fabric.doctor, adaptive_fabric.probing\n"
        "from adaptive_fabric.cli import cli\n"
        "for name in cli.list_commands(None): cli.get_command(None, name)\n"
        "print('rq' in sys.modules)"
    )

    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )

    assert done.stdout == "False\n"


def test_a_reader_that_goes_away_is_no_error(fabric: Fabric, redis: redis_py.Redis) -> None:
    run = fabric.submit([line() for _ in range(600)], goal=5)
    fabric_command = (
        f"{sys.executable} -m adaptive_fabric --home {fabric.home.path} --url {fabric.server.url}"
    )

    done = subprocess.run(
        ["sh", "-c", f"{fabric_command} learners {run.id} | head -n 1"],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )

    assert done.stderr == ""
    assert done.stdout.startswith("id")


def test_a_pool_is_added_shown_as_its_script_and_resumed(cli: Cli, fabric: Fabric) -> None:
    cli(
        "pool",
        "add",
        "mine",
        "--kind",
        "local",
        "--jobs",
        3,
        "--slots",
        2,
        "--ttl",
        "0:00:20",
        "--grace",
        "7.5",
    )
    assert fabric.pool("mine").spec == Local(slots=2, ttl=20, grace=7.5)
    assert fabric.pool("mine").jobs == 3
    done = cli(
        "pool", "add", "mine", "--kind", "local", "--env", "A=b=c", "--preamble", "x y", "--preamble", "z"
    )
    assert done.returncode == 0
    assert fabric.pool("mine").spec == Local(env={"A": "b=c"}, preamble=["x y", "z"])
    script = cli("pool", "show", "mine", "--script").stdout
    assert script.startswith("#!/bin/sh\n")
    assert "export A=b=c\n" in script
    assert "\nx y\nz\n" in script
    fabric.broker.redis.hset(fabric.broker.keys.pool("mine"), "circuit", "it failed")
    assert cli("pool", "resume", "mine").returncode == 0
    assert not fabric.broker.redis.hexists(fabric.broker.keys.pool("mine"), "circuit")
    fails(cli("pool", "resume", "nope"), 3)


@pytest.mark.parametrize(
    ("options", "names"),
    [
        (["--kind", "local", "--walltime", "60"], "walltime"),
        (["--kind", "local", "--ttl", "soon"], "--ttl"),
        (["--kind", "local", "--env", "A"], "NAME=VALUE"),
        (["--kind", "slurm", "--nodes", "2", "--slots", "2"], "one slot"),
        (["--kind", "nosuch"], "nosuch"),
    ],
)
def test_a_pool_that_cannot_be_is_not_added(cli: Cli, options: list[str], names: str) -> None:
    fails(cli("pool", "add", "mine", *options), 2, names)


def test_pools_of_the_config_are_checked_before_anything_starts(cli: Cli, home: Home) -> None:
    home.config_file.write_text("[pools.fast]\nttl = 1\n")
    fails(cli("up", url=None), 2, "[pools.fast]", "ttl")
    home.config_file.write_text("[pools.fast]\njobs = -1\n")
    fails(cli("up", url=None), 2, "[pools.fast]", "jobs=-1")
    assert not home.server_file.exists()
    assert Local().ttl_s == 30.0


def test_explain_answers_why_for_learners_jobs_pools_and_runs(cli: Cli, fabric: Fabric, agent: Agent) -> None:
    run = fabric.submit([line(), line()], goal=5, names=["a", "b\nc"], name="mine")
    held, _ = agent.lease()
    for target, code in (
        ([held], "running"),
        (["b\nc", "--run", "mine"], "no-submitter"),
        ([agent.job], "ended"),
        (["local"], "no-submitter"),
        (["mine"], "queued"),
        ([run.id], "queued"),
    ):
        if code == "ended":
            fabric.broker.do(calls.end_job(agent.job, agent.nonce, "its node burned"))
        told = answer(cli("explain", *target, "--json"))
        assert set(told) == {"target", "because"}
        assert all(set(reason) == {"code", "text", "fix"} for reason in told["because"])
        assert code in [reason["code"] for reason in told["because"]]
    said = cli("explain", agent.job).stdout
    assert f"job {agent.job} of pool local is ended on here" in said
    assert "- it ended: its node burned" in said
    assert len(cli("explain", "local").stdout.splitlines()) < 24, "it fits on a screen"
    assert "→ fabric up" in cli("explain", "local").stdout
    assert "no submitter is alive" in cli("pool", "show", "local").stdout


def test_explain_ends_with_3_for_what_is_not_there_and_with_4_without_a_server(
    cli: Cli, fabric: Fabric
) -> None:
    run = fabric.submit([line()], goal=3).id
    fails(cli("explain", "nope"), 3, "no learner, job, pool or run 'nope'")
    fails(cli("explain", "nope", "--run", run), 3, "nope")
    fails(cli("explain", f"{run}.7"), 3, f"{run}.7")
    fails(cli("explain"), 2, "LEARNER|JOB|POOL")
    fails(cli("explain", "local", url="redis://127.0.0.1:1"), 4)


def test_who_paused_is_told(cli: Cli, fabric: Fabric) -> None:
    run = fabric.submit([line(), line()], goal=3)
    cli("pause", f"{run.id}.0")
    (paused,) = answer(cli("explain", f"{run.id}.0", "--json"))["because"]
    assert paused["code"] == "paused"
    assert f"by {whoever()}" in paused["text"]
    assert paused["fix"] == f"fabric resume {run.id}.0"
    cli("resume", f"{run.id}.0")
    assert answer(cli("explain", f"{run.id}.0", "--json"))["because"][0]["code"] == "queued"
    cli("pause", run.id)
    (paused,) = answer(cli("explain", f"{run.id}.1", "--json"))["because"]
    assert f"by {whoever()}" in paused["text"]
    assert paused["fix"] == f"fabric resume {run.id}"

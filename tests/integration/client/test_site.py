"""A site's templates and limits, as users of the command meet them: one line, exit code 2, nothing changed."""

from __future__ import annotations

from pathlib import Path

import pytest
import redis as redis_py
from tests.integration.client import test_cli
from tests.integration.client.conftest import everything
from tests.integration.client.test_cli import Cli, fails
from tests.slurm import Slurm as Cluster

from adaptive_fabric import PBS, Fabric, Local, Slurm, pools
from fabric_broker import site
from fabric_broker.home import Home
from fabric_submitter.adapters.local import LocalScheduler
from fabric_submitter.adapters.scheduler import Request
from fabric_submitter.adapters.slurm import SlurmScheduler
from fabric_submitter.scripts import EXAMPLE

cli = test_cli.cli  # a fixture

EXTENDED = """{% extends "shipped/slurm.sh.j2" %}
{% block options %}
#SBATCH --licenses=matlab:{{ spec.slots }}@site
{% endblock %}
"""


@pytest.fixture
def etc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a site."""
    folder = tmp_path / "etc"
    (folder / "templates").mkdir(parents=True)
    monkeypatch.setattr(site, "SITE_FOLDER", folder)
    return folder


def request(fabric: Fabric, pool: str) -> Request:
    intent = "ibcdefghij2"
    return Request(intent, pool, fabric.pool(pool).spec, (f"{intent}.0",))


def test_show_prints_the_sites_template_and_the_qsub_that_goes_with_one(
    cli: Cli, fabric: Fabric, etc: Path
) -> None:
    pools.define(fabric.broker, "cpu", Slurm(partition="main", slots=3), 4, fabric.signer)
    pools.define(fabric.broker, "old", PBS(queue="workq"), 4, fabric.signer)
    plain = cli("pool", "show", "cpu", "--script").stdout
    (etc / "templates" / "slurm.sh.j2").write_text(EXTENDED)
    shown = cli("pool", "show", "cpu", "--script").stdout
    added = "#SBATCH --licenses=matlab:3@site"
    assert added in shown.splitlines()
    assert [line for line in shown.splitlines() if line != added] == plain.splitlines()
    done = cli("pool", "show", "old", "--script")
    assert done.stdout.startswith("#!/bin/sh\n")
    assert done.stderr.startswith(f"qsub -N fab-{EXAMPLE} ")
    assert "-q workq" in done.stderr


@pytest.mark.needs("slurm")
@pytest.mark.parametrize("extended", [False, True])
def test_what_is_shown_is_what_a_real_slurm_gets(
    cli: Cli,
    fabric: Fabric,
    home: Home,
    etc: Path,
    slurm: Cluster,
    extended: bool,
) -> None:
    if extended:
        (etc / "templates" / "slurm.sh.j2").write_text(EXTENDED.replace("--licenses=", "--comment="))
    spec = Slurm(partition="main", walltime=600, env={"A": "b 'c' $d"}, preamble=["false"], memory="100M")
    pools.define(fabric.broker, "cpu", spec, 1, fabric.signer)
    shown = cli("pool", "show", "cpu", "--script").stdout
    wanted = request(fabric, "cpu")
    (its_id,) = SlurmScheduler(home).submit(wanted).values()
    got = slurm.run("scontrol", "write", "batch_script", its_id, "-")
    assert got.rstrip("\n") == shown.replace(EXAMPLE, wanted.intent).rstrip("\n")
    assert ("@site" in got) is extended


def test_what_is_shown_is_what_is_started_here(cli: Cli, fabric: Fabric, home: Home) -> None:
    fabric.pool("local", Local(slots=2, python="/bin/true"))
    shown = cli("pool", "show", "local", "--script").stdout
    wanted = request(fabric, "local")
    LocalScheduler(home).submit(wanted)
    assert home.job_script(wanted.intent).read_text() == shown.replace(EXAMPLE, wanted.intent)


def test_a_template_with_a_fault_makes_no_pool(
    cli: Cli,
    fabric: Fabric,
    redis: redis_py.Redis,
    etc: Path,
) -> None:
    file = etc / "templates" / "keeper.sh.j2"
    file.write_text("\n{{ nosuch }}\n")
    before = everything(redis)
    fails(cli("pool", "add", "mine", "--kind", "local"), 2, f"{file}:2: 'nosuch' is undefined")
    fails(cli("pool", "show", "local", "--script"), 2, f"{file}:2:")
    assert everything(redis) == before


def test_more_jobs_than_the_site_allows_are_refused_with_the_limit(
    cli: Cli,
    fabric: Fabric,
    home: Home,
    redis: redis_py.Redis,
    etc: Path,
) -> None:
    (etc / "config.toml").write_text("[ceilings]\njobs = 40\n")
    before = everything(redis)
    limit = f"at most 40 ({etc}/config.toml [ceilings])"
    fails(cli("pool", "add", "mine", "--kind", "local", "--jobs", 41), 2, "jobs=41", limit)
    fails(cli("scale", "local", 50), 2, "jobs=50", limit)
    assert everything(redis) == before
    assert cli("scale", "local", 40).returncode == 0
    home.config_file.write_text("[pools.big]\njobs = 100\n")
    fails(cli("up", url=None), 2, "[pools.big]", "jobs=100", limit)
    assert not home.server_file.exists()


def test_config_shows_where_a_limit_comes_from_and_tells_who_asked_for_more(
    cli: Cli,
    home: Home,
    etc: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (etc / "config.toml").write_text("[floors]\npoll_interval = 60\n")
    home.config_file.write_text("poll_interval = 5\n")
    done = cli("config")
    assert "poll_interval = 60.0\n" in done.stdout
    assert done.stderr == (
        f"{home.config_file} sets poll_interval = 5; this site allows at least 60 ({etc}/config.toml), so it is 60\n"
    )
    (line,) = [line for line in cli("config", "--explain").stdout.splitlines() if "poll_interval" in line]
    assert f"{etc}/config.toml [floors]" in line
    monkeypatch.setenv("FABRIC_POLL_INTERVAL", "90")
    assert cli("config").stderr == ""
    assert SlurmScheduler(home).poll_interval == 90.0


def test_a_sites_file_with_a_fault_stops_every_command_with_its_name(cli: Cli, etc: Path) -> None:
    (etc / "config.toml").write_text("[ceilings]\njobs = many\n")
    fails(cli("status"), 2, f"{etc}/config.toml is not valid TOML")


def test_doctor_waits_no_negative_time(cli: Cli) -> None:
    fails(cli("doctor", "--wait", "-1"), 2, "--wait")

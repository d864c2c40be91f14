"""Settings: environment over file over default, unknown ones refused, passwords hidden."""

from pathlib import Path

import pytest

from fabric_broker.config import Config
from fabric_broker.errors import UsageError
from fabric_broker.home import Home


@pytest.fixture
def home(tmp_path):
    home = Home(tmp_path / "home")
    home.path.mkdir()
    return home


def load(home: Home, text: str = "", **env: str) -> Config:
    home.config_file.write_text(text)
    return Config.load(home, env)


def test_without_a_file_and_environment_the_defaults_hold(tmp_path):
    config = Config.load(Home(tmp_path / "nowhere"), {})
    assert config == Config()
    assert config.name == "default"
    assert {setting.source for setting in config.explain()} == {"default"}


def test_the_environment_overrides_the_file_which_overrides_the_default(home):
    config = load(home, 'name = "filed"\nurl = "redis://filed:1"', FABRIC_URL="redis://env:2")
    assert (config.name, config.url, config.store) == ("filed", "redis://env:2", None)
    told = {setting.name: setting.source for setting in config.explain()}
    assert told["name"] == str(home.config_file)
    assert told["url"] == "$FABRIC_URL"
    assert told["store"] == "default"


def test_an_empty_variable_counts_as_unset(home):
    assert load(home, 'name = "filed"', FABRIC_NAME="").name == "filed"


def test_relative_paths_start_from_the_home_in_the_file_and_from_the_working_directory_outside(
    home, monkeypatch, tmp_path
):
    monkeypatch.chdir(tmp_path)
    assert load(home, 'run_dir = "here"\nstore = "data"').run_dir == home.path / "here"
    assert load(home, 'store = "data"').store == str(home.path / "data")
    assert load(home, FABRIC_RUN_DIR="there").run_dir == tmp_path / "there"
    assert load(home, 'store = "s3://bucket/x"').store == "s3://bucket/x"
    assert load(home, 'password_file = "~/pw"').password_file == Path("~/pw").expanduser()


def test_pools_are_tables(home):
    config = load(home, '[pools.local]\njobs = 3\n[pools.big]\nkind = "slurm"')
    assert {name: dict(table) for name, table in config.pools.items()} == {
        "local": {"jobs": 3},
        "big": {"kind": "slurm"},
    }
    told = {setting.name: setting.value for setting in config.explain()}
    assert told["pools"] == "local, big"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('nmae = "x"', "did you mean 'name'"),
        ("colour = 1", "known are name"),
        ("name = 3", "name must be a string, not 3"),
        ('name = ""', "name must be a string"),
        ("run_dir = true", "run_dir must be a string"),
        ("young_deaths = 0", "young_deaths must be a whole number, at least 1"),
        ("pools = 1", "one [pools.NAME] for each"),
        ("pools = {local = 1}", "one [pools.NAME] for each"),
        ("name = ", "not valid TOML"),
        ("[pools.local", "not valid TOML"),
    ],
)
def test_a_bad_setting_gets_one_line_that_names_file_and_setting(home, text, told):
    with pytest.raises(UsageError) as refused:
        load(home, text)
    assert told in str(refused.value)
    assert str(home.config_file) in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_file_that_is_not_text_or_not_a_file_is_a_usage_error(home):
    home.config_file.write_bytes(b"\xff\xfe")
    with pytest.raises(UsageError, match="UTF-8"):
        Config.load(home, {})
    home.config_file.unlink()
    home.config_file.mkdir()
    with pytest.raises(UsageError, match="cannot read"):
        Config.load(home, {})


def test_a_password_in_the_url_shows_neither_in_repr_nor_in_explain(home):
    config = load(home, FABRIC_URL="rediss://me:s3cret@host:1/2?ssl_cert_reqs=none")
    shown = repr(config) + repr(config.explain())
    assert "s3cret" not in shown
    assert "rediss://***@host:1" in shown


def test_what_starts_ranks_may_only_hold_the_numbers_that_there_are(home):
    assert load(home, FABRIC_MPIEXEC="srun -N {nodes} -n {ranks}").mpiexec == "srun -N {nodes} -n {ranks}"
    for wrong in ("mpiexec -n {cores}", "mpiexec 'a", "mpiexec {", " "):
        with pytest.raises(UsageError, match=r"FABRIC_MPIEXEC: mpiexec must be a command line, .*\{ranks\}"):
            load(home, FABRIC_MPIEXEC=wrong)


def test_every_setting_has_a_doc_and_all_but_pools_a_variable():
    names = {setting.name for setting in Config().explain()}
    assert names == {
        "name",
        "url",
        "password_file",
        "store",
        "redis_server",
        "run_dir",
        "poll_interval",
        "mpiexec",
        "start_timeout",
        "jobs",
        "young_deaths",
        "pools",
        "keys",
    }
    assert all(setting.doc for setting in Config().explain())

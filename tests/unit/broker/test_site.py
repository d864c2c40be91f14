"""What a site decides: its settings, and limits that nobody passes; whoever asks for more is told so in one line."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fabric_broker import site
from fabric_broker.config import Config
from fabric_broker.errors import UsageError
from fabric_broker.home import Home
from fabric_broker.site import Limits, site_folder

numbers = st.floats(min_value=0, allow_nan=False, allow_infinity=False)
values = st.none() | numbers


@st.composite
def limits(draw: st.DrawFn) -> Limits:
    """Any floor and ceiling that fit together, or only one of them, or none."""
    low, high = sorted((draw(numbers), draw(numbers)))
    floors = {"x": low} if draw(st.booleans()) else {}
    return Limits(floors, {"x": high} if draw(st.booleans()) else {}, "the site")


@given(limits(), values)
def test_nothing_passes_a_limit_and_what_keeps_to_them_stays(limits, value):
    nearest = limits.nearest("x", value)
    assert limits.broken("x", nearest) is None
    if "x" in limits.ceilings:
        assert nearest is not None
        assert nearest <= limits.ceilings["x"]
    if "x" in limits.floors and nearest is not None:
        assert nearest >= limits.floors["x"]
    assert (nearest == value) is (limits.broken("x", value) is None)


@given(limits(), numbers, numbers)
def test_who_asks_for_more_never_gets_less(limits, one, other):
    low, high = sorted((one, other))
    assert limits.nearest("x", low) <= limits.nearest("x", high)


@given(limits(), values)
def test_settings_that_are_not_limited_stay(limits, value):
    assert limits.nearest("y", value) == value


@pytest.fixture
def home(tmp_path: Path) -> Home:
    home = Home(tmp_path / "home")
    home.path.mkdir()
    return home


@pytest.fixture
def etc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a site, in place of the one in /etc."""
    folder = tmp_path / "etc"
    folder.mkdir()
    monkeypatch.setattr(site, "SITE_FOLDER", folder)
    return folder


def load(home: Home, etc: Path, text: str, mine: str = "", **env: str) -> Config:
    (etc / "config.toml").write_text(text)
    home.config_file.write_text(mine)
    return Config.load(home, env)


def test_the_sites_settings_stand_below_those_of_home_and_environment(home, etc):
    text = 'poll_interval = 60\nredis_server = "bin/redis"\nname = "sites"'
    config = load(home, etc, text, 'name = "mine"', FABRIC_POLL_INTERVAL="90")
    assert (config.name, config.poll_interval) == ("mine", 90.0)
    assert config.redis_server == etc / "bin/redis", "relative to the site's own folder"
    sources = {setting.name: setting.source for setting in config.explain()}
    assert sources["name"] == str(home.config_file)
    assert sources["redis_server"] == str(etc / "config.toml")


@pytest.mark.parametrize(
    ("text", "mine", "env", "poll", "jobs"),
    [
        ("[floors]\npoll_interval = 60", "", "", 60.0, None),
        ("[floors]\npoll_interval = 60", "poll_interval = 5", "", 60.0, None),
        ("[floors]\npoll_interval = 60", "", "2", 60.0, None),
        ("[floors]\npoll_interval = 60", "poll_interval = 5", "70", 70.0, None),
        ("[ceilings]\njobs = 40", "", "", 30.0, 40),
        ("[ceilings]\njobs = 40", "jobs = 500", "", 30.0, 40),
        ("[ceilings]\njobs = 40", "jobs = 8", "", 30.0, 8),
        ("[ceilings]\npoll_interval = 20", "", "", 20.0, None),
        ("jobs = 10\n[ceilings]\njobs = 40", "", "", 30.0, 10),
    ],
)
def test_limits_bound_settings_wherever_they_come_from(home, etc, text, mine, env, poll, jobs):
    config = load(home, etc, text, mine, FABRIC_POLL_INTERVAL=env)
    assert (config.poll_interval, config.jobs) == (poll, jobs)


def test_one_line_tells_who_asked_for_more_and_the_source_of_what_holds_is_shown(home, etc):
    text = "[floors]\npoll_interval = 60\n[ceilings]\njobs = 40"
    config = load(home, etc, text, "jobs = 500", FABRIC_POLL_INTERVAL="5")
    assert config.curbed == (
        f"$FABRIC_POLL_INTERVAL sets poll_interval = 5; this site allows at least 60 ({etc}/config.toml), so it is 60",
        f"{home.config_file} sets jobs = 500; this site allows at most 40 ({etc}/config.toml), so it is 40",
    )
    told = {setting.name: (setting.value, setting.source) for setting in config.explain()}
    assert told["poll_interval"] == ("60.0", f"{etc}/config.toml [floors]")
    assert told["jobs"] == ("40", f"{etc}/config.toml [ceilings]")
    assert load(home, etc, text).curbed == (), "nobody asked for more than the default"


def test_a_pool_that_wants_more_jobs_than_all_may_have_is_refused(home, etc):
    config = load(home, etc, "[ceilings]\njobs = 40")
    config.check_jobs(40)
    with pytest.raises(UsageError, match=rf"jobs=41: .*at most 40 \({etc}/config.toml \[ceilings\]\)"):
        config.check_jobs(41)
    Config().check_jobs(10**6)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[floors]\nname = 'x'", "[floors] holds numbers for poll_interval, jobs, young_deaths"),
        ("floors = 3", "[floors] holds numbers"),
        ("[ceilings]\njobs = -1", "[ceilings]: jobs must be a whole number"),
        ("[ceilings]\njobs = 1.5", "jobs must be a whole number"),
        ("[floors]\npoll_interval = true", "poll_interval must be a number of seconds"),
        ("[floors]\npoll_interval = 60\n[ceilings]\npoll_interval = 30", "above its ceiling"),
        ("[ceiling]\njobs = 1", "no setting 'ceiling'"),
        ("jobs = ", "not valid TOML"),
    ],
)
def test_a_sites_file_that_cannot_be_used_is_named_in_one_line(home, etc, text, told):
    with pytest.raises(UsageError) as refused:
        load(home, etc, text)
    assert told in str(refused.value)
    assert str(etc / "config.toml") in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_home_sets_no_limits(home, etc):
    with pytest.raises(UsageError, match="no setting 'ceilings'"):
        load(home, etc, "", "[ceilings]\njobs = 1000")


def test_a_variable_names_the_sites_folder_only_where_there_is_none(home, etc, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    (other / "config.toml").write_text("jobs = 1000")
    load(home, etc, "[ceilings]\njobs = 40")
    env = {"FABRIC_SITE": str(other)}
    assert Config.load(home, env).jobs == 40
    (etc / "config.toml").unlink()
    assert Config.load(home, env).jobs is None
    etc.rmdir()
    assert site_folder(env) == other
    assert Config.load(home, env).jobs == 1000

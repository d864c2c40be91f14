"""The home: how it is found, what it holds, where its server's data go, and what cannot be a home."""

from pathlib import Path

import pytest
from tests.mounting import READ_ONLY, run_python_on

from fabric_broker.errors import HomeError, KeyFileError
from fabric_broker.home import Home, file_system
from fabric_broker.signing import load_key

MOUNTS = """\
22 1 253:1 / / rw,relatime shared:1 - ext4 /dev/vda rw
30 22 0:25 / /home rw shared:2 - nfs4 server:/home rw,vers=4.2
31 30 0:26 / /home/me/scratch rw - lustre mds:/s rw
32 22 0:27 / /data\\040disk rw - xfs /dev/vdb rw
33 22 0:28 / /over rw - nfs old:/ rw
34 22 0:29 / /over rw - tmpfs none rw
a line that is none
"""


def test_a_named_home_comes_before_the_variable_and_that_before_the_state_folder(tmp_path):
    env = {"FABRIC_HOME": str(tmp_path / "env")}
    assert Home.find(tmp_path / "named", env).path == tmp_path / "named"
    assert Home.find(None, env).path == tmp_path / "env"
    assert Home.find(None, {"FABRIC_HOME": ""}).path == tmp_path / "state" / "adaptive-fabric"


def test_a_relative_home_is_made_absolute_so_that_jobs_elsewhere_find_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert Home("here").path == tmp_path / "here"


def test_a_home_is_private_and_has_two_different_keys(tmp_path):
    home = Home(tmp_path / "a" / "b").create()
    assert home.path.stat().st_mode & 0o777 == 0o700
    for secret in (home.work_key, home.control_key, home.password_file):
        assert secret.stat().st_mode & 0o777 == 0o600
    assert load_key(home.work_key) != load_key(home.control_key)
    assert all(folder.is_dir() for folder in (home.logs, home.jobs, home.store))


def test_creating_a_home_again_changes_nothing(tmp_path):
    home = Home(tmp_path / "h").create()
    before = {path.name: path.read_bytes() for path in home.path.iterdir() if path.is_file()}
    home.create()
    assert {path.name: path.read_bytes() for path in home.path.iterdir() if path.is_file()} == before


def test_a_home_whose_key_is_open_to_the_group_is_refused(tmp_path):
    home = Home(tmp_path / "h").create()
    home.control_key.chmod(0o640)
    with pytest.raises(KeyFileError, match="chmod 600"):
        home.create()


def test_a_home_below_a_file_or_that_is_a_file_is_a_home_error(tmp_path):
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file", tmp_path / "file" / "home"):
        with pytest.raises(HomeError, match=str(path)):
            Home(path).create()


def test_a_home_on_a_read_only_file_system_is_a_home_error_even_when_it_is_complete(tmp_path):
    home = Home(tmp_path / "h").create()
    program = (
        "import sys; from fabric_broker.home import Home; from fabric_broker.errors import HomeError\n"
        "try: Home(sys.argv[1]).create()\n"
        "except HomeError as error: print(error)"
    )
    told = run_python_on(home.path, READ_ONLY, program)
    assert "Read-only file system" in told
    assert "--home" in told


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/srv/x", "ext4"),
        ("/home/me", "nfs4"),
        ("/home/me/scratch/deep/er", "lustre"),
        ("/homeless", "ext4"),
        ("/data disk/x", "xfs"),
        ("/over/x", "tmpfs"),
    ],
)
def test_the_file_system_of_a_path_is_that_of_the_deepest_and_latest_mount(path, expected):
    assert file_system(Path(path), MOUNTS) == expected


def test_the_data_lie_in_the_home_on_a_local_disk_and_in_var_tmp_beside_a_network_home(tmp_path, monkeypatch):
    home = Home(tmp_path)
    monkeypatch.setattr("fabric_broker.home.file_system", lambda path, mounts: "ext4")
    assert home.run_dir() == tmp_path / "run"
    monkeypatch.setattr("fabric_broker.home.file_system", lambda path, mounts: "nfs4")
    assert home.run_dir().parent == Path("/var/tmp")
    assert home.run_dir() != Home(tmp_path / "other").run_dir()


def test_two_homes_never_share_a_folder_of_data_even_when_one_is_configured_for_both(tmp_path):
    assert Home(tmp_path / "a").run_dir(tmp_path) != Home(tmp_path / "b").run_dir(tmp_path)

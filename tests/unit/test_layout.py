"""The shape of the distribution: five packages, imports that run one way, nothing of the machine that made it."""

import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path, PurePosixPath

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = {
    "adaptive_fabric": "client",
    "fabric_broker": "broker",
    "fabric_jobs": "jobs",
    "fabric_submitter": "submitter",
    "fabric_tui": "tui",
}
# What makes an import slow or a process fat: the agent and the broker do without.
HEAVY = (
    "adaptive",
    "click",
    "cloudpickle",
    "jinja2",
    "loky",
    "matplotlib",
    "numpy",
    "pandas",
    "rich",
    "rq",
    "scipy",
)
# Where packages come from and where checkouts lie is for pip's settings and for the user to say. (Brackets, so that
# this file does not match itself.)
LEAKS = re.compile(
    r"pypi[.]org|python[h]osted[.]org|deb[.]debian[.]org|registr[y][.]npmjs|(?:extra-)?index-ur[l]\b|find-link[s]\b"
    r"|(?<![\w.}])/(?:root|work|farm)/"
)


def tracked() -> list[Path]:
    """The files of the project, as git knows them."""
    told = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True, timeout=30)
    return [path for name in told.stdout.decode().split("\0") if name and (path := ROOT / name).is_file()]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> zipfile.ZipFile:
    """The wheel, built from the checkout without the network."""
    folder = tmp_path_factory.mktemp("wheel")
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--no-deps",
        "--no-build-isolation",
        "--quiet",
        "-w",
        folder,
        ROOT,
    ]
    subprocess.run(command, check=True, timeout=100, capture_output=True)
    (built,) = folder.glob("*.whl")
    return zipfile.ZipFile(built)


def test_the_wheel_holds_exactly_the_five_packages(wheel):
    tops = {PurePosixPath(name).parts[0] for name in wheel.namelist()}
    assert {top for top in tops if not top.endswith(".dist-info")} == set(PACKAGES)


def test_each_package_in_the_wheel_is_typed(wheel):
    assert {name for name in wheel.namelist() if name.endswith("py.typed")} == {
        f"{p}/py.typed" for p in PACKAGES
    }


def test_the_wheel_lacks_no_file_of_a_package(wheel):
    inside = {
        path.relative_to(ROOT / folder).as_posix()
        for path in tracked()
        for package, folder in PACKAGES.items()
        if path.is_relative_to(ROOT / folder / package)
    }
    assert inside - set(wheel.namelist()) == set()


def test_the_top_folders_are_source_roots_and_not_packages():
    assert [path for path in tracked() if path.name == "__init__.py" and path.parents[1] == ROOT] == []


def test_ruff_bans_importing_the_top_folders(tmp_path):
    folders = [*PACKAGES.values(), "deploy"]
    lines = [line for folder in folders for line in (f"import {folder}", f"from {folder}.x import y")]
    (tmp_path / "wrong.py").write_text("\n".join([*lines, "import fabric_jobs"]))
    command = [sys.executable, "-m", "ruff", "check", "--no-cache", "--config", str(ROOT / "pyproject.toml")]
    command += ["--select", "TID251", "--output-format", "concise", str(tmp_path)]
    told = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert re.findall(r"wrong.py:(\d+):", told.stdout) == [str(n + 1) for n in range(len(lines))]


def test_no_tracked_file_names_a_machine_or_a_registry():
    # A short path, like /app, may be an ordinary word elsewhere.
    checkout = str(ROOT) if len(ROOT.parts) > 3 else None
    found = []
    for path in tracked():
        for number, line in enumerate(path.read_bytes().decode(errors="replace").splitlines(), 1):
            if LEAKS.search(line) or (checkout and checkout in line):
                found.append(f"{path.relative_to(ROOT)}:{number}: {line[:120]}")
    assert found == []


def test_constraints_are_names_and_versions():
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pins = [line for line in lines if line and not line.startswith("#")]
    assert [pin for pin in pins if not re.fullmatch(r"[A-Za-z0-9_.-]+==[A-Za-z0-9_.!+-]+", pin)] == []


def test_constraints_pin_every_direct_dependency():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    wanted = [*project["project"]["dependencies"], *project["dependency-groups"]["dev"]]
    for extra, needs in project["project"]["optional-dependencies"].items():
        wanted += needs if extra != "all" else []
    names = {re.split(r"[^A-Za-z0-9_.-]", need)[0] for need in wanted}
    pins = {line.split("==")[0] for line in (ROOT / "constraints.txt").read_text().splitlines()}
    assert {plain(name) for name in names} - {plain(pin) for pin in pins} == set()


def plain(name: str) -> str:
    """A project's name as registries compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def test_the_broker_imports_nothing_heavy():
    folder = ROOT / "broker" / "fabric_broker"
    assert heavy_after_importing([f"fabric_broker.{path.stem}" for path in folder.glob("[!_]*.py")]) == []


def test_the_agent_imports_nothing_heavy():
    assert heavy_after_importing(["fabric_jobs.__main__", "fabric_jobs.agent"]) == []


def heavy_after_importing(modules: list[str]) -> list[str]:
    """The heavy packages that a fresh interpreter has loaded after these imports."""
    code = f"import sys, {', '.join(modules)}\nprint(*sorted(set(sys.modules) & {set(HEAVY)!r}))"
    told = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60
    )
    assert told.returncode == 0, told.stderr
    return told.stdout.split()

"""The adapter that docs/schedulers.md shows, installed as a package is, keeps real jobs alive."""

from __future__ import annotations

import importlib
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import adaptive
import pytest
from tests.system.processes import EvaluationLog, of_home, wait_for

from adaptive_fabric import Fabric, UsageError
from adaptive_fabric.running import down
from fabric_broker.config import Config
from fabric_broker.home import Home
from fabric_submitter.specs import spec_from_dict

DOC = Path(__file__).parents[2] / "docs" / "schedulers.md"
COMMANDS = {
    # Each job is a session of its own.
    "mysub": """
[ "$1 $3" = "--name --queue" ] || exit 64
setsid sh "$5" >/dev/null 2>&1 </dev/null &
echo "$! $2" >>"$MINE/jobs"
echo "$!"
""",
    "mystat": """
[ ! -e "$MINE/down" ] || { echo 'mystat: no answer' >&2; exit 69; }
touch "$MINE/jobs"
while read -r pid name; do
    state=$(sed 's/.*) \\(.\\) .*/\\1/' "/proc/$pid/stat" 2>/dev/null)
    case $state in '' | Z) ;; *) found="$found$pid $name R
" ;; esac
done <"$MINE/jobs"
if [ "$1" = --summary ] && [ -z "$found" ]; then echo 'no jobs'; else printf %s "$found"; fi
""",
    "mykill": """
kill "$1" "$2" 2>/dev/null || exit 1
""",
}


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder on the path with the package, as pip would have left it, and its scheduler's commands."""
    site, mine = tmp_path / "site", tmp_path / "mine"
    info = site / "my_package-1.0.dist-info"
    info.mkdir(parents=True)
    mine.mkdir()
    text = DOC.read_text(encoding="utf-8")
    (site / "my_package.py").write_text(re.findall(r"```python\n(.*?)```", text, re.DOTALL)[-1])
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: my-package\nVersion: 1.0\n")
    toml = re.findall(r"```toml\n(.*?)```", text, re.DOTALL)[-1]
    found = re.fullmatch(r'\[project.entry-points."([\w.]+)"\]\n(\w+) = "([\w:]+)"\n', toml)
    assert found is not None
    (info / "entry_points.txt").write_text("[{}]\n{} = {}\n".format(*found.groups()))
    for name, script in COMMANDS.items():
        (mine / name).write_text(f"#!/bin/sh\nMINE={mine}\n{script}")
        (mine / name).chmod(0o755)
    monkeypatch.setenv("FABRIC_POLL_INTERVAL", "1")
    monkeypatch.setenv("PYTHONPATH", str(site))
    monkeypatch.setenv("PATH", f"{mine}:{os.environ['PATH']}")
    monkeypatch.syspath_prepend(site)
    importlib.invalidate_caches()
    yield mine
    sys.modules.pop("my_package", None)


@pytest.fixture
def fabric(installed: Path, home: Home) -> Iterator[Fabric]:
    fabric = Fabric.connect(home=home.path)
    try:
        yield fabric
    finally:
        fabric.close()
        down(home, Config.load(home, os.environ))


def command(home: Home, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "adaptive_fabric", "--home", str(home.path), *words],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


@pytest.mark.long
def test_a_run_on_the_documented_scheduler_is_done_though_its_jobs_are_killed(
    installed: Path, fabric: Fabric, home: Home, log: EvaluationLog
) -> None:
    options = ["--ttl", "3", "--idle-timeout", "5", "--preamble", "MARK=mine", "--jobs", "2"]
    added = command(home, "pool", "add", "night", "--kind", "mine", "--set", "queue=night", *options)
    assert added.returncode == 0, added.stderr
    assert fabric.pool("night").spec == spec_from_dict(
        {"kind": "mine", "queue": "night", "ttl": 3, "idle_timeout": 5, "preamble": ["MARK=mine"]}
    )
    doctor = command(home, "doctor")
    assert re.search("^ok +job of night", doctor.stdout, re.MULTILINE), doctor.stdout

    names = ["a", "b"]
    learners = [adaptive.Learner1D(log.function(name, 0.05), (-1, 1)) for name in names]
    run = fabric.submit(learners, names=names, goal=150)
    wait_for(lambda: all(record.npoints > 5 for record in run.learners()), "points of both jobs")
    victim = int((installed / "jobs").read_text().split()[-2])
    killed = time.time()
    os.killpg(victim, signal.SIGKILL)
    wait_for(
        lambda: [job for job in fabric.jobs() if job.state == "ended"], "its end as the submitter sees it"
    )
    assert run.wait(timeout=100).counts == {"done": 2}
    assert log.evaluated_again(before=killed - 1) == []
    wait_for(lambda: not [each for each in of_home(home.path) if each.role == "agent"], "the end of all jobs")


@pytest.mark.long
def test_what_its_check_refuses_makes_no_pool(fabric: Fabric, home: Home) -> None:
    with pytest.raises(UsageError, match="there are day, night"):
        fabric.pool("dusk", spec_from_dict({"kind": "mine", "queue": "dusk"}))
    told = command(home, "pool", "add", "dusk", "--kind", "mine", "--set", "queue=dusk")
    assert (told.returncode, told.stderr.count("\n")) == (2, 1)
    told = command(home, "pool", "add", "dusk", "--kind", "mine", "--set", "colour=red")
    assert (told.returncode, "colour" in told.stderr) == (2, True)


def test_a_package_that_cannot_be_imported_is_named(installed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (installed.parent / "site" / "my_package.py").write_text("import no_such_module\n")
    sys.modules.pop("my_package", None)
    with pytest.raises(UsageError, match=r"'mine'.*my_package:Mine.*no_such_module"):
        spec_from_dict({"kind": "mine"})

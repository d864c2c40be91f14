"""What the README shows is what happens."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from adaptive_fabric.running import down
from fabric_broker.home import Home

ROOT = Path(__file__).parents[2]


@pytest.mark.long
def test_the_script_of_the_readme_runs_as_it_stands(home: Home, tmp_path: Path) -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    (script,) = re.findall(r"```python\n(.*?)```", readme, re.DOTALL)
    path = tmp_path / "readme.py"
    path.write_text(script + "print(len(df), df.learner.nunique(), [l.npoints for l in learners])\n")
    try:
        ran = subprocess.run(
            [sys.executable, path],
            cwd=tmp_path,
            env=os.environ | {"FABRIC_HOME": str(home.path)},
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )
    finally:
        down(home)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.splitlines() == ["done", "400 4 [100, 100, 100, 100]"]
    assert sorted(file.name for file in (tmp_path / "results").iterdir()) == [f"pow={i}" for i in range(4)]


def test_every_command_of_the_readme_is_one(tmp_path: Path) -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    commands = set(re.findall(r"^fabric ([a-z]+)", readme, re.MULTILINE))
    assert len(commands) > 8
    for command in commands:
        told = subprocess.run(
            [sys.executable, "-m", "adaptive_fabric", command, "--help"],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        assert told.returncode == 0, f"fabric {command}: {told.stderr}"

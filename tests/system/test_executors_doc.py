"""What docs/executors.md shows is what happens."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from adaptive_fabric.running import down
from fabric_broker.home import Home

DOC = Path(__file__).parents[2] / "docs" / "executors.md"


@pytest.mark.long
def test_the_script_and_the_command_of_the_document_run_as_they_stand(home: Home, tmp_path: Path) -> None:
    text = DOC.read_text(encoding="utf-8")
    script = re.findall(r"```python\n(.*?)```", text, re.DOTALL)[0]
    (command,) = re.findall(r"^fabric (pool add .*)$", text, re.MULTILINE)
    path = tmp_path / "script.py"
    path.write_text(script)

    def run(*arguments: str | Path) -> str:
        return subprocess.run(
            [sys.executable, *arguments],
            cwd=tmp_path,
            env=os.environ | {"FABRIC_HOME": str(home.path)},
            capture_output=True,
            text=True,
            timeout=100,
            check=True,
        ).stdout

    try:
        printed = run(path)
        run("-m", "adaptive_fabric", *shlex.split(command))
        assert "process-pool" in run("-m", "adaptive_fabric", "pool", "show", "sweep")
    finally:
        down(home)
    assert sorted(file.name for file in (tmp_path / "results").iterdir()) == ["a=0.1", "a=0.2"]
    rows = [int(line.split()[1]) for line in printed.splitlines() if re.match(r"0\.[12] ", line)]
    assert len(rows) == 2
    assert sum(rows) >= 100
    assert len([file for file in (tmp_path / "found").rglob("*") if file.is_file()]) >= 100

"""The demo: it kills a job, counts what that cost, and leaves plot and data but no process."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from tests.system.processes import of_home, wait_for


def start(folder: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "adaptive_fabric", "demo", "--dir", str(folder), "--json"]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.long
def test_the_demo_ends_with_all_done_and_nothing_running(tmp_path: Path) -> None:
    folder = tmp_path / "demo"

    out, err = start(folder).communicate(timeout=110)

    report = json.loads(out)
    assert report.pop("schema") == 1
    assert set(report) == {
        "learners", "done", "points", "killed_jobs", "reassigned", "points_lost", "seconds", "plot", "data",
    }  # fmt: skip
    assert (report["learners"], report["done"], report["killed_jobs"]) == (20, 20, 1)
    assert report["points"] == 20 * 201
    assert report["reassigned"] >= 1
    assert Path(report["plot"]).read_bytes().startswith(b"\x89PNG")
    table = pd.read_parquet(report["data"])
    assert len(table) == report["points"]
    assert table["learner"].nunique() == 20
    evaluations = len((folder / "evaluations.log").read_text().splitlines())
    assert report["points_lost"] == evaluations - report["points"]
    assert "killed job" in err
    assert "went on in job" in err
    assert not of_home(folder)


@pytest.mark.long
def test_a_demo_that_is_interrupted_leaves_nothing_running(tmp_path: Path) -> None:
    folder = tmp_path / "demo"
    process = start(folder)
    try:
        wait_for(lambda: any(each.role == "slot" for each in of_home(folder)), "a slot")
        process.send_signal(signal.SIGINT)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    finally:
        process.kill()
        process.communicate()

    assert process.returncode == 130
    assert out == ""
    assert err.endswith("fabric: interrupted\n")
    assert "Traceback" not in err
    assert not of_home(folder)

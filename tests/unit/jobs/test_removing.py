from __future__ import annotations

import time
from pathlib import Path

from fabric_jobs.orders import Remove
from fabric_jobs.removing import Removing


def test_a_file_goes_when_it_is_due_and_the_end_waits_for_it(tmp_path: Path):
    for name in ("now", "soon", "later"):
        (tmp_path / name).write_text("checkpoint")
    removing = Removing(time.monotonic, warn=lambda text: None)
    removing.put(Remove(str(tmp_path), "soon", time.monotonic() + 0.3))
    removing.put(Remove(str(tmp_path), "now", 0.0))
    removing.put(Remove(str(tmp_path), "later", time.monotonic() + 600))
    removing.close()
    assert [path.name for path in tmp_path.iterdir()] == ["later"]


def test_what_cannot_be_removed_is_told_and_stops_nobody(tmp_path: Path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("checkpoint")
    told: list[str] = []
    removing = Removing(time.monotonic, told.append)
    removing.put(Remove(str(tmp_path), "folder", 0.0))
    removing.put(Remove(str(tmp_path), "file", 0.1))
    removing.close()
    assert "folder" in told[0]
    assert not (tmp_path / "file").exists()


def test_nothing_to_remove_costs_nothing():
    Removing(time.monotonic, warn=lambda text: None).close()

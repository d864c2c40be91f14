"""The command line of `fabric-tui`: what is refused, in one line."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner
from textual.binding import Binding

from fabric_tui.app import FabricApp
from fabric_tui.cli import main
from fabric_tui.grid import Grid
from fabric_tui.helping import KEY_IDS
from fabric_tui.overview import Overview
from fabric_tui.panes import TablePane
from fabric_tui.views import DetailPane, DetailScreen, LogScreen, TextScreen


def run(*words: str) -> tuple[int, str]:
    result = CliRunner().invoke(main, list(words))
    return result.exit_code, result.output


def test_record_and_replay_exclude_each_other(tmp_path: Path) -> None:
    code, told = run("--home", str(tmp_path), "--record", "a", "--replay", "b")
    assert (code, told) == (2, "fabric-tui: --record and --replay exclude each other\n")


@pytest.mark.parametrize(
    ("content", "why"),
    [(None, "there is no recording"), (b"{}\n", "is no recording"), (b"\xff\n", "cannot read")],
)
def test_what_is_no_recording_is_refused(tmp_path: Path, content: bytes | None, why: str) -> None:
    path = tmp_path / "x.jsonl"
    if content is not None:
        path.write_bytes(content)
    code, told = run("--home", str(tmp_path), "--replay", str(path))
    assert code != 0
    assert why in told
    assert told.count("\n") == 1


def test_a_key_for_nothing_is_refused_with_what_there_is(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text('[keys]\n"learner.retri" = "f5"\n')
    code, told = run("--home", str(tmp_path), "--replay", "x")
    assert code == 2
    assert "'learner.retri'" in told
    assert all(id in told for id in KEY_IDS)


def test_every_key_has_an_id_that_can_be_bound() -> None:
    owners = (FabricApp, Grid, TablePane, Overview, DetailPane, DetailScreen, LogScreen, TextScreen)
    bindings = [binding for owner in owners for binding in owner.BINDINGS if isinstance(binding, Binding)]
    assert {binding.id for binding in bindings} == KEY_IDS


def test_every_id_of_a_key_is_in_the_documentation() -> None:
    text = (Path(__file__).parents[3] / "docs" / "tui.md").read_text(encoding="utf-8")
    assert [id for id in sorted(KEY_IDS) if f"`{id}`" not in text] == []

"""A shim on PATH before a scheduler's command: it counts calls, stops them where a plan says so, answers for them.

The plan's n-th line names the point where the n-th call stops until it is let go on: ``before``, ``between`` (the
real command has run, its answer is held back) or ``after`` (it has answered and has not ended). Others run through.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from pathlib import Path

import pytest

_SCRIPT = """#!/bin/sh
folder={folder}
n=1
while ! mkdir "$folder/call.$n" 2>/dev/null; do n=$((n + 1)); done
point=$(sed -n "${{n}}p" "$folder/plan")
stop() {{
    if [ "$point" != "$1" ]; then return; fi
    echo "$PPID $$" >"$folder/call.$n/new"
    mv "$folder/call.$n/new" "$folder/call.$n/$1"
    while [ ! -e "$folder/call.$n/go" ]; do sleep 0.05; done
}}
case " $* " in
    *" -t "*) if [ -e "$folder/answer" ]; then cat "$folder/answer"; exit 0; fi ;;
esac
stop before
out=$({real} "$@" 2>"$folder/call.$n/stderr")
code=$?
stop between
cat "$folder/call.$n/stderr" >&2
if [ -n "$out" ]; then printf '%s\\n' "$out"; fi
stop after
exit "$code"
"""


class Shim:
    """Stands before the command ``name`` that is on PATH now."""

    def __init__(self, folder: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
        real = shutil.which(name)
        assert real is not None
        self.folder = folder / f"shim-{name}"
        (self.folder / "bin").mkdir(parents=True)
        (self.folder / "plan").touch()
        script = self.folder / "bin" / name
        script.write_text(_SCRIPT.format(folder=self.folder, real=real))
        script.chmod(0o755)
        monkeypatch.setenv("PATH", f"{script.parent}:{os.environ['PATH']}")

    def plan(self, points: Iterable[str]) -> None:
        """Where the calls stop, in their order."""
        (self.folder / "plan").write_text("".join(f"{point}\n" for point in points))

    def calls(self) -> int:
        """How many calls there were."""
        return len(list(self.folder.glob("call.*")))

    def at(self, number: int, point: str) -> tuple[int, int] | None:
        """Who made the ``number``-th call (from 1) and the call itself, as pids, once it is at its point."""
        mark = self.folder / f"call.{number}" / point
        if not mark.exists():
            return None
        caller, itself = map(int, mark.read_text().split())
        return caller, itself

    def go_on(self, number: int) -> None:
        """Let the ``number``-th call go on."""
        (self.folder / f"call.{number}" / "go").touch()

    def answer_listings(self, text: str | None) -> None:
        """Answer calls with the option -t so, and well; None: let the real command answer again."""
        answer = self.folder / "answer"
        if text is None:
            answer.unlink()
        else:
            draft = self.folder / "answer.new"
            draft.write_text(text)
            draft.replace(answer)

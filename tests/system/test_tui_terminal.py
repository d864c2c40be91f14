"""`fabric-tui` in a real terminal (tmux) on a real run: retry what failed and see it done; lose Redis, get it back."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import adaptive
import pytest
from tests.system.conftest import Scene, quick
from tests.system.processes import wait_for

from fabric_broker.config import Config
from fabric_broker.server import EmbeddedServer

PATIENCE = 60.0  # s


class Terminal:
    """A tmux server of its own with one window."""

    def __init__(self, folder: Path) -> None:
        self._socket = folder / "tmux.sock"

    def tmux(self, *words: str) -> str:
        command = ["tmux", "-S", str(self._socket), "-f", "/dev/null", *words]
        # A test runner may tell the size of its own terminal; here tmux does.
        env = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES")}
        return subprocess.run(command, check=True, capture_output=True, text=True, timeout=20, env=env).stdout

    def start(self, command: str) -> None:
        self.tmux("new-session", "-d", "-s", "t", "-x", "130", "-y", "40", command)
        # What an application writes into the clipboard (OSC 52) goes into a buffer of tmux.
        self.tmux("set-option", "-s", "set-clipboard", "on")

    def keys(self, *keys: str) -> None:
        self.tmux("send-keys", "-t", "t", *keys)

    def text(self) -> str:
        return self.tmux("capture-pane", "-t", "t", "-p")

    def colours(self) -> set[str]:
        """The colours on the screen, as "r;g;b" or as numbers of a palette."""
        told = self.tmux("capture-pane", "-t", "t", "-p", "-e")
        return set(re.findall(r"\x1b\[[0-9;]*?[34]8;[25];([0-9;]+)m", told))

    def see(self, *texts: str) -> str:
        """Wait until all of these are on the screen."""
        shown = ""

        def there() -> bool:
            nonlocal shown
            shown = self.text()
            return all(text in shown for text in texts)

        try:
            wait_for(there, f"{texts} on the screen", PATIENCE)
        except AssertionError as error:
            raise AssertionError(f"{error}; the screen:\n{shown}") from error
        return shown

    def close(self) -> None:
        subprocess.run(
            ["tmux", "-S", str(self._socket), "kill-server"], check=False, capture_output=True, timeout=20
        )


@pytest.fixture
def terminal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Terminal]:
    terminal = Terminal(tmp_path_factory.mktemp("t"))
    try:
        yield terminal
    finally:
        terminal.close()


def fails_without(flag: str) -> Callable[[float], float]:
    """A function that raises as long as a file is missing."""

    def evaluate(x: float) -> float:
        if not os.path.exists(flag):  # noqa: PTH110 - what is pickled stays small
            raise ValueError("the input is missing")
        return x * x

    return evaluate


RECORDING = Path(__file__).parents[1] / "integration" / "tui" / "recordings" / "demo.jsonl.gz"


def replay(home: Path) -> str:
    return shlex.join([sys.executable, "-m", "fabric_tui", "--home", str(home), "--replay", str(RECORDING)])


@pytest.mark.long
@pytest.mark.needs("tmux")
def test_without_colour_glyphs_and_words_tell_the_state_and_the_clipboard_gets_what_is_copied(
    terminal: Terminal, tmp_path: Path
) -> None:
    terminal.start(f"COLORTERM=truecolor NO_COLOR=1 {replay(tmp_path)}")
    terminal.see("replay", "✘ failed", "● leased")
    grey = {colour for colour in terminal.colours() if len(set(colour.split(";"))) == 1}
    assert terminal.colours() == grey
    terminal.keys("2")
    terminal.see("200 learners")
    terminal.tmux("resize-window", "-t", "t", "-x", "70", "-y", "20")
    terminal.see("too small: 70×20")
    terminal.tmux("resize-window", "-t", "t", "-x", "90", "-y", "30")
    terminal.see("200 learners")
    terminal.keys("g", "y")
    terminal.see("copied r")
    wait_for(lambda: "rbands0.0" in terminal.tmux("list-buffers"), "a clipboard", PATIENCE)
    terminal.keys("q")


@pytest.mark.long
@pytest.mark.needs("tmux")
def test_with_colour_there_is_some(terminal: Terminal, tmp_path: Path) -> None:
    terminal.start(f"COLORTERM=truecolor {replay(tmp_path)}")
    terminal.see("replay", "✘ failed")
    assert any(len(set(colour.split(";"))) > 1 for colour in terminal.colours())
    terminal.keys("q")


@pytest.mark.long
@pytest.mark.needs("tmux")
def test_failed_learners_are_marked_retried_and_done_and_redis_comes_back(
    scene: Scene, terminal: Terminal, tmp_path: Path
) -> None:
    flag = tmp_path / "input"
    scene.fabric.pool("local", quick(), jobs=1)
    functions = [fails_without(str(flag)) if n < 3 else abs for n in range(5)]
    learners = [adaptive.Learner1D(function, (-1, 1)) for function in functions]
    run = scene.fabric.submit(learners, name="sweep", names=list("abcde"), goal=20, attempts=1)
    wait_for(lambda: run.status().counts == {"done": 2, "failed": 3}, "three failed", PATIENCE)

    words = [sys.executable, "-m", "fabric_tui", "--home", str(scene.home.path)]
    terminal.start(shlex.join(words))
    terminal.see("● live", "run sweep: 3 learners failed")
    terminal.keys("2")
    terminal.see("5 learners", "the input is missing")
    terminal.keys("/")
    terminal.keys("-l", "state:failed")
    terminal.see("3 of 5 learners")
    terminal.keys("Enter")
    terminal.see("filter: state:failed")
    terminal.keys("g", "Space", "Space", "Space")
    terminal.see("3 marked")
    flag.touch()
    terminal.keys("r")
    terminal.see("Retry: 3 learners?", "queued again with attempts 0")
    terminal.keys("y")
    terminal.keys("Escape")
    wait_for(lambda: run.status().counts == {"done": 5}, "all done", PATIENCE)
    terminal.keys("1")
    terminal.see("✔ done 5")

    os.kill(int(scene.fabric.broker.redis.info("server")["process_id"]), signal.SIGKILL)
    terminal.see("○ stale", "✔ done 5", "retry ")
    EmbeddedServer(scene.home, Config.load(scene.home, os.environ)).up()
    terminal.see("● live", "✔ done 5")
    terminal.keys("5")
    terminal.see("» retry", "asked for 3 learners")
    terminal.keys("q")

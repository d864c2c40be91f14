"""`fabric-tui` in a real terminal (tmux) on a real run: retry what failed and see it done; lose Redis, get it back."""

from __future__ import annotations

import os
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

    def keys(self, *keys: str) -> None:
        self.tmux("send-keys", "-t", "t", *keys)

    def text(self) -> str:
        return self.tmux("capture-pane", "-t", "t", "-p")

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
    terminal.see("○ stale", "✔ done 5", "retry 2 in")
    EmbeddedServer(scene.home, Config.load(scene.home, os.environ)).up()
    terminal.see("● live", "✔ done 5")
    terminal.keys("5")
    terminal.see("» retry", "asked for 3 learners")
    terminal.keys("q")

"""In a process that a slot started as a program: become its worker, and end with it."""

from __future__ import annotations

import argparse
import base64
import json
import os
import signal
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from types import FrameType
from typing import Any

import cloudpickle

from .evaluate import start_worker


def arrive(module: str, argv: list[str] | None = None) -> Mapping[str, Any]:
    """Become a worker as the invitation says; answers its words.

    On the slot's node the kernel ends this process with the slot. Under srun standard input does: it ends when the
    slot or srun ends.
    """
    parser = argparse.ArgumentParser(prog=f"python -m {module}")
    parser.add_argument("--parent", type=int, required=True, help="pid of the slot; 0: it is on another node")
    parser.add_argument("--invitation", type=Path, required=True)
    args = parser.parse_args(argv)
    start_worker(args.parent or os.getppid(), None)
    ignore_schedulers()
    if args.parent == 0:
        threading.Thread(target=_end_with_input, name="fabric: the slot's end", daemon=True).start()
    content = json.loads(args.invitation.read_text())
    sys.path[:0] = [entry for entry in content["sys_path"] if entry not in sys.path]
    try:
        os.chdir(content["cwd"])
    except OSError as error:
        sys.stderr.write(f"{content['cwd']} cannot be entered here: {error.strerror}\n")
    if content["initializer"] is not None:
        cloudpickle.loads(base64.b64decode(content["initializer"]))()
    words: dict[str, Any] = content["words"]
    return words


def ignore_schedulers() -> None:
    """Ignore what a scheduler sends to all processes of a job: the agent hears it too, and lets points finish."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, _ignore)


def leave() -> None:
    """End this process now: what it evaluates for a slot that is gone must not keep it."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


def _end_with_input() -> None:
    while os.read(0, 4096):
        pass
    os._exit(0)


def _ignore(number: int, frame: FrameType | None) -> None:
    """Unlike SIG_IGN, a handler is not inherited by the programs that user code starts."""

"""``python -m fabric_jobs.ipyparallel_controller``: the controller of a slot's engines, started by `engines`."""

from __future__ import annotations

import argparse
import json
import logging
import multiprocessing
import os
import secrets
from pathlib import Path
from typing import Any, Final

from .arriving import ignore_schedulers
from .deathsig import die_with_parent
from .evaluate import start_worker

CLIENT_FILE: Final = "client.json"
BEAT_MS: Final = 1000
"""An engine is there from its second beat on."""
MISSES: Final = 30
"""Beats that controller and engines miss of each other before they believe that the other one is gone."""
ENGINE_FILE: Final = "engine.json"
"""Written last; how to connect, with the key of the messages. Both can be read by their owner alone."""


def main(argv: list[str] | None = None) -> None:
    """Be a controller until the slot ends."""
    parser = argparse.ArgumentParser(prog="python -m fabric_jobs.ipyparallel_controller")
    parser.add_argument("--parent", type=int, required=True, help="pid of the slot")
    parser.add_argument("--folder", type=Path, required=True, help="where to write how to connect")
    parser.add_argument("--ip", required=True, help="the address to listen on")
    parser.add_argument("--encrypt", action="store_true")
    args = parser.parse_args(argv)
    start_worker(args.parent, None)
    ignore_schedulers()
    # It keeps its heart monitor in a process of its own, which is to end with it, too.
    multiprocessing.set_start_method("fork")
    me = os.getpid()
    os.register_at_fork(after_in_child=lambda: die_with_parent(me))

    from ipyparallel.controller.app import IPController
    from traitlets.config import Config

    class Controller(IPController):  # type: ignore[misc]
        """Writes how to connect to where the slot looks for it."""

        def save_connection_dict(self, fname: str, cdict: dict[str, Any]) -> None:
            name = CLIENT_FILE if fname == self.client_json_file else ENGINE_FILE
            write(args.folder / name, cdict)

        def cleanup_connection_files(self) -> None:
            """Leave that to the slot, whose folder it is."""

        def init_signal(self) -> None:
            """Leave signals as they are."""

        def init_hub(self) -> None:
            """Its heart monitor takes the logger's level for its own; that of the handler does not reach it."""
            self.log.setLevel(logging.CRITICAL)
            super().init_hub()

    config = Config()
    config.Session.key = secrets.token_hex(32).encode()
    config.IPController.use_threads = True
    config.IPController.ip = args.ip
    config.IPController.location = args.ip
    config.IPController.enable_curve = args.encrypt
    config.IPController.log_level = logging.CRITICAL
    config.IPController.db_class = "NoDB"
    config.HeartMonitor.period = BEAT_MS
    config.HeartMonitor.max_heartmonitor_misses = MISSES
    app = Controller.instance(config=config)
    app.initialize([f"--log-level={logging.CRITICAL}", "--profile-dir", str(args.folder / "profile")])
    app.start()


def write(path: Path, content: dict[str, Any]) -> None:
    """Put a file there as a whole that only its owner can read."""
    draft = path.with_suffix(".draft")
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        json.dump(content, file)
    draft.replace(path)


if __name__ == "__main__":
    main()

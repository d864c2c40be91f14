"""``python -m fabric_jobs.ipyparallel_engine``: one engine of a slot's controller, started by `engines`."""

from __future__ import annotations

import json
import logging
import shutil
import tempfile
from collections.abc import Mapping
from typing import Any

from .arriving import arrive, leave
from .ipyparallel_controller import MISSES


def work(words: Mapping[str, Any]) -> None:
    """Work for the controller until it is gone."""
    from ipyparallel.engine.app import IPEngine
    from traitlets.config import Config

    # IPython wants one to start with.
    folder = tempfile.mkdtemp(prefix="fabric-engine-")

    class Engine(IPEngine):  # type: ignore[misc]
        """Prints where every worker of a slot prints, and ends as they do."""

        def redirect_output(self, iopub_socket: Any) -> None:
            """Leave the standard streams alone."""

        def init_signal(self) -> None:
            """Leave signals as `arrive` set them."""

        def start_heartbeat(self, *args: Any) -> None:
            """Its start ends here."""
            shutil.rmtree(folder)
            super().start_heartbeat(*args)

    config = Config()
    config.IPEngine.enable_nanny = False  # a process per engine to send signals to it, which nobody does
    config.IPEngine.auto_create = True
    config.IPEngine.timeout = words["start_s"]
    config.IPEngine.max_heartbeat_misses = MISSES
    config.IPEngine.log_level = logging.CRITICAL
    engine = Engine.instance(config=config, connection_info_env=json.dumps(words["connection"]))
    engine.initialize(["--profile-dir", f"{folder}/profile"])
    engine.start()


if __name__ == "__main__":
    work(arrive("fabric_jobs.ipyparallel_engine"))
    leave()

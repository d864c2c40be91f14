"""The workers of ipyparallel: a controller below the slot, and one engine for each core.

Messages are signed with a key of their own; across nodes they are encrypted, too (CurveZMQ).
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from fabric_broker.listen import outside_address

from .children import Children
from .inviting import invitation
from .ipyparallel_controller import CLIENT_FILE, ENGINE_FILE
from .lent import Lent
from .missing import needs
from .spreading import PYTHON, commands
from .workers import NoWorkersError, Wanted


class Engines:
    """See `Workers`.

    Raises
    ------
    NoWorkersError
        They did not come.
    """

    def __init__(self, wanted: Wanted) -> None:
        needs("ipyparallel", extra="ipyparallel")
        self._client: Any = None
        self._lent: Lent | None = None
        self._controller = Children(self._died)
        self._engines = Children(self._died, gently=wanted.nodes > 1)
        # On this node's disk: the controller is here, and engines are told in their invitation.
        self._folder = Path(tempfile.mkdtemp(prefix="fabric-ipyparallel-"))
        try:
            self._start(wanted)
        except BaseException:
            self.close()
            raise

    def _start(self, wanted: Wanted) -> None:
        spread = wanted.nodes > 1
        command = [*PYTHON, "fabric_jobs.ipyparallel_controller", "--parent", str(os.getpid())]
        command += ["--folder", str(self._folder), "--ip", outside_address() if spread else "127.0.0.1"]
        self._controller.start([[*command, *(["--encrypt"] if spread else [])]])
        client_file, engine_file = self._folder / CLIENT_FILE, self._folder / ENGINE_FILE
        self._controller.wait_for(engine_file.exists, 1, "controllers", wanted.start_s)
        connection = json.loads(engine_file.read_text())
        with invitation(wanted, connection=connection, start_s=wanted.start_s) as path:
            self._engines.start(commands(wanted, "fabric_jobs.ipyparallel_engine", "--invitation", str(path)))
            from ipyparallel import Client
            from ipyparallel.error import TimeoutError as NoAnswerError

            try:
                self._client = Client(
                    json.loads(client_file.read_text()),
                    timeout=wanted.start_s,
                    profile_dir=None,
                    ipython_dir=str(self._folder),
                )
            except (NoAnswerError, TimeoutError) as error:
                raise NoWorkersError(f"the controller of ipyparallel does not answer: {error}") from error
            self._engines.wait_for(lambda: len(self._client), wanted.workers, "engines", wanted.start_s)
        view = self._client.load_balanced_view()
        view.retries = 0
        self._lent = Lent(view.executor, wanted.workers)
        died = self._engines.dead or self._controller.dead
        if died is not None:
            self._died(died)

    def _died(self, how: str) -> None:
        if self._lent is not None:
            self._lent.break_off(how)

    def submit(self, function: Callable[..., Any], /, *args: Any) -> Future[Any]:
        """Start a call; see `Workers.submit`."""
        assert self._lent is not None
        return self._lent.submit(function, *args)

    def bury(self) -> str:
        """End what is left; see `Workers.bury`."""
        died = self._engines.deaths() or self._controller.deaths() or (self._lent and self._lent.broken) or ""
        self.close()
        return died

    def close(self) -> None:
        """End client, engines and controller; see `Workers.close`."""
        client, self._client = self._client, None
        if client is not None:
            client.close(linger=0)
        self._engines.close()
        self._controller.close()
        shutil.rmtree(self._folder, ignore_errors=True)

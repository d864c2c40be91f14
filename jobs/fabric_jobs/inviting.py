"""What a slot tells the workers that it starts as programs: in a file that only they can read, gone when they came."""

from __future__ import annotations

import base64
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from .workers import NoWorkersError, Wanted


@contextmanager
def invitation(wanted: Wanted, **words: Any) -> Iterator[Path]:
    """A file (0600) with these JSON-able words and what makes a worker one of the slot; only within the context.

    It lies on this node's disk, or in the fabric's home when workers on other nodes are to read it.
    """
    base = tempfile.gettempdir() if wanted.nodes == 1 else os.environ["FABRIC_HOME"]
    try:
        content = {
            "cwd": str(Path.cwd()),
            "sys_path": [entry for entry in sys.path if entry],
            "initializer": wanted.initializer and base64.b64encode(wanted.initializer).decode(),
            "words": words,
        }
        folder = Path(tempfile.mkdtemp(prefix="fabric-workers-", dir=base))
        try:
            path = folder / "invitation.json"
            with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
                json.dump(content, file)
            yield path
        finally:
            shutil.rmtree(folder)
    except OSError as error:
        raise NoWorkersError(f"workers cannot be invited: {error}") from error

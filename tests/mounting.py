"""Full disks and read-only file systems for tests: mounts that live in a namespace of one process and end with it."""

from __future__ import annotations

import functools
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

FULL = 'mount -t tmpfs -o size=64k none "$1"'
"""Makes a folder a file system of 64 kB."""
READ_ONLY = 'mount --bind "$1" "$1" && mount -o remount,ro,bind "$1"'
"""Makes a folder, with all that is in it, read-only."""


@functools.cache
def _unshare() -> tuple[str, ...] | None:
    program = shutil.which("unshare")
    if program is None:
        return None
    for flags in ("-m", "-rm"):  # as root; as a user, in a user namespace
        try:
            done = subprocess.run(
                [program, flags, "mount", "-t", "tmpfs", "none", "/mnt"],
                capture_output=True,
                timeout=20,
                check=False,
            )
        except OSError:
            return None
        if done.returncode == 0:
            return (program, flags)
    return None


def run_python_on(folder: Path, mount: str, program: str) -> str:
    """Run a Python program with `folder` mounted as `mount` says; what it prints. `sys.argv[1]` is the folder.

    Skips the test where nobody may mount.
    """
    unshare = _unshare()
    if unshare is None:
        pytest.skip("nobody may mount here, not even in a namespace of their own")
    told = subprocess.run(
        [*unshare, "sh", "-c", f'{mount} && exec "$2" -c "$3" "$1"', "sh", folder, sys.executable, program],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert told.returncode == 0, told.stderr
    return told.stdout

"""What every test shares: the marker `needs`, for tests that need a component a machine may lack.

`FABRIC_TEST_REQUIRE=redis7,…` (or `all`) turns the skip into a failure: CI installs the components and must not
pass without them.
"""

import functools
import os
import re
import shutil
import subprocess
from collections.abc import Callable

import pytest


def _redis7() -> str | None:
    """Why there is no Redis >= 7, or None."""
    binary = shutil.which("redis-server")
    if binary is None:
        return "no redis-server on PATH"
    told = subprocess.run(
        [binary, "--version"], capture_output=True, text=True, timeout=10, check=False
    ).stdout
    version = re.search(r"v=(\d+)", told)
    if version is None or int(version[1]) < 7:
        return f"{binary} is not Redis >= 7: {told.strip() or 'it told no version'}"
    return None


LACKS: dict[str, Callable[[], str | None]] = {"redis7": functools.cache(_redis7)}


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip what this machine cannot run, or fail where it was promised that it can."""
    required = os.environ.get("FABRIC_TEST_REQUIRE", "").split(",")
    for marker in item.iter_markers("needs"):
        (name,) = marker.args
        lack = LACKS[name]()
        if lack is None:
            continue
        if name in required or "all" in required:
            pytest.fail(f"FABRIC_TEST_REQUIRE names {name}: {lack}", pytrace=False)
        pytest.skip(f"needs {name}: {lack}")

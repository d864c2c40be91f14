from __future__ import annotations

import os
import subprocess
import sys

CHILD = """
import os, sys
from fabric_jobs.deathsig import die_with_parent
die_with_parent(int(sys.argv[1]))
print("lives")
"""


def test_a_process_whose_parent_is_another_by_now_ends_itself():
    command = [sys.executable, "-c", CHILD, "1"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert (done.returncode, done.stdout) == (-9, "")


def test_a_process_whose_parent_lives_goes_on():
    command = [sys.executable, "-c", CHILD, str(os.getpid())]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)
    assert done.stdout == "lives\n"

"""Processes that end with their parent, however it dies: Linux' parent-death signal, and a check of the parent.

The signal is bound to the *thread* that forked, so processes are forked from main threads; it is cleared by a
fork, so each process asks for its own. Light: the agent imports this.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def die_with_parent(parent: int, death_signal: int = signal.SIGKILL) -> None:
    """Have the kernel send `death_signal` to this process when its parent ends.

    Ends this process at once if the parent is no longer `parent`: then it died before the kernel was asked.

    Raises
    ------
    OSError
        The kernel refused.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, ctypes.c_ulong(death_signal), 0, 0, 0) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"prctl(PR_SET_PDEATHSIG): {os.strerror(number)}")
    if os.getppid() != parent:
        os.kill(os.getpid(), death_signal)
        # A signal with a handler of ours would let us live on.
        os._exit(128 + death_signal)


def main(argv: list[str]) -> int:
    """``PARENT PROGRAM ARGUMENT…``: become the program, which is sent TERM when the parent ends."""
    parent, *command = argv
    die_with_parent(int(parent), signal.SIGTERM)
    try:
        os.execv(command[0], command)  # noqa: S606 - there is no shell, on purpose
    except OSError as error:
        sys.stderr.write(f"cannot run {command[0]}: {error.strerror}\n")
    return 127


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

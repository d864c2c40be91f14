"""A slot under MPI: rank 0 of ``mpiexec … python -m mpi4py.futures -m fabric_jobs.rank …``; the others work for it.

Started and watched by `launches`, the agent's side of this. mpiexec passes no descriptors on, so rank 0 knocks at the
agent's socket, says how large its world is, and is given a slot's pipes. After that it is a slot like any other.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import sys
from pathlib import Path
from typing import Any, Final

from mpi4py import MPI
from mpi4py.futures import MPIPoolExecutor

from fabric_broker.home import Home
from fabric_broker.signing import Signer, load_key

from .forks import MESSAGE_BYTES, PIPES
from .ranks import settle

MISFIT: Final = 3
"""Exit code of a rank 0 whose world has another size than was asked for."""


def main(argv: list[str] | None = None) -> int:
    """Be rank 0; answers the exit code."""
    parser = argparse.ArgumentParser(prog="python -m fabric_jobs.rank")
    parser.add_argument("--socket", type=Path, required=True, help="where the agent listens")
    parser.add_argument("--ranks", type=int, required=True, help="how many there should be")
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--fabric", required=True)
    parser.add_argument("--node", required=True)
    args = parser.parse_args(argv)
    settle()
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as agent:
        agent.connect(str(args.socket))
        os.register_at_fork(after_in_child=agent.close)
        size = MPI.COMM_WORLD.Get_size()
        _tell(agent, {"size": size, "library": MPI.Get_library_version().strip().splitlines()[0][:200]})
        if size != args.ranks:
            return MISFIT
        with MPIPoolExecutor(main=False, initializer=settle) as first:
            # Each of them answers, or this waits until the agent's patience ends.
            workers = first.num_workers
        _tell(agent, {"workers": workers})
        if workers != size - 1:
            return MISFIT
        message, pipes, _, _ = socket.recv_fds(agent, MESSAGE_BYTES, PIPES, socket.MSG_CMSG_CLOEXEC)
        if not message:
            return 0  # the agent is gone, or wants nothing of us any more
        signer = Signer(load_key(Home(args.home).work_key), args.fabric)
        from .slot import be_slot

        up, down, out = pipes
        return be_slot(up, down, out, signer, args.node)


def _tell(agent: socket.socket, news: dict[str, Any]) -> None:
    agent.send(json.dumps(news).encode())


if __name__ == "__main__":
    sys.exit(main())

"""``python -m fabric_jobs agent``: what a job's script runs."""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import sys
from collections.abc import Sequence

from fabric_broker.errors import FabricError
from fabric_broker.probes import PROBE_VARIABLE


def main(argv: Sequence[str] | None = None) -> int:
    """Run one of a job's processes; answers the exit code."""
    parser = argparse.ArgumentParser(prog="python -m fabric_jobs", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    agent = commands.add_parser("agent", help="claim a job, lease learners and keep its slots at work")
    agent.add_argument("--job", required=True, metavar="INTENT.K", help="the job's id")
    agent.add_argument("--home", metavar="DIR", help="the fabric's home; default: $FABRIC_HOME")
    args = parser.parse_args(argv)
    return _agent(args.job, args.home)


def _agent(job: str, home: str | None) -> int:
    # Imported here: `--help` is instant.
    from fabric_broker.home import Home

    from .agent import Agent
    from .deathsig import die_with_parent

    # The keeper is the parent. Should it be killed, the job ends in order.
    die_with_parent(os.getppid(), signal.SIGTERM)

    async def run() -> int:
        return await Agent(Home.find(home), job, os.environ).run()

    try:
        if os.environ.get(PROBE_VARIABLE):
            from .probe import probe

            return probe(Home.find(home), job, os.environ)
        return asyncio.run(run())
    except FabricError as error:
        sys.stderr.write(f"agent: {error}\n")
        # Before the next import: a job that is in trouble has said what there is to say.
        sys.stderr.flush()
        from .failing import end_unable

        sys.stderr.write(f"agent: {end_unable(Home.find(home), job, os.environ, str(error))}\n")
        return error.exit_code


if __name__ == "__main__":
    sys.exit(main())

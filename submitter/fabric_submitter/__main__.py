"""`python -m fabric_submitter run` is the submitter, `… worker` its child that runs the control queue's tasks."""

from __future__ import annotations

import argparse
import logging
import os
import signal
import sys
import threading

from redis.exceptions import RedisError

from fabric_broker.errors import FabricError
from fabric_broker.home import HOME_VARIABLE, Home
from fabric_broker.lock import take_flock

from .context import Context
from .daemon import SubmitterRecord, flock_path
from .worker import WorkerChild, work

STOP_WITHIN_S = 8.0
"""A task that runs when the submitter is asked to end has so long to finish."""

_log = logging.getLogger("fabric_submitter")


def main(arguments: list[str] | None = None) -> int:
    """Run one of the two processes; answers the exit code."""
    parser = argparse.ArgumentParser(prog="python -m fabric_submitter", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser("run", help="keep the pools at their numbers of jobs, until SIGTERM")
    worker = commands.add_parser("worker", help="run the control queue's tasks (started by run)")
    for each in (run, worker):
        each.add_argument("--home", help="the fabric's home folder (default: $FABRIC_HOME)")
    worker.add_argument("--parent", type=int, required=True, help="pid of the submitter; ends with it")
    options = parser.parse_args(arguments)
    try:
        home = Home.find(options.home).create()
        os.environ[HOME_VARIABLE] = str(home.path)
        os.chdir(home.path)
        _log_to(home)
        context = Context.load(home)
        if options.command == "worker":
            work(context, options.parent)
            return 0
        return _run(context)
    except FabricError as error:
        _log.error("%s", error)
        print(f"fabric_submitter: {error}", file=sys.stderr)  # noqa: T201
        return error.exit_code
    except (RedisError, OSError) as error:
        _log.error("%s: %s", type(error).__name__, error)
        return 1


def _run(context: Context) -> int:
    home = context.home
    lock = take_flock(flock_path(home))
    if lock is None:
        _log.info("pid %d ends: another submitter of %s runs", os.getpid(), home.path)
        return 0
    context.prepare_rq()
    # Only now: rq reads its key prefix when it is imported.
    from .loop import Submitter

    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    before, me = SubmitterRecord.read(home), SubmitterRecord.of_this_process()
    me.write(home)
    _log.info("submitter of %s, pid %d", home.path, me.pid)
    for line in context.config.curbed:
        _log.warning("%s", line)
    worker = WorkerChild(home)
    succeeds = before.nonce if before is not None and before.is_dead else ""
    try:
        Submitter(context, nonce=me.nonce, succeeds=succeeds).run(stop, worker)
    finally:
        worker.stop(STOP_WITHIN_S)
        home.submitter_file.unlink(missing_ok=True)
        os.close(lock)
    _log.info("submitter ends")
    return 0


def _log_to(home: Home) -> None:
    handlers: list[logging.Handler] = [logging.FileHandler(home.submitter_log)]
    if sys.stderr.isatty():
        handlers.append(logging.StreamHandler())
    logging.basicConfig(
        level=logging.INFO,
        format="%(asctime)s %(levelname)s %(name)s[%(process)d]: %(message)s",
        handlers=handlers,
    )


if __name__ == "__main__":
    sys.exit(main())

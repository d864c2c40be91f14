"""Stands in for the agent, as `python` of a pool: a real process that does what FAKE_AGENT says.

claim (default): claims its job, leases what there is, and stays until SIGTERM. idle: claims and leases nothing.
die: ends at once with status 3. deaf: ignores SIGTERM. brood: leaves children in and out of its session.
"""

import os
import secrets
import signal
import subprocess
import sys
import time


def say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def main() -> None:
    arguments = sys.argv[sys.argv.index("--job") :]
    job, home = arguments[1], arguments[3]
    does = os.environ.get("FAKE_AGENT", "claim")
    say(f"agent of {job} does {does}")
    if does == "die":
        sys.exit(3)
    if does == "brood":
        sleeper = [sys.executable, "-c", "import time; time.sleep(600)"]
        for apart in (False, True):
            subprocess.Popen(sleeper, start_new_session=apart)
    stop: list[int] = []
    if does == "deaf":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    else:
        signal.signal(signal.SIGTERM, lambda number, _frame: stop.append(number))
    signal.signal(signal.SIGUSR1, lambda number, _frame: say("told USR1"))
    if does in ("claim", "idle"):
        lease(job, home, stop, slots=[0] if does == "claim" else [])
        return
    wait(stop)


def wait(stop: list[int]) -> None:
    say("ready")
    while not stop:
        time.sleep(0.01)
    say("drains")


def lease(job: str, home: str, stop: list[int], slots: list[int]) -> None:
    # Here, because importing them takes longer than most of what is tested with this.
    from fabric_broker import calls
    from fabric_broker.home import Home
    from fabric_broker.records import Outcome
    from fabric_submitter.context import Context

    nonce = secrets.token_hex(8)
    context = Context.load(Home(home))
    with context.broker() as broker:
        claim = calls.claim(job, nonce=nonce, restart=0, node="here", pid=os.getpid())
        outcome = broker.do(claim).outcome
        say(f"claim: {outcome.name}")
        if outcome is not Outcome.OK:
            return
        if slots:
            broker.do(calls.acquire(job, nonce, request="q", slots=slots, ttl=30.0))
    wait(stop)
    with context.broker() as broker:
        broker.do(calls.end_job(job, nonce, "drained"))


main()

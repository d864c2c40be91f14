"""A pool of 1,000 jobs that do not exist: commands that answer for SLURM, and agents that only claim, lease and renew.

Everything that the submitter sees is as with real jobs: its commands are run, its listings are long, all leases live.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import tempfile
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from adaptive_fabric import Fabric, Slurm
from adaptive_fabric.running import down, up
from benchmarks.functions import learners
from benchmarks.rounds import talk
from benchmarks.stand import TIMEOUT, until
from fabric_broker import calls
from fabric_broker.broker import Broker
from fabric_broker.calls import Hold
from fabric_broker.config import Config
from fabric_broker.connection import connect, locate
from fabric_broker.home import Home
from fabric_broker.records import Outcome

JOBS, SLOTS = 1000, 10
TTL = 30.0
NEVER = 10**9  # points
CALLS_AT_ONCE = 100

_COMMANDS = {
    "sbatch": """
n=$(($(cat next) + 1))
echo "$n" >next
name=$(sed -n 's/^#SBATCH --job-name=//p' "$2")
last=$(sed -n 's/^#SBATCH --array=0-//p' "$2")
if [ -z "$last" ]; then echo "$n|N/A|RUNNING|n1|$name|None" >>jobs; fi
if [ -n "$last" ]; then for k in $(seq 0 "$last"); do echo "$n|$k|RUNNING|n1|$name|None"; done >>jobs; fi
echo "$n"
""",
    "squeue": "cat jobs",
    "scancel": "",
    "scontrol": "echo 'MaxArraySize            = 1001'",
}


class Cluster:
    """Commands in a folder, and what they were asked."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "bin").mkdir(parents=True)
        (folder / "next").write_text("0")
        for name in ("jobs", "calls"):
            (folder / name).touch()
        for name, body in _COMMANDS.items():
            program = folder / "bin" / name
            program.write_text(f"#!/bin/sh\ncd {folder} || exit 1\necho {name} >>calls\n{body}\n")
            program.chmod(0o755)

    def calls(self) -> Counter[str]:
        """How often each command was run."""
        return Counter((self.folder / "calls").read_text().split())

    def jobs(self) -> list[str]:
        """The ids, as the fabric has them, of all jobs that were ever submitted, the oldest first."""
        lines = [line.split("|") for line in (self.folder / "jobs").read_text().splitlines()]
        return [
            f"{name.removeprefix('fab-')}.{0 if place == 'N/A' else place}"
            for _, place, _, _, name, _ in lines
        ]

    def end(self, job: str) -> None:
        """Tell from now on that the job's node failed."""
        number = self.jobs().index(job)
        lines = (self.folder / "jobs").read_text().splitlines()
        lines[number] = lines[number].replace("|RUNNING|", "|NODE_FAIL|")
        draft = self.folder / "draft"
        draft.write_text("".join(f"{line}\n" for line in lines))
        draft.replace(self.folder / "jobs")


@dataclass
class _Agent:
    job: str
    nonce: str = field(default_factory=lambda: secrets.token_hex(8))
    holds: tuple[Hold, ...] = ()


class Agents(threading.Thread):
    """One agent for each job: claims it, leases what it can, renews every TTL/3."""

    def __init__(self, cluster: Cluster, broker: Broker) -> None:
        super().__init__(name="agents", daemon=True)
        self._cluster, self._broker = cluster, broker
        self._alive: dict[str, _Agent] = {}
        self._dead: set[str] = set()
        self._over = threading.Event()

    def run(self) -> None:
        since = 0.0
        while not self._over.wait(0.5):
            new = [job for job in self._cluster.jobs() if job not in self._alive and job not in self._dead]
            self._begin([_Agent(job) for job in new])
            since += 0.5
            if since >= TTL / 3:
                since = 0.0
                self._renew(list(self._alive.values()))

    def stop(self) -> None:
        """End all."""
        self._over.set()
        self.join(TIMEOUT)

    def kill_newest(self) -> str:
        """Let one be silent from now on; answers its job."""
        job = next(reversed(self._alive))
        self._dead.add(job)
        del self._alive[job]
        return job

    def held(self) -> int:
        """Learners that all of them hold."""
        return sum(len(agent.holds) for agent in list(self._alive.values()))

    def _begin(self, agents: list[_Agent]) -> None:
        for agent in agents:
            claim = calls.claim(agent.job, nonce=agent.nonce, restart=0, node="n1", pid=1)
            if self._broker.do(claim).outcome is not Outcome.OK:
                self._dead.add(agent.job)
                continue
            slots = list(range(SLOTS))
            leases = self._broker.do(
                calls.acquire(agent.job, agent.nonce, request="r", slots=slots, ttl=TTL)
            ).leases
            agent.holds = tuple(Hold(lease.learner, lease.token, lease.slot) for lease in leases)
            self._alive[agent.job] = agent

    def _renew(self, agents: list[_Agent]) -> None:
        for start in range(0, len(agents), CALLS_AT_ONCE):
            self._broker.do_all(
                [
                    calls.renew(agent.job, agent.nonce, ttl=TTL, holds=agent.holds)
                    for agent in agents[start : start + CALLS_AT_ONCE]
                ]
            )


@dataclass(frozen=True)
class Pretended:
    """The pool as it stands: all jobs run, all learners are leased."""

    home: Home
    cluster: Cluster
    agents: Agents


@contextlib.contextmanager
def pretended(jobs: int = JOBS) -> Iterator[Pretended]:
    """A fabric of its own whose submitter keeps so many jobs alive, with `SLOTS` learners each."""
    with tempfile.TemporaryDirectory(prefix="fabric-bench-") as name:
        folder = Path(name).resolve()
        cluster = Cluster(folder / "cluster")
        path = os.environ["PATH"]
        os.environ["PATH"] = f"{cluster.folder / 'bin'}:{path}"
        home = Home(folder / "home")
        config = Config.load(home, {})
        agents = None
        try:
            up(home, config, bind="auto")
            with (
                contextlib.closing(Fabric.connect(home=home.path)) as fabric,
                contextlib.closing(connect(locate(home, config), timeout=TIMEOUT)) as redis,
            ):
                fabric.pool("batch", Slurm(slots=SLOTS, ttl=TTL), jobs=jobs)
                run = fabric.submit(learners(jobs * SLOTS), goal=NEVER, pool="batch")
                agents = Agents(cluster, Broker(redis, config.name))
                agents.start()
                talk(f"  {jobs} jobs are submitted, some each second")
                until(lambda: agents.held() == jobs * SLOTS, "all leased", seconds=TIMEOUT)
                yield Pretended(home, cluster, agents)
                run.cancel()
                agents.stop()
        finally:
            if agents is not None:
                agents.stop()
            # Its jobs are nobody's: there is nothing to wait for.
            down(home, config, keep_jobs=True)
            os.environ["PATH"] = path

"""Real agents on a real Redis, without submitter and client: learners are submitted by broker calls."""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import adaptive
import cloudpickle
from tests.redis_process import RedisProcess

from fabric_broker import calls, events, intents, reads
from fabric_broker.broker import Broker
from fabric_broker.home import Home
from fabric_broker.keys import learner_id
from fabric_broker.lock import ProcessId
from fabric_broker.payload import RunPayload
from fabric_broker.records import LearnerRecord, RunSettings
from fabric_broker.signing import Signer, load_key

T = TypeVar("T")
ROOT = Path(__file__).parent.parent
PATIENCE = 100.0
"""Seconds until a condition that must come is given up."""
SPEC = {
    "kind": "local",
    "cores": 1,
    "slots": 1,
    "executor": "serial",
    "num_threads": 1,
    "ttl": 3.0,
    "grace": 10.0,
    "idle_timeout": 60.0,
}


def until(condition: Callable[[], T], what: str = "the condition", patience: float = PATIENCE) -> T:
    """The condition's first true value."""
    deadline = time.monotonic() + patience
    while not (value := condition()):
        assert time.monotonic() < deadline, f"{what} did not come within {patience:g} s"
        time.sleep(0.01)
    return value


def counted(file: Path, pause: float = 0.0) -> Callable[[float], float]:
    """A function that appends each point it finishes to a file."""

    def function(x: float) -> float:
        import os
        import time

        if pause:
            time.sleep(pause)
        fd = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(fd, f"{float(x)!r}\n".encode())
        os.close(fd)
        return x * x

    return function


class World:
    """A home, a Redis server, one pool, and the agents that a test starts."""

    def __init__(self, home: Home, server: RedisProcess, **spec: Any) -> None:
        self.home = home
        self.server = server
        self.folder = home.path / "counts"
        self.folder.mkdir()
        self.redis = server.client()
        self.broker = Broker(self.redis, "default")
        self.signer = Signer(load_key(home.work_key), "default")
        self.spec = SPEC | spec
        self.agents: dict[str, subprocess.Popen[bytes]] = {}
        self.broker.do(
            calls.define_pool(
                "local",
                spec=self.spec,
                kind="local",
                limit=9,
                slots=self.spec["slots"],
                ttl=self.spec["ttl"],
            )
        )

    # -- learners ----------------------------------------------------------------------------------------------------

    def submit(
        self,
        functions: Sequence[Callable[[float], Any]],
        *,
        npoints: int = 20,
        save_interval: float = 60.0,
        attempts: int = 3,
        backoff: float = 0.1,
    ) -> str:
        """A run of 1D learners; answers its id."""
        run = "r" + secrets.token_hex(4)
        goal = lambda learner: learner.npoints >= npoints  # noqa: E731
        payload = RunPayload(
            cwd=str(ROOT), sys_path=(), functions=cloudpickle.dumps({"goal": goal, "initializer": None})
        )
        settings = RunSettings(
            run=run,
            name=run,
            pool="local",
            store=str(self.home.store),
            goal=f"npoints >= {npoints}",
            save_interval=save_interval,
            attempts=attempts,
            backoff=backoff,
        )
        assert (
            self.broker.do(calls.define_run(settings, self.signer.sign("run", payload.pack(), learner=run)))
            == "ok"
        )
        learners = []
        for index, function in enumerate(functions):
            learner = adaptive.Learner1D(function, (-1, 1))
            blob = self.signer.sign("learner", cloudpickle.dumps(learner), learner=learner_id(run, index))
            learners.append((str(index), blob))
        self.broker.do(calls.add(run, 0, learners, last=True))
        return run

    def file(self, name: str) -> Path:
        """Where a counted function writes."""
        return self.folder / name

    def evaluated(self, name: str) -> list[float]:
        """The points that a counted function finished, repeats and all."""
        file = self.file(name)
        return [float(line) for line in file.read_text().split()] if file.exists() else []

    def learners(self, run: str) -> list[LearnerRecord]:
        """As users see them."""
        total = int(self.redis.hget(self.broker.keys.run(run), "total") or 0)
        return reads.learner_records(self.broker, [learner_id(run, i) for i in range(total)])

    def learner(self, run: str, index: int = 0) -> LearnerRecord:
        """As users see it."""
        return self.learners(run)[index]

    def states(self, run: str) -> list[str]:
        """Of all learners, in order."""
        return [record.state for record in self.learners(run)]

    def all_done(self, run: str) -> bool:
        """Whether every learner is done."""
        return all(state == "done" for state in self.states(run))

    def wait_done(self, run: str) -> None:
        """Wait until every learner is done."""
        until(lambda: self.all_done(run), f"done, but {self.states(run)}")

    def events(self, run: str) -> list[events.Event]:
        """All state changes of a run's learners."""
        return [event for event in events.read_events(self.broker) if event.run == run]

    def count(self, run: str, event: str) -> int:
        """How often something happened to learners of the run."""
        return sum(each.event == event for each in self.events(run))

    # -- agents ------------------------------------------------------------------------------------------------------

    def intend(self) -> str:
        """A job's record; answers its id."""
        epoch = self.broker.do(intents.lead("test", host="here", ttl=600))
        assert epoch is not None
        intent = "i" + secrets.token_hex(5)
        self.broker.do(intents.intend(intents.Leadership("test", epoch), "local", [(intent, 1)]))
        return f"{intent}.0"

    def start(self, job: str | None = None, **env: str) -> str:
        """Start an agent; answers its job's id."""
        job = job or self.intend()
        log = self.log_file(job).open("ab")
        with log:
            self.agents[job] = subprocess.Popen(
                [sys.executable, "-m", "fabric_jobs", "agent", "--job", job, "--home", self.home.path],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={
                    **os.environ,
                    "FABRIC_HOME": str(self.home.path),
                    "FABRIC_URL": self.server.url,
                    "FABRIC_JOB": job,
                    **env,
                },
                start_new_session=True,
            )
        return job

    def log_file(self, job: str) -> Path:
        """What the agent and its slots print."""
        return self.home.job_log(job)

    def log(self, job: str) -> str:
        """What the agent and its slots printed."""
        return self.log_file(job).read_text()

    def send(self, job: str, number: signal.Signals) -> None:
        """Send the agent a signal."""
        self.agents[job].send_signal(number)

    def wait_end(self, job: str, patience: float = PATIENCE) -> int:
        """Wait for the agent's exit; answers its exit code."""
        return self.agents[job].wait(patience)

    def processes(self, job: str, kind: str = "") -> list[ProcessId]:
        """The living processes of a job: all, its "forkserver", or its "slots" (with their pools)."""
        agent = self.agents[job].pid
        found = []
        for pid, parent, command in _with_environment(f"FABRIC_JOB={job}".encode()):
            is_forks = parent == agent and b"forkserver" in command
            is_slot = b"forkserver" in command and not is_forks
            if kind == "" or (kind == "forkserver" and is_forks) or (kind == "slots" and is_slot):
                process = ProcessId.of(pid)
                if process is not None:
                    found.append(process)
        return found

    def close(self) -> None:
        """Leave nothing running."""
        left = [process for job in self.agents for process in self.processes(job)]
        for process in left:
            process.send(signal.SIGCONT)
            process.send(signal.SIGKILL)
        for agent in self.agents.values():
            agent.wait(PATIENCE)
        for process in left:
            assert process.wait(PATIENCE)
        self.redis.close()


def _with_environment(mark: bytes) -> list[tuple[int, int, bytes]]:
    """Pid, parent and command line of the living processes whose environment holds ``mark``."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if mark not in (folder / "environ").read_bytes().split(b"\0"):
                continue
            stat = (folder / "stat").read_text().rpartition(")")[2].split()
            command = (folder / "cmdline").read_bytes()
        except OSError:  # it has ended, or is another user's
            continue
        if stat[0] != "Z" and int(folder.name) != os.getpid():
            found.append((int(folder.name), int(stat[1]), command))
    return found

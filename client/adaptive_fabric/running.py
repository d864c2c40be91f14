"""Start and stop what a home runs: its server, its submitter, and (to stop) its jobs."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from fabric_broker import intents, reads
from fabric_broker.broker import Broker
from fabric_broker.config import Config
from fabric_broker.connection import Server, check, check_schema, connect, locate
from fabric_broker.errors import FabricError, UsageError
from fabric_broker.home import Home
from fabric_broker.lock import ProcessId, UpLock, exclusive
from fabric_broker.server import EmbeddedServer
from fabric_broker.signing import Signer, create_key, load_key
from fabric_submitter.adapters.local import keepers
from fabric_submitter.daemon import SubmitterRecord, start_submitter, stop_submitter
from fabric_submitter.processes import job_processes
from fabric_submitter.scripts import KILL_AFTER_S
from fabric_submitter.specs import Local, Spec, check_jobs, spec_from_dict

from . import pools
from .asking import asking

Say = Callable[[str], None]

_POLL: Final = 0.1  # s between two looks at the processes of jobs
_SPARE_S: Final = 5.0  # so much longer than grace and keeper may take we wait before killing
_KILLED_WITHIN_S: Final = 10.0
_BATCH_WITHIN_S: Final = 180.0


@dataclass(frozen=True, slots=True)
class Planned:
    """A pool of the config."""

    name: str
    spec: Spec
    jobs: int | None


def planned_pools(config: Config) -> list[Planned]:
    """The pools of the config, checked; UsageError names pool and setting."""
    return [_planned(name, table, config) for name, table in config.pools.items()]


def up(home: Home, config: Config, *, bind: str | None = None, take_over: bool = False) -> Server:
    """Start the server (unless the config names one) and the submitter if they are down; apply config's pools.

    Raises
    ------
    UsageError
        A pool of the config cannot be; nothing was started.
    LockedError
        The home's server runs on another host.
    """
    plan = planned_pools(config)
    if config.url is None:
        EmbeddedServer(home, config).up(bind, take_over)
    else:
        home.create()
    _let_go_on(home, config, plan)
    return locate(home, config)


def revive(home: Home, config: Config, *, bind: str | None = None) -> bool:
    """Start again what has died of what `up` started; False if somebody took the home's server down in order.

    Raises
    ------
    FabricError
        It cannot be started again.
    """
    if config.url is None:
        server = EmbeddedServer(home, config)
        if not server.alive():
            # Whoever takes it down holds this until the lock file is gone.
            with exclusive(home.up_flock, server.timeout):
                down_in_order = UpLock.read(home.server_lock) is None
            if down_in_order:
                return False
            server.up(bind)
    record = SubmitterRecord.read(home)
    if record is not None and record.is_dead:
        start_submitter(home)
    return True


def ensure_up(home: Home, config: Config) -> None:
    """Start what is down, on whatever host the rest runs; pools that are there stay as they are."""
    plan = planned_pools(config)
    server = EmbeddedServer(home, config)
    if not server.alive():
        server.up()
    broker = _open(locate(home, config), config)
    try:
        with asking(broker.redis):
            known = set(reads.pool_names(broker))
    finally:
        broker.redis.close()
    _let_go_on(home, config, [pool for pool in plan if pool.name not in known])


def _let_go_on(home: Home, config: Config, plan: list[Planned]) -> None:
    """Define pools, let jobs be submitted (again), and see that somebody does."""
    server = locate(home, config)
    broker = _open(server, config)
    try:
        with asking(broker.redis):
            for pool in plan:
                pools.check(home, server.url, pool.spec, name=pool.name)
                pools.define(broker, pool.name, pool.spec, pool.jobs, signer_of(home, config))
            broker.do(intents.hold(held=False))
            leader = intents.leader(broker)
    finally:
        broker.redis.close()
    # One that leads from another host is enough; one of this host may just have died, and is looked for by pid.
    if not leader.alive or leader.host == socket.gethostname():
        start_submitter(home)


def define_default_pool(home: Home, config: Config) -> None:
    """Make the pool "local" if there is none at all."""
    broker = _open(locate(home, config), config)
    try:
        with asking(broker.redis):
            if not reads.pool_names(broker):
                pools.define_default(broker, signer_of(home, config))
    finally:
        broker.redis.close()


def down(
    home: Home, config: Config | None = None, *, keep_jobs: bool = False, say: Say = lambda _text: None
) -> None:
    """Drain the jobs, stop the submitter, then the home's server. What is stopped already is fine; runs stay.

    Raises
    ------
    ServerError, LockedError
        The server does not stop, or runs on another host.
    """
    if not home.path.exists():
        return
    config = config or Config.load(home, os.environ)
    lock = UpLock.read(home.server_lock)
    if config.url is None and lock is not None and lock.is_elsewhere():
        EmbeddedServer(home, config).down()  # says where it runs, before anything is drained here
    if not keep_jobs:
        drain(home, _hold(home, config), say)
        _await_batch_jobs(home, config, say)
    if stop_submitter(home):
        say("the submitter has stopped")
    if not keep_jobs:
        _kill_rest(home)  # a task may have started one while the others drained
    if config.url is None and EmbeddedServer(home, config).down():
        say("the server has stopped")


def drain(home: Home, grace: float, say: Say) -> None:
    """Ask all local jobs to checkpoint and end, and wait; what has not ended after `grace` s and more is killed."""
    asked: set[ProcessId] = set()
    deadline = time.monotonic() + grace + KILL_AFTER_S + _SPARE_S
    said = 0
    while True:
        for keeper in keepers(home):
            if keeper.process not in asked:
                asked.add(keeper.process)
                keeper.process.send(signal.SIGTERM)
        left = len({each.job for each in job_processes(home)})
        if left == 0:
            break
        if left != said:
            say(f"{left} {'job has' if left == 1 else 'jobs have'} to end")
            said = left
        if time.monotonic() > deadline:
            _kill_rest(home)
            break
        time.sleep(_POLL)


def _hold(home: Home, config: Config) -> float:
    """Have no more jobs started; answers the longest grace of a pool, in s."""
    try:
        broker = _open(locate(home, config), config)
    except FabricError:
        return Local().grace_s  # no server: the jobs that are there still know how to end
    try:
        with asking(broker.redis):
            broker.do(intents.hold(held=True))
            graces = [spec_from_dict(record.spec).grace_s for record in reads.pool_records(broker)]
    finally:
        broker.redis.close()
    return max(graces, default=Local().grace_s)


def _await_batch_jobs(home: Home, config: Config, say: Say) -> None:
    """Wait until the submitter has had the jobs of batch schedulers cancelled or drained."""
    try:
        broker = _open(locate(home, config), config)
    except FabricError:
        return
    try:
        with asking(broker.redis):
            if not intents.leader(broker).alive:
                return  # nobody would ask them
            kinds = {record.name: record.spec["kind"] for record in reads.pool_records(broker)}
            deadline = time.monotonic() + _BATCH_WITHIN_S
            said = 0
            while time.monotonic() < deadline:
                jobs = [job for job in reads.job_records(broker) if kinds.get(job.pool, "local") != "local"]
                left = sum(job.state != "ended" for job in jobs)
                if left == 0:
                    return
                if left != said:
                    say(f"{left} batch {'job has' if left == 1 else 'jobs have'} to end")
                    said = left
                time.sleep(_POLL)
    finally:
        broker.redis.close()


def _kill_rest(home: Home) -> None:
    deadline = time.monotonic() + _KILLED_WITHIN_S
    while rest := list(job_processes(home)):
        for each in rest:
            each.process.send(signal.SIGKILL)
        if time.monotonic() > deadline:
            return  # stuck in the kernel; its token fences it
        time.sleep(_POLL)


def signer_of(home: Home, config: Config) -> Signer:
    """What signs and verifies learners and data; makes the home's key when there is none."""
    key_file = home.work_key
    key = load_key(key_file) if key_file.exists() else create_key(home.create().work_key)
    return Signer(key, config.name)


def _open(server: Server, config: Config) -> Broker:
    redis = connect(server)
    check(redis)
    broker = Broker(redis, config.name)
    with asking(redis):
        check_schema(redis, broker.keys)
    return broker


def _planned(name: str, table: Mapping[str, Any], config: Config) -> Planned:
    try:
        settings = dict(table)
        jobs = settings.pop("jobs", None)
        limit = None if jobs is None else check_jobs(jobs)
        if limit is not None:
            config.check_jobs(limit)
        return Planned(pools.checked_name(name), spec_from_dict(settings), limit)
    except UsageError as error:
        raise UsageError(f"[pools.{name}] in config.toml: {error}") from error

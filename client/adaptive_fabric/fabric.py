"""The fabric as users hold it: connect, submit, look, close."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property, partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from fabric_broker import connection, reads
from fabric_broker.broker import Broker
from fabric_broker.config import Config
from fabric_broker.connection import Server
from fabric_broker.durations import Duration, seconds
from fabric_broker.errors import UsageError
from fabric_broker.home import Home
from fabric_broker.records import JobRecord
from fabric_broker.signing import Signer, create_key, load_key
from fabric_broker.store import Store
from fabric_submitter.specs import Spec

from . import pools, submitting
from .asking import asking, asks
from .goals import Goal
from .pools import Pool
from .resources import Resources
from .runs import Run

if TYPE_CHECKING:
    from adaptive.learner import BaseLearner


class Fabric:
    """One Redis namespace with its pools, runs, learners and jobs. Get one from `Fabric.connect`.

    All calls are synchronous, also in a notebook. A fabric may be used as a context manager; jobs go on after it.
    """

    def __init__(self, broker: Broker, home: Home, server: Server, store: Store) -> None:
        self.broker = broker
        self.home = home
        self.server = server
        self.store = store

    def __repr__(self) -> str:
        return f"<Fabric {self.name!r} at {self.server.url}>"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def name(self) -> str:
        """Its name, part of every Redis key."""
        return self.broker.keys.name

    @cached_property
    def signer(self) -> Signer:
        """What signs and verifies learners and data; makes the home's key when there is none."""
        key_file = self.home.work_key
        key = load_key(key_file) if key_file.exists() else create_key(self.home.create().work_key)
        return Signer(key, self.name)

    @classmethod
    def connect(
        cls,
        url: str | None = None,
        *,
        home: str | Path | None = None,
        store: str | Path | None = None,
        timeout: Duration = 5.0,
    ) -> Fabric:
        """Connect to a fabric.

        Parameters
        ----------
        url
            redis://, rediss:// or unix://. None: $FABRIC_URL, then the config's, then the embedded server of
            `home`, which is started, with its submitter, if it is down.
        home
            The fabric's folder. None: $FABRIC_HOME, else the user's state folder.
        store
            Where checkpoints of the runs submitted here go: a folder that all jobs see. None: the config's, else
            `home`'s.
        timeout
            Seconds for connecting and for each answer.

        Raises
        ------
        UnreachableError
            Nobody answers there (WrongPasswordError, NotRedisError: somebody does).
        SchemaError
            Another release wrote the fabric's records.
        HomeError
            The home cannot be written.
        """
        place = Home.find(home)
        config = Config.load(place, os.environ)
        if url is None and config.url is None:
            from .running import ensure_up

            ensure_up(place, config)
        return cls.open(place, config, url=url, store=store, timeout=timeout)

    @classmethod
    def open(
        cls,
        home: Home,
        config: Config,
        *,
        url: str | None = None,
        store: str | Path | None = None,
        timeout: Duration = 5.0,
    ) -> Fabric:
        """Connect to a fabric that runs; nothing is started."""
        limit = seconds(timeout)
        if limit == 0:
            raise UsageError("timeout is more than 0 seconds")
        place = Store(store or config.store or home.store)
        server = connection.locate(home, config, url)
        redis = connection.connect(server, timeout=limit)
        try:
            connection.check(redis)
            broker = Broker(redis, config.name)
            with asking(redis):
                connection.check_schema(redis, broker.keys)
        except BaseException:  # whatever it is: nobody else could close it
            redis.close()
            raise
        return cls(broker, home, server, place)

    @asks
    def pool(self, name: str, spec: Spec | None = None, *, jobs: int | None = None) -> Pool:
        """Create or change a pool, or get one.

        Parameters
        ----------
        spec
            What each job gets, such as `Slurm(partition="main", slots=8)`; reaches new jobs. None: leave it as it is.
        jobs
            How many jobs there may be; None: as it is, 1 for a new pool.

        Raises
        ------
        NotFoundError
            No such pool, and no spec to make one.
        UsageError
            A value that cannot be used, or a job that the scheduler could never start.
        """
        pools.check_limit(self.home, jobs)
        if spec is not None:
            if isinstance(spec, Spec):
                pools.check(self.home, self.server.url, spec, name=pools.checked_name(name))
            return pools.define(self.broker, name, spec, jobs, self.signer)
        if jobs is not None:
            return pools.scale(self.broker, name, jobs)
        return pools.get(self.broker, name)

    @asks
    def submit(
        self,
        learners: Iterable[BaseLearner],
        *,
        name: str | None = None,
        names: Iterable[str | Sequence[str]] | None = None,
        goal: Goal = None,
        pool: str | None = None,
        priority: int = 0,
        save_interval: Duration = 60.0,
        log_interval: Duration = 30.0,
        attempts: int = 3,
        backoff: Duration = 1.0,
        resources: Resources | None = None,
        initializer: Any = None,
        runner_kwargs: Mapping[str, Any] | None = None,
    ) -> Run:
        """Submit learners together, as one run. When anything about them cannot be used, nothing is changed.

        Parameters
        ----------
        name
            The run's name; None: a unique one is made.
        names
            One unique name per learner; None: "0", "1", …. For a BalancingLearner it may be a list with a name for
            each child; then `Run.save` writes these files.
        goal
            A function of the learner; an int: npoints >= it; a float: loss <= it; a datetime; a timedelta: total
            leased time; None only for SequenceLearner and IntegratorLearner.
        pool
            Where it runs. None: the only pool, else "local", which is made if there is none.
        priority
            Higher goes first, from -1000 to 1000.
        save_interval, log_interval
            Seconds between two checkpoints, and between two lines about its progress in the log.
        attempts
            So many errors of its own fail a learner.
        backoff
            Seconds from the first error to the next attempt; doubles with each.
        resources
            What each learner needs, in place of `pool`: a spec for each, or a function of a learner that gives its
            spec. Learners with equal specs share a pool named after the spec (`slurm-1a2b3c4d`). One that is made
            may have 2 jobs; `pool(name, jobs=N)` changes that, and later submissions find it as it is.
        initializer
            A function without arguments, called in each slot before the first learner.
        runner_kwargs
            Any of ntasks, retries, raise_if_retries_exceeded of adaptive's runners, and cache: a folder that keeps
            evaluations for learners and runs of the same function.

        Raises
        ------
        UsageError, PickleError, ExistsError, NotFoundError
            Something cannot be used, or pickled; the name is taken; there is no such pool.
        """
        order = submitting.check_order(
            learners,
            name=name,
            names=names,
            goal=goal,
            pool=pool,
            priority=priority,
            save_interval=save_interval,
            log_interval=log_interval,
            attempts=attempts,
            backoff=backoff,
            resources=resources,
            initializer=initializer,
            runner_kwargs=runner_kwargs,
        )
        run = submitting.submit(
            self.broker, self.signer, self.store, order, partial(pools.check, self.home, self.server.url)
        )
        return Run(self, run, order.name or run, len(order.learners), own=order.learners)

    @asks
    def run(self, name_or_id: str) -> Run:
        """The run of this name or id; NotFoundError."""
        status = reads.run_status(self.broker, reads.find_run(self.broker, name_or_id))
        return Run(self, status.id, status.name, status.total)

    @asks
    def runs(self) -> list[Run]:
        """All runs, oldest first."""
        found = reads.run_statuses(self.broker, reads.run_ids(self.broker))
        return [Run(self, status.id, status.name, status.total) for status in found]

    @asks
    def jobs(self) -> list[JobRecord]:
        """All jobs that are remembered, oldest first; those that ended too."""
        return reads.job_records(self.broker)

    def close(self) -> None:
        """Close the connection; server, submitter and jobs go on."""
        self.broker.redis.close()

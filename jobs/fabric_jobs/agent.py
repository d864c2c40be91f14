"""The agent: the one process of a job that talks to Redis. It claims the job, leases learners, keeps slots at work.

`Agent.run` is where it ends, whatever the reason. Two things go on at the same time: the exchange with Redis here,
and the slot processes in `staff`; what either means for the other is decided in `deciding` and `crew`.
"""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from random import Random
from typing import Any, Final

from fabric_broker.calls import Claimed
from fabric_broker.config import Config
from fabric_broker.connection import locate
from fabric_broker.errors import UnreachableError
from fabric_broker.home import Home
from fabric_broker.keys import Keys
from fabric_broker.records import Outcome
from fabric_broker.signing import Signer, load_key
from fabric_broker.trouble import classify

from .crew import Crew
from .deciding import Deciding
from .fetching import Sending
from .mpi import world_of
from .output import JobLog
from .scheduled import identity
from .staff import Staff, Workplace
from .wire import AwayError, Wire

BACK_OFF: Final = (0.05, 2.0)
"""Seconds until Redis is tried again: the first time, and at most (it doubles, with jitter)."""
CLAIM_PATIENCE: Final = 60.0
"""Seconds that a new agent waits for Redis: it has nothing to lose yet."""
DRAIN_SIGNALS: Final = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)


def clock() -> float:
    """Seconds that go on while this process is stopped and while the machine sleeps."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Agent:
    """One agent process.

    Parameters
    ----------
    home
        The fabric's home: address, password and key lie there.
    job
        The job's id, ``<intent>.<k>``.
    env
        Its environment.

    Raises
    ------
    FabricError
        The home's settings or keys cannot be used.
    """

    def __init__(self, home: Home, job: str, env: Mapping[str, str]) -> None:
        self._home = home
        self._env = env
        self._config = Config.load(home, env)
        self._keys = Keys(self._config.name)
        self._signer = Signer(load_key(home.work_key), self._config.name)
        self._me = identity(job, env)
        self._chance = Random()  # noqa: S311 - for jitter
        self._stream: list[tuple[str | None, str]] = []
        self._log = JobLog(1, lambda learner, text: self._stream.append((learner, text)))
        self._wire: Wire | None = None
        self._away_for = 0
        self._wake = asyncio.Event()
        self._deciding: Deciding | None = None
        self._told_to_end = False
        self._broken: BaseException | None = None

    async def run(self) -> int:
        """Work until there is nothing more to do; answers the exit code."""
        loop = asyncio.get_running_loop()
        for number in DRAIN_SIGNALS:
            loop.add_signal_handler(number, self._on_signal, number)
        loop.set_exception_handler(self._on_broken)
        try:
            spec = await self._claim()
            return 0 if spec is None else await self._work(spec)
        except UnreachableError as error:
            self._log.say(str(error))
            return error.exit_code
        finally:
            await self._hang_up()

    # -- claim -------------------------------------------------------------------------------------------------------

    async def _claim(self) -> Mapping[str, Any] | None:
        """Be the one copy of the job that counts; the pool's spec, or None if there is nothing to do here."""
        answers: list[Claimed] = []
        give_up_at = clock() + CLAIM_PATIENCE
        while not answers:
            if self._told_to_end:
                self._log.say("was told to end before it began")
                return None
            away = await self._exchange([Sending(self._me.claim(), answers.append)])
            if away is not None and clock() >= give_up_at:
                raise UnreachableError(f"gives up: no Redis for {CLAIM_PATIENCE:.0f} s ({away})")
            if away is not None:
                await self._sleep(self._back_off())
        if answers[0].outcome is Outcome.OK:
            return answers[0].spec
        why = "another copy of it runs, or it was cancelled"
        if answers[0].outcome is Outcome.GONE:
            why = "the fabric knows no such job"
        self._log.say(f"does not work as job {self._me.job}: {why}")
        return None

    # -- work --------------------------------------------------------------------------------------------------------

    async def _work(self, spec: Mapping[str, Any]) -> int:
        me = self._me
        self._log.say(f"works as job {me.job} on {me.node}, process {me.pid}, {spec['slots']} slots")
        crew = Crew(spec["slots"], me.node)
        world = world_of(spec, self._config)
        deciding = Deciding(
            me,
            spec,
            crew,
            self._keys,
            self._signer,
            self._chance,
            proven=world is None,
            start_timeout=self._config.start_timeout,
            log=self._stream,
        )
        self._deciding = deciding
        if me.walltime_end is not None:
            deciding.ends_at(clock() + me.walltime_end - time.time())
        if self._told_to_end:
            deciding.drain(clock())
        env = {**self._env, "FABRIC_HOME": str(self._home.path), "FABRIC_JOB": me.job}
        place = Workplace(self._home.path, self._config.name, me.node, env, spec["num_threads"], world)
        async with (
            Staff(crew, place, self._log, clock, self._wake.set) as staff,
            asyncio.TaskGroup() as tasks,
        ):
            running = tasks.create_task(staff.run(), name="staff")
            await self._talk(deciding, staff)
            await staff.dismiss()
            running.cancel()
        self._log.say(f"ends: {deciding.ended}")
        if staff.hopeless:
            return 1
        return UnreachableError.exit_code if deciding.ended == "unreachable" else 0

    async def _talk(self, deciding: Deciding, staff: Staff) -> None:
        """Exchange with Redis whenever something is due, until there is nothing more to do."""
        while deciding.ended is None:
            if self._broken is not None:
                raise self._broken
            self._wake.clear()
            if staff.hopeless:
                deciding.despair(staff.hopeless, clock())
            sendings = deciding.compose(clock())
            if not sendings:
                await self._sleep(deciding.next_due(clock()) - clock())
                continue
            away = await self._exchange(sendings)
            if away is None:
                deciding.settle(clock())
            else:
                deciding.troubled(clock())
            staff.carry_out()
            if away is not None and deciding.ended is None:
                await asyncio.sleep(self._back_off())

    def _on_signal(self, number: int) -> None:
        if not self._told_to_end:
            self._log.say(f"drains, told by {signal.Signals(number).name}")
        self._told_to_end = True
        if self._deciding is not None:
            self._deciding.drain(clock())
        self._wake.set()

    def _on_broken(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """A callback raised, which is a bug: end, rather than go on half-dead."""
        loop.default_exception_handler(context)
        self._broken = context.get("exception") or RuntimeError(context["message"])
        self._wake.set()

    async def _sleep(self, seconds: float) -> None:
        """Sleep, unless something happens that cannot wait."""
        with suppress(TimeoutError):
            async with asyncio.timeout(max(0.0, seconds)):
                await self._wake.wait()

    # -- Redis -------------------------------------------------------------------------------------------------------

    async def _exchange(self, sendings: Sequence[Sending]) -> AwayError | None:
        """One round trip, over a new connection if there is none; answers why there was none, if so."""
        try:
            if self._wire is None:
                # The address is read anew: the server may have come back elsewhere.
                self._wire = await Wire.open(locate(self._home, self._config), self._keys)
            refusals = await self._wire.ask(sendings)
        except (AwayError, UnreachableError) as error:
            away = error if isinstance(error, AwayError) else AwayError(classify(error), error)
            if self._away_for == 0:
                self._log.say(f"Redis is away ({away}); slots go on, and it is tried again")
            self._away_for += 1
            await self._hang_up()
            return away
        if self._away_for:
            self._log.say("Redis is back")
            self._away_for = 0
        if refusals and self._deciding is not None:
            self._deciding.refused(clock())
        return None

    async def _hang_up(self) -> None:
        wire, self._wire = self._wire, None
        if wire is not None:
            await wire.close()

    def _back_off(self) -> float:
        """Seconds until the next try; never the same for two agents."""
        first, most = BACK_OFF
        return min(most, first * 2.0 ** min(self._away_for, 10)) * self._chance.uniform(0.5, 1.0)

"""The submitter's loop: lead, look, poll, reconcile, write intents, enqueue tasks; once a second.

Everything that is decided rests on what Redis says at that moment, so a submitter that starts anew goes on where
another stopped, and two of them do no harm: only the one with the leader lease is believed.
"""

from __future__ import annotations

import base64
import logging
import os
import secrets
import socket
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from redis import Redis
from redis.exceptions import RedisError

from fabric_broker import calls, intents
from fabric_broker.broker import Broker
from fabric_broker.connection import Server, Trouble, as_fabric_error, check_schema, classify, connect
from fabric_broker.errors import FabricError, UsageError
from fabric_broker.home import Home
from fabric_broker.intents import Again, Ask, Change, Enqueued, Found, Leadership, Over, Remember
from fabric_broker.scripts import Call
from fabric_broker.survey import IntentView, Survey, survey

from .adapters.scheduler import find
from .context import Context
from .control import ControlQueue
from .judging import Rules, misses_someone
from .polling import Poller
from .reconcile import Memory, Plan, Scene, reconcile, shares
from .specs import Local
from .worker import WorkerChild

RETRY_S: Final = 1.0
LEADER_TTL_S: Final = 10.0
CHANGES_PER_CALL: Final = 200
PAGES_PER_TICK: Final = 20
REMIND_S: Final = 60.0
LOOKS_PER_TTL: Final = 8
"""The judge lets nothing expire after a gap of TTL/6 between two looks, so whoever keeps watch looks more often."""
LONGEST_PAUSE_S: Final = 30.0
TAIL_BYTES, TAIL_LINES, TAIL_LENGTH = 4096, 3, 300

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Link:
    """A connection to Redis and what works over it."""

    server: Server
    redis: Redis
    broker: Broker
    control: ControlQueue


class Submitter:
    """Keeps the pools of one fabric at their numbers of jobs.

    It leads under ``nonce``, at once if the leader is the submitter ``succeeds``, which is known to be dead.
    """

    def __init__(
        self, context: Context, *, nonce: str, succeeds: str = "", rules: Rules | None = None
    ) -> None:
        self._context = context
        patience = rules or Rules(deaths=context.config.young_deaths)
        self._rules = replace(patience, most=context.config.jobs)
        self._nonce, self._succeeds = nonce, succeeds
        self._leads = False
        self._memory = Memory()
        self._pollers: dict[str, Poller] = {}
        self._unknown_kinds: set[str] = set()
        self._link: _Link | None = None
        self._look_every = self._rules.tick

    def run(self, stop: threading.Event, worker: WorkerChild) -> None:
        """Tick until `stop` is set; whatever is wrong with Redis, it goes on trying."""
        complaint = _Complaint()
        server: Server | None = None
        while not stop.is_set():
            began = time.monotonic()
            try:
                link = self._connected()
                if server is not None and link.server != server:
                    worker.stop(LEADER_TTL_S)  # it would look for Redis at the old address
                server = link.server
                self.tick(link.broker, link.control)
                complaint.over()
                worker.look_after(os.getpid())
                self._keep_watch(link.broker, stop, began + self._rules.tick)
            except (RedisError, FabricError, OSError) as error:
                self._disconnect()
                pause = complaint.about(error, self._context)
                stop.wait(max(0.0, pause - (time.monotonic() - began)))
        self._resign()

    def _keep_watch(self, broker: Broker, stop: threading.Event, until: float) -> None:
        """Look as often as the shortest TTL asks for, until the next tick is due (monotonic seconds)."""
        while not stop.wait(max(0.0, min(self._look_every, until - time.monotonic()))):
            if time.monotonic() >= until:
                return
            if self._leads:
                broker.do(calls.look())

    def tick(self, broker: Broker, control: ControlQueue) -> None:
        """Do once what there is to do; raises what redis-py raises when the server is away."""
        epoch = broker.do(self._lead(LEADER_TTL_S))
        if self._leads != (epoch is not None):
            self._leads = epoch is not None
            _log.info("this submitter %s", f"leads (epoch {epoch})" if self._leads else "follows another one")
        if epoch is None:
            return
        broker.do(calls.look())
        rules = self._rules
        seen = broker.do(survey(soon=rules.soon, old=rules.old, keep=rules.keep))
        shortest = min((pool.ttl for pool in seen.pools.values()), default=rules.tick * LOOKS_PER_TTL)
        self._look_every = min(rules.tick, shortest / LOOKS_PER_TTL)
        self._finish_bulk_actions(broker, seen.bulk)
        scenes = self._scenes(seen)
        plan = reconcile(seen, scenes, self._memory, time.monotonic(), rules)
        self._memory = plan.memory
        self._carry_out(plan, seen, scenes, broker, control, Leadership(self._nonce, epoch))

    def _lead(self, ttl: float) -> Call[int | None]:
        return intents.lead(self._nonce, host=socket.gethostname(), ttl=ttl, succeeds=self._succeeds)

    def _carry_out(
        self,
        plan: Plan,
        seen: Survey,
        scenes: Mapping[str, Scene],
        broker: Broker,
        control: ControlQueue,
        leadership: Leadership,
    ) -> None:
        changes = [_with_log_tail(change, self._context.home) for change in plan.changes]
        for change in changes:
            _tell(change)
        for page in _pages(changes):
            broker.do(intents.apply(leadership, page))
        known = {intent.id: intent for intent in seen.intents}
        submit = [(intent.id, intent.kind, intent.tries) for intent in plan.submit]
        for pool, count in plan.want.items():
            kind = seen.pools[pool].kind
            wanted = [
                (new_intent(), jobs) for jobs in shares(count, scenes.get(kind, Scene()).jobs_per_submit)
            ]
            _log.info("pool %s lacks %d: intents %s", pool, count, ", ".join(intent for intent, _ in wanted))
            broker.do(intents.intend(leadership, pool, wanted))
            submit += [(intent, kind, 0) for intent, _ in wanted]
        for intent in plan.cancel:
            view: IntentView = known[intent]
            control.enqueue("cancel", intent, kind=view.kind, attempt=view.cancels)
        for intent, kind, tries in submit:
            control.enqueue("submit", intent, kind=kind, attempt=tries)
        for page in _pages([Enqueued(intent, tries + 1) for intent, _, tries in submit]):
            broker.do(intents.apply(leadership, page))

    def _finish_bulk_actions(self, broker: Broker, runs: Sequence[str]) -> None:
        """Go on with actions on whole runs whose callers may be gone."""
        for run in runs:
            for _ in range(PAGES_PER_TICK):
                if broker.do(calls.act_on_run(run)).state != "more":
                    break

    def _scenes(self, seen: Survey) -> dict[str, Scene]:
        kinds = {pool.kind for pool in seen.pools.values()} | {intent.kind for intent in seen.intents}
        scenes = {}
        for kind in kinds - self._unknown_kinds:
            if kind not in self._pollers:
                try:
                    self._pollers[kind] = Poller(kind, find(kind)(self._context.home), self._floor(kind))
                except UsageError as error:
                    self._unknown_kinds.add(kind)
                    _log.warning("%s", error)
                    continue
            poller = self._pollers[kind]
            scheduler = poller.scheduler
            listing = poller.latest(misses_someone=misses_someone(seen, kind))
            scenes[kind] = Scene(listing, scheduler.answer_within, scheduler.jobs_per_submit)
        return scenes

    def _floor(self, kind: str) -> float:
        """The least number of seconds between two questions to a scheduler that the site allows."""
        return 0.0 if kind == Local.kind else self._context.config.limits.floors.get("poll_interval", 0.0)

    def _connected(self) -> _Link:
        if self._link is None:
            server = self._context.locate()
            client = connect(server)
            try:
                broker = Broker(client, self._context.config.name)
                check_schema(client, broker.keys)
                self._link = _Link(server, client, broker, ControlQueue(self._context, client))
            except (RedisError, FabricError, OSError):
                client.close()
                raise
        return self._link

    def _disconnect(self) -> None:
        if self._link is not None:
            self._link.redis.close()
            self._link = None

    def _resign(self) -> None:
        """Let another one lead at once."""
        for poller in self._pollers.values():
            poller.stop()
        if self._link is not None and self._leads:
            try:
                self._link.broker.do(self._lead(0.0))
            except (RedisError, OSError) as error:
                _log.info("cannot resign (%s); another one leads in %.0f s", error, LEADER_TTL_S)
        self._disconnect()


class _Complaint:
    """Says what is wrong when it begins, now and then while it lasts, and when it is over."""

    def __init__(self) -> None:
        self._text = ""
        self._since = self._said = 0.0
        self._bugs = 0

    def about(self, error: Exception, context: Context) -> float:
        """Say it, if it is time to; answers after how many seconds to try again."""
        now = time.monotonic()
        if classify(error) in (Trouble.BUG, Trouble.SCRIPT_MISSING) and not isinstance(error, FabricError):
            self._bugs += 1
            _log.exception("this should not happen; trying again", exc_info=error)
            return min(LONGEST_PAUSE_S, RETRY_S * 2.0**self._bugs)
        shown = as_fabric_error(error, _address(context))
        text = str(shown or error)
        if not self._text:
            self._since = now
        if text != self._text or now - self._said >= REMIND_S:
            _log.warning("%s; trying again every %.0f s", text, RETRY_S)
            self._text, self._said = text, now
        return RETRY_S

    def over(self) -> None:
        """All is well."""
        if self._text:
            _log.info("all is well again after %.0f s", time.monotonic() - self._since)
        self._text, self._bugs = "", 0


def _address(context: Context) -> str:
    try:
        return context.locate().url
    except FabricError:
        return "an unknown address"


def new_intent() -> str:
    """Return an id for an intent: short enough for the name of a job in any scheduler."""
    return "i" + base64.b32encode(secrets.token_bytes(7)).decode().lower()[:10]


def _pages(changes: Sequence[Change]) -> Iterator[Sequence[Change]]:
    for start in range(0, len(changes), CHANGES_PER_CALL):
        yield changes[start : start + CHANGES_PER_CALL]


def _tell(change: Change) -> None:
    """Put into the log what a reader of it would ask for."""
    match change:
        case Over(job=job, reason=reason):
            _log.info("job %s is over: %s", job, reason)
        case Ask(job=job, wish=wish, reason=reason):
            _log.info("job %s: %s: %s", job, wish, reason)
        case Again(intent=intent):
            _log.warning("intent %s: its submit was lost; another one follows", intent)
        case Found(intent=intent, ids=ids):
            _log.info("intent %s was submitted: %s", intent, ", ".join(ids.values()))
        case Remember(pool=pool, set={"circuit": reason}):
            _log.warning("pool %s submits no more: %s", pool, reason)
        case Remember(pool=pool, set={"deaths": deaths}):
            _log.warning("pool %s: %s young deaths in a row", pool, deaths)
        case _:
            _log.debug("%s", change)


def _with_log_tail(change: Change, home: Home) -> Change:
    """Let a dead job's last words say why it died."""
    if not isinstance(change, Over):
        return change
    try:
        with home.job_log(change.job).open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - TAIL_BYTES))
            text = file.read().decode(errors="replace")
    except OSError:
        return change
    words = " / ".join([line.strip() for line in text.splitlines() if line.strip()][-TAIL_LINES:])
    return replace(change, reason=f"{change.reason}: {words[-TAIL_LENGTH:]}") if words else change

"""Submit learners: everything is checked and pickled before anything is written to Redis."""

from __future__ import annotations

import base64
import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeVar

from fabric_broker import calls
from fabric_broker.durations import Duration, seconds
from fabric_broker.errors import BrokerError, ExistsError, FabricError, NotFoundError, UsageError
from fabric_broker.keys import learner_id
from fabric_broker.records import RunSettings
from fabric_broker.store import Store, payload_path

from . import pools
from .asking import asking
from .children import Names, attach, split_names
from .goals import check_goal, everywhere, goal_text
from .naming import check_run_name
from .packing import check_runner_kwargs, pickled, run_payload
from .resources import Places, Resources, learner_specs

if TYPE_CHECKING:
    from fabric_broker.broker import Broker
    from fabric_broker.scripts import Call
    from fabric_broker.signing import Signer
    from fabric_submitter.specs import Spec

T = TypeVar("T")

LARGEST_IN_REDIS: Final = 8192
"""Bytes of a signed learner that still goes into Redis; larger ones go into the store."""

MOST_PRIORITY: Final = 1000
"""Priorities lie between its negative and itself: the queue's score keeps room for the order of arrival."""


@dataclass(frozen=True, slots=True)
class Order:
    """A submission as it was checked; durations in seconds."""

    learners: list[Any]
    names: list[str]
    children: list[Names | None]
    """the names of BalancingLearners' children, where some were given"""
    goal: Any
    name: str | None
    pool: str | None
    specs: list[Spec] | None
    """what each learner needs; None: they all go to the pool"""
    priority: int
    save_interval: float
    log_interval: float
    attempts: int
    backoff: float
    initializer: Any
    runner_kwargs: Mapping[str, Any]


def check_order(
    learners: Iterable[Any],
    *,
    name: str | None,
    names: Iterable[str | Sequence[str]] | None,
    goal: Any,
    pool: str | None,
    priority: int,
    save_interval: Duration,
    log_interval: Duration,
    attempts: int,
    backoff: Duration,
    resources: Resources | None,
    initializer: Any,
    runner_kwargs: Mapping[str, Any] | None,
) -> Order:
    """Check all that can be checked without a server; UsageError."""
    checked = _check_learners(learners)
    check_goal(goal, checked)
    found, children = split_names(names, checked)
    return Order(
        learners=checked,
        names=found,
        children=children,
        goal=everywhere(goal),
        name=None if name is None else check_run_name(name),
        pool=pool,
        specs=learner_specs(resources, checked, pool),
        priority=check_priority(priority),
        save_interval=_duration("save_interval", save_interval, positive=True),
        log_interval=_duration("log_interval", log_interval, positive=True),
        attempts=_whole("attempts", attempts, 1),
        backoff=_duration("backoff", backoff, positive=False),
        initializer=initializer,
        runner_kwargs=check_runner_kwargs(runner_kwargs),
    )


def submit(broker: Broker, signer: Signer, store: Store, order: Order, check: Callable[[Spec], None]) -> str:
    """Write a run and its learners; answers its id. `check` raises if jobs of a spec cannot be.

    Raises
    ------
    UsageError
        A learner's resources are what no job can have.
    NotFoundError
        There is no such pool.
    ExistsError
        The name is taken.
    PickleError
        A learner, the goal or the initializer cannot be pickled.
    """
    places = Places(broker, signer, order.specs or [])
    pool = places.names[0] if order.specs else pools.choose(broker, order.pool)
    if order.name is not None and broker.redis.hexists(broker.keys.run_names, order.name):
        raise _taken(order.name)
    places.check(check)
    run = new_run_id()
    payload = run_payload(goal=order.goal, initializer=order.initializer, runner_kwargs=order.runner_kwargs)
    stored: list[str] = []
    try:
        learners = list(_packed(run, order, signer, store, stored))
        if pool is None:
            pool = pools.define_default(broker, signer).name
        places.define()
        settings = RunSettings(
            run=run,
            name=order.name or run,
            pool=pool,
            store=str(store.base),
            goal=goal_text(order.goal),
            priority=order.priority,
            save_interval=order.save_interval,
            log_interval=order.log_interval,
            attempts=order.attempts,
            backoff=order.backoff,
            pools=tuple(dict.fromkeys(places.names)),
        )
        _define(broker, settings, signer.sign("run", payload.pack(), learner=run))
    except (
        BaseException
    ):  # nothing refers to these files: a submission that was refused leaves nothing behind
        for path in stored:
            store.remove(path)
        raise
    _add(broker, run, learners, places.names)
    return run


def new_run_id() -> str:
    """A fresh id: "r" and 8 lower-case base32 characters."""
    return "r" + base64.b32encode(secrets.token_bytes(5)).decode().lower()


def check_priority(priority: object) -> int:
    """The priority, if it can be one; UsageError."""
    if isinstance(priority, bool) or not isinstance(priority, int) or abs(priority) > MOST_PRIORITY:
        raise UsageError(f"priority={priority!r}: a whole number from {-MOST_PRIORITY} to {MOST_PRIORITY}")
    return priority


def _check_learners(learners: Iterable[Any]) -> list[Any]:
    from adaptive.learner import BaseLearner

    if isinstance(learners, BaseLearner):
        raise UsageError("learners is one learner; pass a list")
    try:
        found = list(learners)
    except TypeError:
        raise UsageError(f"learners is a {type(learners).__name__}; pass a list of learners") from None
    if not found:
        raise UsageError("there are no learners to submit")
    seen: dict[int, int] = {}
    for index, learner in enumerate(found):
        if not isinstance(learner, BaseLearner):
            raise UsageError(f"learner {index} is a {type(learner).__name__}, not a learner of adaptive")
        if id(learner) in seen:
            raise UsageError(
                f"learners {seen[id(learner)]} and {index} are the same object; make one for each"
            )
        seen[id(learner)] = index
    return found


def _packed(
    run: str, order: Order, signer: Signer, store: Store, stored: list[str]
) -> Iterator[tuple[str, bytes | None]]:
    """(name, signed payload) of each learner; None for one that went into the store, whose path is noted."""
    each = zip(order.names, order.learners, order.children, strict=True)
    for index, (name, learner, children) in enumerate(each):
        what = f"learner {index}" if name == str(index) else f"learner {index} ({name!r})"
        learner_name = learner_id(run, index)
        body = attach(pickled(what, learner), children)
        payload = signer.sign("learner", body, learner=learner_name)
        if len(payload) <= LARGEST_IN_REDIS:
            yield name, payload
            continue
        path = payload_path(run, learner_name)
        store.write(path, payload)
        stored.append(path)
        yield name, None


def _define(broker: Broker, settings: RunSettings, payload: bytes) -> None:
    answer = _do(broker, calls.define_run(settings, payload))
    if answer == "exists":
        raise _taken(settings.name)
    if answer == "no pool":
        raise NotFoundError(f"pool {settings.pool!r} went away during the submission; nothing was submitted")


def _add(
    broker: Broker, run: str, learners: Sequence[tuple[str, bytes | None]], places: Sequence[str]
) -> None:
    with asking(
        broker.redis, f"run {run} is not complete: `fabric cancel {run}`, then submit it by another name"
    ):
        for first in range(0, len(learners), calls.PAGE):
            page = learners[first : first + calls.PAGE]
            last = first + len(page) == len(learners)
            of_page = places[first : first + calls.PAGE]
            total = _do(broker, calls.add(run, first, page, last=last, pools=of_page))
            if total < 0:
                raise BrokerError(
                    f"run {run} was cancelled while learners were added; it has {first} of them"
                )


def _do(broker: Broker, call: Call[T]) -> T:
    """Make a call that may be made twice, once more if the connection broke: its reply may have been lost."""
    from redis.exceptions import ConnectionError as Broken

    try:
        return broker.do(call)
    except Broken:
        return broker.do(call)


def _taken(name: str) -> FabricError:
    return ExistsError(f"there is a run named {name!r} already; choose another name, or none")


def _whole(what: str, value: object, least: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise UsageError(f"{what}={value!r}: a whole number of at least {least}")
    return value


def _duration(what: str, value: Duration, *, positive: bool) -> float:
    try:
        length = seconds(value)
    except UsageError as error:
        raise UsageError(f"{what}: {error}") from None
    if positive and length == 0:
        raise UsageError(f"{what} is more than 0 seconds")
    return length

"""The tasks of the control queue: submit an intent, cancel its jobs. Each may run twice, late, or half.

A task is told nothing but an intent's id. What is to be done it asks Redis, at the moment when it does it, so an old
or repeated task finds nothing to do. These functions, and no others, may be called through the queue.
"""

from __future__ import annotations

import logging
import secrets

from fabric_broker import intents
from fabric_broker.broker import Broker
from fabric_broker.errors import SchedulerError, UsageError
from fabric_broker.intents import Begun
from fabric_broker.records import Outcome

from .adapters.scheduler import AnswerLostError, BusyError, RefusedError, Request, Scheduler, find
from .context import Context
from .specs import spec_from_dict

BUSY_WAIT_S = 30.0
"""A scheduler that is busy is left alone for so long."""
REASON_LENGTH = 500

_log = logging.getLogger(__name__)
_bound: list[Context] = []


def bind(context: Context) -> None:
    """Say for which home the tasks of this process work."""
    _bound[:] = [context]


def submit(intent: str) -> None:
    """Submit an intent's jobs, unless another task does or did, or they are not wanted any more."""
    (context,) = _bound
    task = secrets.token_hex(8)
    with context.broker() as broker:
        begun = broker.do(intents.begin(intent, task))
        if begun.outcome is not Outcome.OK:
            _log.info("intent %s needs no submit now (%s)", intent, begun.outcome.name)
            return
        try:
            scheduler = find(begun.kind)(context.home)
            ids = scheduler.submit(_request(intent, begun))
        except AnswerLostError as error:
            _log.warning("intent %s: %s; its name will be looked up", intent, error)
            return
        except BusyError as error:
            _log.info("intent %s waits: %s", intent, error)
            broker.do(intents.busy(intent, task, reason=_short(error), wait=BUSY_WAIT_S))
            return
        except (RefusedError, UsageError) as error:
            _log.warning("intent %s was refused: %s", intent, error)
            broker.do(intents.refused(intent, task, reason=_short(error)))
            return
        _report(broker, scheduler, intent, task, dict(ids))


def _request(intent: str, begun: Begun) -> Request:
    return Request(intent, begun.pool, spec_from_dict(begun.spec), begun.jobs)


def _report(broker: Broker, scheduler: Scheduler, intent: str, task: str, ids: dict[str, str]) -> None:
    outcome = broker.do(intents.submitted(intent, task, host=scheduler.host, ids=ids))
    _log.info("intent %s submitted as %s (%s)", intent, ", ".join(ids.values()), outcome.name)
    if outcome in (Outcome.FENCED, Outcome.GONE):
        # It went on without this task, which was late. The agents would find out by their claims; this is quicker.
        try:
            scheduler.cancel([(job, scheduler_id, "cancel") for job, scheduler_id in ids.items()])
        except SchedulerError as error:
            _log.warning("intent %s was submitted twice; its agents will see to it (%s)", intent, error)


def cancel(intent: str) -> None:
    """Make those jobs of an intent go that are to go now."""
    (context,) = _bound
    with context.broker() as broker:
        kind, going = broker.do(intents.cancelling(intent))
        if not going:
            _log.info("intent %s: nothing to cancel any more", intent)
            return
        for each in going:
            _log.info("job %s (%s): %s", each.job, each.scheduler_id or "no id yet", each.wish)
        find(kind)(context.home).cancel([(each.job, each.scheduler_id, each.wish) for each in going])


def _short(error: Exception) -> str:
    return str(error)[:REASON_LENGTH]

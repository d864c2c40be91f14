"""What a word on the command line names: a run, a learner, or a job."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from adaptive_fabric.asking import asking
from adaptive_fabric.naming import is_learner_id
from fabric_broker import reads
from fabric_broker.errors import NotFoundError

if TYPE_CHECKING:
    from adaptive_fabric.fabric import Fabric
    from adaptive_fabric.runs import Run


@dataclass(frozen=True, slots=True)
class Learner:
    """A learner, by id."""

    id: str


@dataclass(frozen=True, slots=True)
class Job:
    """A job, by id."""

    id: str


def find_target(fabric: Fabric, word: str, run_name: str | None) -> Run | Learner | Job:
    """The run, learner or job that `word` names; with `run_name` it is a learner of that run. NotFoundError."""
    if run_name is not None or is_learner_id(word):
        return find_learner(fabric, word, run_name)
    with asking(fabric.broker.redis):
        if fabric.broker.redis.exists(fabric.broker.keys.job(word)):
            return Job(word)
    try:
        return fabric.run(word)
    except NotFoundError:
        raise NotFoundError(
            f"no run, learner or job {word!r} in fabric {fabric.name!r}; a learner's name needs --run RUN"
        ) from None


def is_pool(fabric: Fabric, word: str) -> bool:
    """Whether there is a pool of this name, and neither learner nor job has this id."""
    keys = fabric.broker.keys
    with asking(fabric.broker.redis):
        taken = is_learner_id(word) or fabric.broker.redis.exists(keys.job(word))
        return not taken and fabric.broker.redis.exists(keys.pool(word)) == 1


def find_learner(fabric: Fabric, word: str, run_name: str | None) -> Learner:
    """The learner of this id, or of this name in a run; NotFoundError."""
    run = None if run_name is None else fabric.run(run_name).id
    with asking(fabric.broker.redis):
        return Learner(reads.find_learner(fabric.broker, word, run))

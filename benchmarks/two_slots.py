"""Whether a second slot doubles what a job does: two slots of one job beside one, and two bare processes beside one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from benchmarks import bare
from benchmarks.functions import learners
from benchmarks.rounds import Paired, Spread, paired
from benchmarks.stand import Stand
from benchmarks.table import Budget, Row

POINTS = 40_000
WARM_UP = 1  # rounds that `paired` does not count


@dataclass(frozen=True)
class Gain:
    """What two do beside one, measured one right after the other; keeps every pair."""

    points_per_s: Callable[[int], float]
    pairs: list[tuple[float, float]] = field(default_factory=list)

    def measure(self) -> float:
        one, two = self.points_per_s(1), self.points_per_s(2)
        self.pairs.append((two, one))
        return two / one

    def counted(self) -> Paired:
        pairs = self.pairs[WARM_UP:]
        return Paired(
            Spread.of(two for two, _ in pairs),
            Spread.of(one for _, one in pairs),
            Spread.of(two / one for two, one in pairs),
        )


def measure(stand: Stand, rounds: int) -> list[Row]:
    """One learner in each slot; from the first lease to the last learner that is done."""
    pools = {1: stand.pool("one", slots=1), 2: stand.pool("two", slots=2)}
    slots = Gain(
        lambda n: n * POINTS / stand.finish(stand.fabric.submit(learners(n), goal=POINTS, pool=pools[n]))
    )
    processes = Gain(lambda n: bare.measure(POINTS, processes=n))
    gains = paired(rounds, slots.measure, processes.measure)
    ours, machine = slots.counted(), processes.counted()
    return [
        Row(
            what="two slots of one job, no-op function",
            unit="points/s",
            fabric=ours.ours,
            against="one slot",
            other=ours.theirs,
            ratio=ours.ratio,
            budget=Budget(1.8, at_least=True),
        ),
        # Without a fabric: what these two cores allow, now and with whatever else runs on them.
        Row(
            what="(no fabric: two bare processes)",
            unit="points/s",
            fabric=machine.ours,
            against="one bare process",
            other=machine.theirs,
            ratio=machine.ratio,
        ),
        # Two cores that are two threads of one, or are shared with others, give no program 1.8 times of what one
        # gives. Beside what they do give, the fabric may lose what the budget above lets it lose of 2.
        Row(
            what="what the second slot brings",
            unit="times one slot",
            fabric=gains.ours,
            against="what a second bare process brings",
            other=gains.theirs,
            ratio=gains.ratio,
            budget=Budget(0.9, at_least=True),
        ),
    ]

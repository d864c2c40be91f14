"""Reconcile while the scheduler answers with nothing at times, though it has jobs: only a second look decides."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import initialize, rule, run_state_machine_as_test
from tests.unit.submitter.test_reconcile_machine import Machine

from fabric_broker.intents import Again, Over
from fabric_submitter.adapters.scheduler import Listing, Seen
from fabric_submitter.reconcile import Plan


class Doubtful(Machine):
    """The machine of reconcile, with a scheduler whose list is no proof and may be empty for no reason."""

    # Coming to rest takes answers that can be believed at once.
    does_not_oscillate = None  # type: ignore[assignment]

    @initialize(answered=st.lists(st.booleans(), min_size=1, max_size=3))
    def jobs_are_there(self, answered):
        self.world.queued = 2 * len(answered)
        self.ticks(1.0)
        for each in answered:
            self.a_task_submits(0, answered=each, refused=False)

    @rule(good=st.booleans())
    def the_scheduler_answers(self, good):
        self.answer(good=good, empty=False, second_look=False)

    @rule(second_look=st.booleans())
    def the_scheduler_answers_with_nothing(self, second_look):
        """The second look may fail, but it does not lie."""
        self.answer(good=True, empty=True, second_look=second_look)

    @rule(count=st.integers(1, 5), second_look=st.booleans())
    def nothing_again_and_again_while_all_agents_are_silent(self, count, second_look):
        self.ticks(35.0)
        for _ in range(count):
            self.answer(good=True, empty=True, second_look=second_look)
            self.ticks(1.0)

    def answer(self, *, good: bool, empty: bool, second_look: bool) -> None:
        self.number += 1
        self.mono += 1.0
        there = self.world.processes if good and not empty else set()
        jobs = {job: Seen(job, "running") for job in there}
        sure = second_look and not self.world.processes
        self.listing = Listing(self.mono, good, jobs, number=self.number, sure_of_none=sure)

    def plan(self) -> Plan:
        plan = super().plan()
        dead = {change.job for change in plan.changes if isinstance(change, Over)}
        lost = {f"{change.intent}.0" for change in plan.changes if isinstance(change, Again)}
        assert not (dead | lost) & self.world.processes, "what the scheduler has is neither dead nor lost"
        return plan


TestDoubtful = Doubtful.TestCase
TestDoubtful.settings = settings(max_examples=30, stateful_step_count=40, deadline=None)


@pytest.mark.long
@pytest.mark.timeout(600)
def test_the_machine_for_long():
    run_state_machine_as_test(
        Doubtful, settings=settings(max_examples=120, stateful_step_count=60, deadline=None)
    )

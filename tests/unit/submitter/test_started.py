"""A job that its scheduler runs, and of which nothing was heard, says so in its record."""

from __future__ import annotations

from dataclasses import replace

from tests.unit.submitter.test_reconcile import intent, listing, of, see

from fabric_broker.intents import Mark
from fabric_submitter.judging import STARTED


def test_a_job_that_its_scheduler_runs_and_nobody_heard_of_says_so_until_it_speaks():
    shown = listing("a", proof=False)
    waits = intent("a", jobstate="pending")
    assert of(see(waits, listing=shown, queued=1), Mark) == [Mark("a.0", "pending", "pending", STARTED)]
    told = intent("a", jobstate="pending")
    told = replace(told, jobs=(replace(told.jobs[0], reason=STARTED),))
    assert of(see(told, listing=shown, queued=1), Mark) == [], "once"

"""A learner with a million points: what a checkpoint costs the evaluations, and how long its journal gets."""

from __future__ import annotations

import sys
import time
from typing import Any

import adaptive
import cloudpickle
import pytest
from tests.slots import Ledger, Seated, load

from fabric_jobs.channel import Frame, Up

cloudpickle.register_pickle_by_value(sys.modules[__name__])

MILLION = 1_000_000
GAPS = {"last": 0.0, "longest": 0.0}


def root(x: Any) -> Any:
    """At last: the longest time that this thread worked from one evaluation to the next, in CPU seconds."""
    now = time.thread_time()
    if GAPS["last"]:
        GAPS["longest"] = max(GAPS["longest"], now - GAPS["last"])
    GAPS["last"] = now
    return float(x) ** 0.5 if x < MILLION - 1 else GAPS["longest"]


@pytest.mark.long
@pytest.mark.timeout(400)
def test_a_checkpoint_of_a_million_points_stalls_nobody_and_bounds_the_journal(site, tmp_path):
    ledger = Ledger(site.signer, tmp_path, adaptive.SequenceLearner(root, range(MILLION)), save_interval=3600)
    most = kept = total = 0

    async def act(slot: Seated) -> None:
        def on_frame(frame: Frame) -> None:
            nonlocal most, kept, total
            if frame.kind == Up.POINT:
                kept += len(frame.raw)
                total += len(frame.raw)
                most = max(most, kept)
            elif frame.kind == Up.SAVED:
                kept = sum(len(raw) for _, _, raw in ledger.journal)

        await slot.lease(ledger, on_frame=on_frame, timeout=380)

    site.new_slot(act)
    assert ledger.ending()[0] is Up.DONE, ledger.ending()
    learner = load(ledger, adaptive.SequenceLearner(root, range(MILLION)))
    assert len(learner.data) == MILLION
    pause = learner.data.pop(MILLION - 1)
    began = time.thread_time()
    cloudpickle.dumps(learner._get_data())
    copying = time.thread_time() - began
    saves = [record["upto"] for record in ledger.said(Up.SAVED)]
    print(
        f"longest pause {pause:.3f} s, a copy {copying:.3f} s, journal {most} of {total} bytes, saved at {saves}"
    )
    assert pause < copying / 2
    assert most < total * 2 / 3

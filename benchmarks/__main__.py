"""`python -m benchmarks`: one table, all of it measured in one run on one fabric; `make bench` calls it."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
from pathlib import Path

from benchmarks import (
    agent_memory,
    bench_tui,
    core_use,
    every_executor,
    help_time,
    reassign,
    replacement,
    serial_slot,
    short_learners,
    submitter_load,
    two_slots,
)
from benchmarks.machine import machine
from benchmarks.rounds import talk
from benchmarks.stand import stand
from benchmarks.table import Row, table

ALL = {
    module.__name__.rpartition(".")[2]: module.measure
    for module in (
        serial_slot,
        two_slots,
        short_learners,
        core_use,
        every_executor,
        reassign,
        replacement,
        submitter_load,
        help_time,
        agent_memory,
        bench_tui,
    )
}
RESULTS = Path(__file__).with_name("RESULTS.md")
HOW = """\
Each pair of figures was taken by turns, after a first round that does not count, in one run on one machine. Ratios are
taken within a round. A budget is judged by the median, or by the worst round where every single time is promised.
Absolute figures do not travel to other machines, ratios do.
"""


def main() -> None:
    """Parse the command line, measure, print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"only these of {', '.join(ALL)}")
    parser.add_argument("--rounds", type=int, default=5, help="rounds that count (%(default)s)")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of the table")
    parser.add_argument(
        "--record", action="store_true", help=f"also write {RESULTS.parent.name}/{RESULTS.name}"
    )
    options = parser.parse_args()
    unknown = [name for name in options.names if name not in ALL]
    if unknown:
        parser.error(f"no benchmark {', '.join(unknown)}; there are {', '.join(ALL)}")
    if options.rounds < 1:
        parser.error("--rounds: at least 1")
    if options.record and options.names:
        parser.error("--record: only all benchmarks together, not some by name")
    # So that `timeout` and the like leave nothing running.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("benchmarks: ended by SIGTERM"))
    # The benchmarks have a fabric of their own, whatever the user's shell points to.
    for name in [name for name in os.environ if name.startswith("FABRIC_") and name != "FABRIC_REDIS_SERVER"]:
        del os.environ[name]

    load = f"{os.getloadavg()[0]:.1f}"
    rows: list[Row] = []
    with stand() as here:
        facts = machine(here.broker.redis.info("server")["redis_version"]) | {"load before": load}
        for name in options.names or ALL:
            talk(name)
            rows += ALL[name](here, options.rounds)
    if options.json:
        told = [row.to_json() for row in rows]
        print(json.dumps({"schema": 1, "machine": facts, "rounds": options.rounds, "rows": told}, indent=2))
    else:
        print(f"\n{_facts(facts)}\n\n{table(rows)}\n\n{_verdict(rows)}")
    if options.record:
        figures = (
            f"# Results of `make bench`\n\n{_facts(facts)}\n\n{HOW}\n{table(rows)}\n\n{_verdict(rows)}\n"
        )
        RESULTS.write_text(figures + _notes())
        talk(f"wrote {RESULTS}")


def _facts(facts: dict[str, str]) -> str:
    return "\n".join(f"- {name}: {text}" for name, text in facts.items())


def _notes() -> str:
    """What people wrote below the figures, from the first heading on; it stays when new figures are recorded."""
    _, heading, notes = RESULTS.read_text().partition("\n## ") if RESULTS.exists() else ("", "", "")
    return heading + notes


def _verdict(rows: list[Row]) -> str:
    missed = [row.what for row in rows if row.passed is False]
    return f"Missed: {'; '.join(missed)}." if missed else "All budgets are met."


if __name__ == "__main__":
    main()

"""What the submitter costs a login node and a scheduler at 1,000 jobs and 10,000 learners, when nothing changes."""

from __future__ import annotations

import time

import psutil

from benchmarks.pretended import JOBS, SLOTS, Pretended, pretended
from benchmarks.rounds import Spread, talk
from benchmarks.stand import Stand
from benchmarks.table import Row
from fabric_submitter.daemon import submitter

WINDOW = 60.0  # s


def measure(_stand: Stand, rounds: int) -> list[Row]:
    """So many windows of a minute, one after the other, after one that does not count."""
    with pretended() as world:
        processes = _processes(world)
        windows = []
        for number in range(rounds + 1):
            talk(f"  a minute of steady state, {number} of {rounds}")
            windows.append(_window(world, processes))
        memory = [process.memory_info().rss / 1e6 for process in processes]
    what = f"submitter at {JOBS:,} jobs, {JOBS * SLOTS:,} learners"
    return [
        Row(f"{what}: scheduler commands", "per minute", Spread.of(commands for commands, _ in windows[1:])),
        Row(f"{what}: CPU, worker included", "% of a core", Spread.of(cpu for _, cpu in windows[1:])),
        Row(
            f"{what}: resident memory",
            "MB",
            Spread.of(memory[:1]),
            against="its worker",
            other=Spread.of(memory[1:]),
        ),
    ]


def _processes(world: Pretended) -> tuple[psutil.Process, psutil.Process]:
    """The submitter and its worker."""
    found = submitter(world.home)
    if found is None:
        raise RuntimeError("found no submitter")
    process = psutil.Process(found.pid)
    (worker,) = process.children()
    return process, worker


def _window(world: Pretended, processes: tuple[psutil.Process, ...]) -> tuple[float, float]:
    """Scheduler commands per minute, and CPU time in percent of a core."""
    calls, cpu, began = world.cluster.calls().total(), _cpu(processes), time.monotonic()
    time.sleep(WINDOW)
    took = time.monotonic() - began
    return (world.cluster.calls().total() - calls) * 60 / took, (_cpu(processes) - cpu) * 100 / took


def _cpu(processes: tuple[psutil.Process, ...]) -> float:
    """Seconds of CPU that they and the commands and tasks they waited for have used."""
    return sum(sum(process.cpu_times()[:4]) for process in processes)

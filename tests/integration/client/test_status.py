"""`fabric status`, once and watched: text and JSON tell the same, and a server that goes away is waited for."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import IO, Any

import adaptive
import pytest
from tests.integration.client.conftest import Agent
from tests.redis_process import RedisProcess

from adaptive_fabric import Fabric
from adaptive_fabric.cli import run as cli_run
from adaptive_fabric.cli.output import counts_text, duration_text, time_text
from fabric_broker import calls
from fabric_broker.broker import Broker
from fabric_broker.home import Home

PATIENCE = 30.0  # s


def line() -> adaptive.Learner1D:
    return adaptive.Learner1D(lambda x: x**2, (-1, 1))


def texts_of(told: dict[str, Any]) -> Iterator[str]:
    """How each value of the JSON is written for people."""
    yield from (told["fabric"], told["broker"]["url"], counts_text(told["counts"]))
    yield "alive" if told["submitter"]["alive"] else "not running"
    yield time_text(told["submitter"]["last_seen"]) or ""
    for pool in told["pools"]:
        yield from (str(value) for value in pool.values() if value is not None)
    for run in told["runs"]:
        yield from (run["id"], run["name"], run["state"], str(run["points"]), f"{run['points_per_s']:g}")
        yield f"{counts_text(run['counts'])} of {run['total']}"
        yield from (time_text(run["started"]) or "", time_text(run["ended"]) or "")
        yield duration_text(run["eta_s"]) or ""


def test_the_text_tells_all_that_the_json_tells(
    fabric: Fabric, agent: Agent, home: Home, capfd: pytest.CaptureFixture[str]
) -> None:
    fabric.submit([line(), line()], name="goes on", goal=5)
    over = fabric.submit([line()], name="is over", goal=5)
    agent.lease()
    over.cancel()
    broker = fabric.broker
    broker.redis.hset(broker.keys.pool("local"), mapping={"circuit": "no such account", "wanted": "7"})
    broker.redis.hset(broker.keys.leader, mapping={"until": "1", "seen": "1769860800000", "nonce": "n"})
    start = ["--home", str(home.path), "--url", fabric.server.url, "status"]

    assert cli_run([*start, "--json"]) == 0
    told = json.loads(capfd.readouterr().out)
    assert cli_run(start) == 0
    text = capfd.readouterr().out

    assert told["runs"][1]["ended"] is not None
    assert told["pools"][0]["circuit"] == "no such account"
    assert [each for each in texts_of(told) if each not in text] == []


@contextmanager
def watching(home: Home, url: str, *options: str) -> Iterator[subprocess.Popen[str]]:
    """`fabric status --watch`, ended as a user ends it."""
    words = [sys.executable, "-m", "adaptive_fabric", "--home", str(home.path), "--url", url]
    process = subprocess.Popen(
        [*words, "status", "--watch", "0.05", *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        yield process
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=PATIENCE)
        assert process.returncode == 0
    finally:
        process.kill()
        process.communicate(timeout=PATIENCE)


def seen(lines: IO[str], wanted: Callable[[str], bool]) -> str:
    """The first line that is wanted; pytest's time-out ends a wait in vain."""
    return next(each for each in lines if wanted(each))


def one_run(process: RedisProcess) -> Broker:
    broker = Broker(process.client(), "default")
    broker.do(calls.define_pool("local", spec={}, kind="local", limit=1, slots=1, ttl=30.0))
    return broker


def test_watched_as_json_it_says_that_the_server_is_away_and_goes_on(
    private_redis: RedisProcess, home: Home
) -> None:
    one_run(private_redis)
    with watching(home, private_redis.url, "--json") as process:
        assert process.stdout is not None
        assert json.loads(seen(process.stdout, lambda _line: True))["broker"]["ok"]
        private_redis.stop()
        told = json.loads(seen(process.stdout, lambda line: not json.loads(line)["broker"]["ok"]))
        assert [pool["name"] for pool in told["pools"]] == ["local"]
        private_redis.start()
        seen(process.stdout, lambda line: json.loads(line)["broker"]["ok"])


def test_watched_as_text_it_shows_the_same_again(private_redis: RedisProcess, home: Home) -> None:
    broker = one_run(private_redis)
    with watching(home, private_redis.url) as process:
        assert process.stdout is not None
        seen(process.stdout, lambda line: line.startswith("local"))
        broker.do(calls.define_pool("late", spec={}, kind="local", limit=1, slots=1, ttl=30.0))
        seen(process.stdout, lambda line: line.startswith("late"))


def test_a_server_that_was_never_there_is_an_error(home: Home, capfd: pytest.CaptureFixture[str]) -> None:
    nowhere = ["--home", str(home.path), "--url", "unix:///nowhere/redis.sock"]
    assert cli_run([*nowhere, "status", "--watch"]) == 4
    assert capfd.readouterr().out == ""

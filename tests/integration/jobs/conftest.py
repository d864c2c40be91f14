"""A fork server for all tests that do not kill it: starting one takes longer than most tests."""

import asyncio
from collections.abc import Iterator

import pytest
from tests.slots import Agent, Site

from fabric_broker.home import Home
from fabric_broker.signing import Signer, load_key


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A fork server, and what is needed to have slots from it."""
    made = Home(tmp_path_factory.mktemp("home")).create()
    with asyncio.Runner() as runner:
        agent = Agent(made.path)
        runner.run(agent.__aenter__())
        yield Site(runner, agent, Signer(load_key(made.work_key), "default"))
        runner.run(agent.__aexit__())

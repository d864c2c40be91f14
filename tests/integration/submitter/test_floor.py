"""The site's floor for questions to schedulers holds for those of other packages too, and not for this machine."""

from __future__ import annotations

from fabric_broker.config import Config
from fabric_broker.home import Home
from fabric_broker.site import Limits
from fabric_submitter.context import Context
from fabric_submitter.loop import Submitter


def test_the_floor_reaches_every_poller_but_the_local_one(home: Home) -> None:
    config = Config(limits=Limits({"poll_interval": 60.0}))
    submitter = Submitter(Context(home, config), nonce="n")
    assert submitter._floor("slurm") == submitter._floor("theirs") == 60.0
    assert submitter._floor("local") == 0.0

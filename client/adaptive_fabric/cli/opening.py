"""What every command begins with: the home and the fabric that the options name."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from adaptive_fabric.fabric import Fabric
    from fabric_broker.config import Config
    from fabric_broker.home import Home


@dataclass(frozen=True, slots=True)
class Opening:
    """The options before the command; nothing is opened until a command asks."""

    url: str | None
    home_option: str | None

    def home(self) -> Home:
        """The home: --home, else $FABRIC_HOME, else the user's state folder."""
        from fabric_broker.home import Home

        return Home.find(self.home_option)

    def config(self) -> Config:
        """The home's settings, with the environment and --url over them."""
        from fabric_broker.config import Config

        environment = dict(os.environ)
        if self.url:
            environment["FABRIC_URL"] = self.url
        return Config.load(self.home(), environment)

    def fabric(self) -> Fabric:
        """The fabric, which must run: no command but `up` and `demo` starts one."""
        from adaptive_fabric.fabric import Fabric

        return Fabric.open(self.home(), self.config(), url=self.url)


opening = click.make_pass_decorator(Opening)
"""Passes the `Opening` as a command's first argument."""

json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
run_option = click.option(
    "--run", "run_name", metavar="RUN", help="The run that a learner's name belongs to."
)

"""The command `fabric-tui`."""

from __future__ import annotations

import gc
import getpass
import os
import socket
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fabric_broker.config import Config
from fabric_broker.connection import locate
from fabric_broker.errors import FabricError, HomeError, MissingExtraError, UsageError
from fabric_broker.home import Home
from fabric_broker.signing import create_secret

if TYPE_CHECKING:
    from .feed import Source

PORT = 8765


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--url", help="the Redis server: redis://, rediss:// or unix://  [default: that of the home]")
@click.option(
    "--home", type=click.Path(path_type=Path), help="the fabric's home folder  [default: $FABRIC_HOME]"
)
@click.option("--read-only", is_flag=True, help="look only: there are no actions at all")
@click.option(
    "--record", type=click.Path(path_type=Path), help="write what is seen to FILE (.gz: compressed)"
)
@click.option("--replay", type=click.Path(path_type=Path), help="play a recording; nothing is connected")
@click.option(
    "--web",
    is_flag=False,
    flag_value=f"127.0.0.1:{PORT}",
    metavar="[HOST:PORT]",
    help="serve the same in a browser",
)
def main(
    url: str | None,
    home: Path | None,
    *,
    read_only: bool,
    record: Path | None,
    replay: Path | None,
    web: str | None,
) -> None:
    """See and steer the learners of a fabric from a terminal. ? helps; q leaves, and the fabric goes on."""
    try:
        if record and replay:
            raise UsageError("--record and --replay exclude each other")
        if web:
            command = _same_but_web(home, read_only=read_only, record=record, replay=replay)
            _serve(web, command, url, Home.find(home))
        else:
            _run(url, home, read_only=read_only, record=record, replay=replay)
    except FabricError as error:
        click.echo(f"fabric-tui: {error}", err=True)
        sys.exit(error.exit_code)


def _run(
    url: str | None, home_path: Path | None, *, read_only: bool, record: Path | None, replay: Path | None
) -> None:
    home = Home.find(home_path)
    config = Config.load(home, os.environ)
    gc.disable()
    try:
        from .app import FabricApp, Options
    except ModuleNotFoundError as error:
        raise missing_extra(error) from error
    from .peek import Peeker
    from .recording import Recorder, ReplaySource

    collect_rarely()
    recorder = Recorder(record) if record else None
    options = Options(
        read_only=read_only,
        replaying=replay is not None,
        by=f"{getpass.getuser()}@{socket.gethostname()}",
        keys=known_keys(config.keys),
        recorder=recorder,
        peeker=None if replay else Peeker(home.path, url),
        parent=os.getppid() if "TEXTUAL_DRIVER" in os.environ else None,
    )
    played = ReplaySource(replay) if replay else None
    open_source: Callable[[], Source] = (lambda: played) if played else live_source(home, url)
    app = FabricApp(open_source, options)
    try:
        app.run()
    finally:
        if recorder is not None:
            recorder.close()
    if app.return_code:
        sys.exit(app.return_code)


def collect_rarely() -> None:
    """Look for cyclic garbage less often, and never among what is imported: a tenth of the start went there."""
    gc.freeze()
    gc.set_threshold(10_000, 20, 20)
    gc.enable()


def live_source(home: Home, url: str | None) -> Callable[[], Source]:
    """Opens the fabric's Redis; address and password are read anew each time, for both may change."""

    def open_source() -> Source:
        from .live import LiveSource

        config = Config.load(home, os.environ)
        return LiveSource(locate(home, config, url), config.name)

    return open_source


def known_keys(keys: Mapping[str, str]) -> Mapping[str, str]:
    """The [keys] of the config file; UsageError for an id that nothing has."""
    from .helping import KEY_IDS

    for id in keys:
        if id not in KEY_IDS:
            raise UsageError(f"[keys]: nothing has the id {id!r}; there are {', '.join(sorted(KEY_IDS))}")
    return keys


def missing_extra(error: ModuleNotFoundError) -> MissingExtraError:
    """What to type to get what is missing."""
    return MissingExtraError(f"{error.name} is not installed; pip install 'adaptive-fabric[tui]' brings it")


# -- in a browser ----------------------------------------------------------------------------------------------------


def _same_but_web(home: Path | None, **options: Any) -> list[str]:
    command = [sys.executable, "-m", "fabric_tui"]
    if home is not None:
        command += ["--home", str(home)]
    for name in ("record", "replay"):
        if options[name] is not None:
            command += [f"--{name}", str(options[name])]
    return [*command, "--read-only"] if options["read_only"] else command


def host_and_port(text: str) -> tuple[str, int]:
    """The address in ``HOST:PORT``, ``HOST`` or ``:PORT``; UsageError."""
    host, colon, port = text.rpartition(":") if ":" in text else (text, "", "")
    if colon and not (port.isdecimal() and 0 < int(port) < 65536):
        raise UsageError(f"--web {text}: give HOST:PORT, such as 127.0.0.1:{PORT}")
    return host.strip("[]") or "127.0.0.1", int(port) if colon else PORT


def _serve(where: str, command: list[str], url: str | None, home: Home) -> None:
    host, port = host_and_port(where)
    try:
        from .web import WebServer
    except ModuleNotFoundError as error:
        raise missing_extra(error) from error
    try:
        home.path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise HomeError(f"cannot make the folder {home.path} for the token: {error.strerror}") from error
    if url:
        # A URL may hold a password, and a command line can be read by everybody on the host.
        os.environ["FABRIC_URL"] = url
    WebServer(command, host, port, token=create_secret(home.web_token), token_file=home.web_token).listen()

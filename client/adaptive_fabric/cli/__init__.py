"""The ``fabric`` command. Only click is imported here; a command's module is imported when it is called."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import NoReturn

import click

from fabric_broker.errors import FabricError

COMMANDS = {
    "up": ("server", "Start the server and the submitter of this home."),
    "down": ("server", "Drain the jobs, stop the submitter, then the server; runs stay."),
    "submit": ("submit", "Submit the learners that a Python file defines."),
    "status": ("show", "Show the fabric: server, submitter, pools, runs."),
    "runs": ("show", "List runs."),
    "learners": ("show", "List the learners of a run."),
    "jobs": ("show", "List jobs."),
    "pools": ("show", "List pools."),
    "logs": ("logs", "Print the log of a job or a learner."),
    "explain": ("explain", "Say why a learner, a job, a pool or a run is not running."),
    "cancel": ("act", "Cancel a run, a learner or a job."),
    "retry": ("act", "Queue failed, quarantined and cancelled learners again."),
    "pause": ("act", "Let go of a run or a learner; its data stay."),
    "resume": ("act", "Go on with what was paused."),
    "prioritize": ("act", "Change a priority; higher goes first."),
    "pool": ("pool", "Add, show, resume or remove a pool."),
    "scale": ("act", "Change how many jobs a pool may have."),
    "results": ("results", "Write a run's data as one table."),
    "save": ("results", "Save each learner of a run to a file for learner.load()."),
    "doctor": ("checks", "Check that everything the fabric needs is in order."),
    "config": ("settings", "Show the settings."),
    "key": ("settings", "Export the key that signs learners and data."),
    "demo": ("demo", "Run 20 learners on 2 local jobs and kill one half-way."),
}
"""Command → (module, help). The help stands here so that ``fabric --help`` imports none of the modules."""

INTERRUPTED = 130
"""Exit code after Ctrl-C, as shells have it."""


class Commands(click.Group):
    """The group whose commands are imported when they are called."""

    def list_commands(self, _ctx: click.Context) -> list[str]:
        """All names, in the order of the table."""
        return list(COMMANDS)

    def get_command(self, _ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command, imported now; None if there is none of that name."""
        if cmd_name not in COMMANDS:
            return None
        module, text = COMMANDS[cmd_name]
        command: click.Command = getattr(import_module(f"adaptive_fabric.cli.{module}"), cmd_name)
        command.short_help = text
        return command

    def format_commands(self, _ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])


@click.group(
    cls=Commands,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.option(
    "--url", metavar="URL", help="A Redis server: redis://, rediss:// or unix:// (else $FABRIC_URL)."
)
@click.option("--home", metavar="DIR", help="The fabric's folder (else $FABRIC_HOME).")
@click.version_option(package_name="adaptive-fabric", prog_name="fabric")
@click.pass_context
def cli(ctx: click.Context, url: str | None, home: str | None) -> None:
    """Run adaptive learners in batch jobs; nothing is lost when a job dies.

    RUN is a name or an id; LEARNER an id, or a NAME with --run RUN; JOB an id; POOL a name.
    """
    from .opening import Opening

    ctx.obj = Opening(url, home)
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and exit: 0, or the error's exit code after one line on stderr."""
    sys.exit(run(arguments))


def run(arguments: Sequence[str] | None = None) -> int:
    """Run one command; answers the exit code."""
    try:
        code = cli.main(arguments, prog_name="fabric", standalone_mode=False)
        sys.stdout.flush()
    except click.exceptions.Exit as stop:
        return stop.exit_code
    except click.ClickException as error:
        return _fail(_usage(error), error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        return _fail("interrupted", INTERRUPTED)
    except FabricError as error:
        return _fail(str(error), error.exit_code)
    except BrokenPipeError:
        # Whoever read our output went away (`fabric learners | head`); Python must not complain at its exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:  # noqa: BLE001 - the last resort: users get a line, not a traceback
        return _unexpected(error)
    return code if isinstance(code, int) else 0


def _fail(text: str, code: int) -> int:
    click.echo(f"fabric: {' '.join(text.split())}", err=True)
    return code


def _usage(error: click.ClickException) -> str:
    context = error.ctx if isinstance(error, click.UsageError) else None
    where = context.command_path.removeprefix("fabric").strip() if context is not None else ""
    return f"{where}: {error.format_message()}" if where else error.format_message()


def _unexpected(error: Exception) -> int:
    """A bug of ours; FABRIC_DEBUG=1 shows the traceback."""
    if os.environ.get("FABRIC_DEBUG"):
        raise error
    return _fail(f"{type(error).__name__}: {error} (FABRIC_DEBUG=1 shows where)", 1)

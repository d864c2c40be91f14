"""The first line of every screen, and what is told when there is nothing else to see yet."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.text import Text

from . import words
from .model import Model

SMALLEST = (80, 24)


@dataclass(frozen=True, slots=True)
class Badges:
    """What the app itself is in."""

    read_only: bool = False
    frozen: bool = False
    recording: bool = False
    replaying: bool = False


def health_line(
    model: Model, badges: Badges, now: float, retry_in: float, screens: Sequence[tuple[str, bool]]
) -> Text:
    """Connection, fabric, screens; ``retry_in`` is in seconds, ``screens`` are titles with whether it is that one."""
    line = Text(no_wrap=True, overflow="ellipsis")
    if model.connection == "live":
        line.append(" ● live ", "bold green")
    elif model.connection == "stale":
        line.append(f" ○ stale, {words.age(now, model.now)} old ", "bold yellow")
    else:
        line.append(" ◌ connecting ", "bold cyan")
    if model.trouble is not None:
        line.append(f"{_trouble_word(model)}retry {model.trouble.attempt} in {retry_in:.0f} s ", "bold red")
    if badges.frozen:
        line.append(f"‖ frozen, {words.age(now, model.now)} old ", "bold magenta")
    if badges.read_only:
        line.append("read-only ", "bold magenta")
    if badges.recording:
        line.append("recording ", "bold red")
    if badges.replaying:
        line.append("replay ", "bold magenta")
    for number, (title, here) in enumerate(screens, 1):
        line.append(f" {number}", "dim")
        line.append(f" {title} ", "reverse bold" if here else "")
    line.append(f"  {words.clean(model.fabric)}", "bold")
    return line


def _trouble_word(model: Model) -> str:
    words_of = {"password": "wrong password, ", "schema": "other release, "}
    return words_of.get(model.trouble.kind, "") if model.trouble else ""


def notice(model: Model, retry_in: float) -> Text | None:
    """What is told instead of the screens: connecting, wrong password, another release's schema, nothing there yet."""
    trouble = model.trouble
    if trouble is not None and (model.connection == "connecting" or trouble.kind == "schema"):
        titles = {
            "password": "✘ Wrong password",
            "schema": "✘ The records are of another release",
            "other": "✘ Cannot read the fabric",
        }
        text = Text(f"{titles.get(trouble.kind, '◌ Connecting')}\n\n", "bold")
        text.append(f"{words.clean(trouble.text)}\n\n")
        return text.append(
            f"retry {trouble.attempt} in {retry_in:.0f} s; ctrl+r tries now, ctrl+q leaves", "dim"
        )
    if model.connection == "connecting":
        return Text("◌ Connecting …", "bold")
    if not model.learners and not model.runs:
        text = Text("○ Nothing here yet\n\n", "bold")
        text.append("No run was submitted to this fabric. To submit one, type in another terminal:\n\n")
        text.append("    fabric submit FILE.py\n\n", "bold green")
        return text.append(
            "FILE.py defines a list `learners`; this screen shows them as soon as they are there.", "dim"
        )
    return None


def too_small(width: int, height: int) -> Text | None:
    """What is told when there is no room, else None."""
    if width >= SMALLEST[0] and height >= SMALLEST[1]:
        return None
    return Text(f"too small: {width}×{height}\nneeds {SMALLEST[0]}×{SMALLEST[1]}", "bold", justify="center")

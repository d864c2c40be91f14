"""Help for the screen at hand, made from the bindings that are in force, and the text of a failed task."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from rich.text import Text

from . import words
from .actions import ALL_ACTIONS
from .model import Model

if TYPE_CHECKING:
    from .app import FabricApp

_ABOUT: Final = {
    "overview": "How the fabric is: who is alive, learners by state, rates, runs, and the five worst problems. "
    "tab goes from the runs to the problems; enter shows the learners behind a row.",
    "learners": "Every learner. The filter takes terms that must all hold: "
    "state:failed node:n12 loss>0.1 age>2h !pool:gpu text. "
    "Actions are for all that is marked, or else for the learner under the cursor. "
    "From 120 columns on the detail is beside, and enter goes there; below that, enter opens it.",
    "jobs": "Scheduler jobs: what the scheduler calls them, where they run, how much walltime is left, what they hold. "
    "enter shows a job's learners, l follows its log.",
    "pools": "Kinds of jobs: N is how many there may be, wanted is what the submitter aims at now. "
    "A pool whose jobs die young backs off, and gives up in the end (open circuit). enter shows a pool's jobs.",
    "events": "Every change of state, newest first, and who asked for what. enter opens the learner.",
    "control": "RQ's queue of short tasks (submit, cancel): which wait, run or failed. "
    "enter shows a task's traceback.",
}
_KEYS: Final = (
    ("move.down", "down"),
    ("move.up", "up"),
    ("move.first", "first row"),
    ("move.last", "last row"),
    ("open", "open, or show what belongs to it"),
    ("back", "back: filter, marks, detail"),
    ("filter", "filter"),
    ("sort", "sort by a column"),
    ("sort.reverse", "the other way round"),
    ("mark", "mark"),
    ("mark.all", "mark all shown, or none"),
    ("problems", "problems only"),
    ("log", "follow the log"),
    ("detail.data", "draw the learner's data"),
    ("copy", "copy"),
    ("freeze", "freeze: read nothing"),
    ("reconnect", "try the connection now"),
    ("palette", "palette"),
    ("help", "this help"),
    ("quit", "quit; the fabric goes on"),
)
_DEFAULTS: Final = {
    "move.down": "j, down",
    "move.up": "k, up",
    "move.first": "g, home",
    "move.last": "G, end",
    "open": "enter",
    "back": "esc",
    "filter": "/",
    "sort": "s",
    "sort.reverse": "S",
    "mark": "space",
    "mark.all": "a",
    "problems": "ctrl+z",
    "log": "l",
    "detail.data": "d",
    "copy": "y",
    "freeze": "p",
    "reconnect": "ctrl+r",
    "palette": "ctrl+p",
    "help": "?",
    "quit": "q, ctrl+q",
    **{action.id: action.key for action in ALL_ACTIONS},
}
KEY_IDS: Final = frozenset(
    {*_DEFAULTS, "move.page_down", "move.page_up", "overview.other", "detail.down", "detail.up", "detail.top"}
    | {"detail.bottom", "log.down", "log.up", "log.top", "log.bottom"}
    | {f"screen.{name}" for name in _ABOUT}
)
"""What can be rebound in the config file."""


def key_of(app: FabricApp, id: str) -> str:
    """The key of an action, as it is bound now."""
    return app.options.keys.get(id, _DEFAULTS.get(id, ""))


def help_text(app: FabricApp, screen: str) -> Text:
    """What the screen shows, and the keys that work there."""
    text = Text(f"{screen.capitalize()}\n\n", "bold")
    text.append(f"{_ABOUT[screen]}\n\n")
    text.append("1 … 6", "bold cyan").append(
        "  screens: overview, learners, jobs, pools, events, control plane\n\n"
    )
    actions = [action for action in ALL_ACTIONS if app.check_action("act", (action.id,))]
    for action in actions:
        text.append(f"{key_of(app, action.id):>9}", "bold cyan").append(
            f"  {action.title}: {action.effect.replace('{number}', 'N')}\n"
        )
    if actions:
        text.append("\n")
    for id, meaning in _KEYS:
        text.append(f"{key_of(app, id):>9}", "bold cyan").append(f"  {meaning}\n")
    text.append("\nKeys can be changed by their id, in [keys] of config.toml: ", "dim")
    return text.append('"learner.retry" = "f5"', "dim")


def task_text(model: Model, id: str) -> Text:
    """All of one control-plane task."""
    tasks = model.control.tasks if model.control else ()
    task = next((task for task in tasks if task.id == id), None)
    if task is None:
        return Text(f"task {id} is gone", "dim")
    text = Text(f"{words.clean(task.id)}\n", "bold")
    text.append(f"{task.kind}  {words.clean(task.description)}\n\n")
    for line in task.traceback.splitlines():
        text.append(f"{words.clean(line)}\n", "red")
    return text

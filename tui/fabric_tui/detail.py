"""The text of a learner's detail: everything about it, in order of what one asks first."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from rich.text import Text

from fabric_broker.view import LearnerView
from fabric_broker.watch import Inspected

from . import words
from .model import Model
from .peek import Data
from .plots import heat_map, line_plot
from .problems import error_of, why

_HEAD = "bold cyan"
_QUIET = "dim"


@dataclass(frozen=True, slots=True)
class Frame:
    """How much room there is; ``whole``: a screen of its own, with all of the log and the traceback."""

    width: int
    whole: bool
    plot_height: int = 9


def detail(model: Model, learner: str, now: float, frame: Frame, data: Data | None = None) -> Text:
    """All that is known of a learner."""
    view = model.learners.get(learner)
    text = Text(no_wrap=False)
    if view is None:
        return text.append(f"{learner} is gone", _QUIET)
    inspected = model.inspected.get(learner)
    _head(text, model, view)
    for sentence in why(model, view, inspected):
        text.append(f"{words.clean(sentence)}\n")
    _facts(text, model, view, inspected, now)
    _error(text, inspected, frame)
    _losses(text, model, view, inspected, frame)
    _data(text, data, frame)
    _history(text, model, view, now, frame)
    _log(text, model, view, frame)
    return text


def _head(text: Text, model: Model, view: LearnerView) -> None:
    told, style = words.state(words.LEARNER, view.state)
    text.append(f"{words.clean(model.name(view.id))}\n", "bold")
    text.append(f"{view.id}  run {words.clean(model.run_name(view.run))}  pool {view.pool}\n", _QUIET)
    text.append(told, style)
    asked = model.requests.of(view.id)
    if asked:
        text.append(f"   » {asked.verb} requested", "bold yellow")
    text.append("\n")


def _facts(text: Text, model: Model, view: LearnerView, inspected: Inspected | None, now: float) -> None:
    text.append("\n")
    for name, value in _fact_rows(model, view, inspected, now):
        text.append(f"{name:<11}", _QUIET)
        text.append(f"{words.clean(value)}\n")


def _fact_rows(
    model: Model, view: LearnerView, inspected: Inspected | None, now: float
) -> Iterator[tuple[str, str]]:
    fields = inspected.fields if inspected else {}
    run = inspected.run if inspected else {}
    yield "points", f"{view.npoints:,}   loss {words.short(view.loss)}"
    if run.get("goal"):
        yield "goal", run["goal"]
    yield "attempts", f"{view.attempts} of {run.get('attempts', '?')}   priority {view.priority}"
    yield "since", f"{words.age(now, view.since)} ago"
    if view.job is not None:
        node = model.node(view.job)
        yield "job", f"{view.job} slot {view.slot}{f' on {node}' if node else ''}"
    if inspected is not None and inspected.until is not None and view.state == "leased":
        left = inspected.until - now
        yield "lease", f"{words.duration(left)} left" if left >= 0 else f"ended {words.duration(-left)} ago"
    if view.token:
        yield "token", str(view.token)
    if fields.get("leased_ms"):
        yield "leased for", words.duration(int(fields["leased_ms"]) / 1000)
    if inspected is None:
        return
    pointer = inspected.checkpoint
    if pointer is None:
        yield "checkpoint", "none yet"
    else:
        made = fields.get("checkpoint_at")
        told = f"{words.age(now, int(made) / 1000)} old, " if made else ""
        yield "checkpoint", f"{told}{words.size(pointer.size)}, covers {pointer.upto:,} points"
    yield "journal", words.plural(inspected.batches, "batch", "batches")


def _error(text: Text, inspected: Inspected | None, frame: Frame) -> None:
    problem = error_of(inspected)
    if not problem:
        return
    text.append("\nLast error\n", _HEAD)
    line = (
        f"{problem.get('type', '')}: {problem.get('text', '')}"
        if problem.get("type")
        else problem.get("text", "")
    )
    if line:
        text.append(f"{words.clean(str(line))}\n", "bold red")
    for name in ("point", "node", "signal"):
        if problem.get(name) is not None:
            text.append(f"{name:<11}", _QUIET)
            text.append(f"{words.clean(str(problem[name]))}\n")
    lines = str(problem.get("traceback", "")).rstrip().splitlines() or [
        str(each) for each in problem.get("log", ())
    ]
    for each in lines if frame.whole else lines[-6:]:
        text.append(f"{words.clean(each)}\n", "red")


def _losses(text: Text, model: Model, view: LearnerView, inspected: Inspected | None, frame: Frame) -> None:
    losses = model.losses.of(view.id)
    if len(losses) < 2:
        return
    positive = all(loss > 0 for _, loss in losses)
    goal = _loss_goal(inspected.run.get("goal", "") if inspected else "")
    lines = line_plot(losses, frame.width, frame.plot_height, logarithmic=positive, goal=goal)
    if lines:
        scale = ", logarithmic" if positive else ""
        text.append(f"\nLoss against points{scale}{', goal dashed' if goal is not None else ''}\n", _HEAD)
        text.append("\n".join(lines) + "\n", "green")


def _loss_goal(goal: str) -> float | None:
    """The loss in a goal like "loss <= 0.01"."""
    _, sign, number = goal.partition("<=")
    try:
        return float(number) if sign and "loss" in goal else None
    except ValueError:
        return None


def _data(text: Text, data: Data | None, frame: Frame) -> None:
    if data is None:
        text.append("\nData  ", _HEAD)
        text.append("d draws them\n", _QUIET)
        return
    text.append(f"\nData{f', {len(data.points):,} points' if data.points else ''}\n", _HEAD)
    height = frame.plot_height + 3
    if data.kind == "1d":
        lines = line_plot([(point[0], point[1]) for point in data.points], frame.width, height)
    elif data.kind == "2d":
        lines = heat_map([(point[0], point[1], point[2]) for point in data.points], frame.width, height)
    else:
        lines = []
    text.append(
        "\n".join(lines) + "\n" if lines else f"{words.clean(data.text or 'too few points to draw')}\n"
    )


def _history(text: Text, model: Model, view: LearnerView, now: float, frame: Frame) -> None:
    events = model.events.of(view.id)
    text.append("\nHistory\n", _HEAD)
    shown = events if frame.whole else events[-6:]
    if not shown:
        text.append(
            "no event of it is kept any more\n" if model.events.complete else "none known yet\n", _QUIET
        )
    for event in reversed(shown):
        text.append(f"{words.age(now, event.at):>6} ago  ", _QUIET)
        if event.event == "asked":
            told = f"{event.more.get('by', '')} asked: {event.more.get('verb', '')}"
            text.append(f"{words.clean(told)}\n", "bold magenta")
            continue
        style = words.LEARNER.get(event.target, words.Look("", "")).style
        text.append(f"{event.target:<12}", style)
        text.append(f"{event.event} {words.clean(event.more.get('job', ''))}\n")


def _log(text: Text, model: Model, view: LearnerView, frame: Frame) -> None:
    if model.log_job != (model.last_job(view.id) or ""):
        return
    lines = [line for line in model.log if line.learner in ("", view.id)]
    if not lines:
        return
    text.append(f"\nLog of {model.log_job}\n", _HEAD)
    for line in lines[-200:] if frame.whole else lines[-6:]:
        text.append(f"{words.clock(line.at)} ", _QUIET)
        text.append(f"{words.clean(line.text)}\n")

"""The demo's picture: every curve as it was learned, and where it was sampled."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fabric_broker.errors import MissingExtraError

from .example import FACTORS, POWERS


def plot(learners: Sequence[Any], file: Path) -> Path:
    """Write the picture; MissingExtraError without matplotlib."""
    try:
        from matplotlib import colormaps
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ModuleNotFoundError:
        raise MissingExtraError("matplotlib is needed to plot: pip install 'adaptive-fabric[plot]'") from None

    figure = Figure(figsize=(11, 5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, len(FACTORS))
    shades = colormaps["viridis"]
    for axis, a in zip(axes, FACTORS, strict=True):
        for learner in learners:
            arguments = learner.function.keywords
            if arguments["a"] == a and learner.data:
                xs, ys = zip(*sorted(learner.data.items()), strict=True)
                colour = shades(arguments["pow"] / max(POWERS))
                axis.plot(xs, ys, color=colour, linewidth=1.4, label=f"{arguments['pow']}")
                axis.plot(xs, ys, ".", color=colour, markersize=3, alpha=0.6)
        _dress(axis, a)
    axes[-1].legend(title="pow", loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False)
    points = sum(len(learner.data) for learner in learners)
    figure.suptitle(f"{len(learners)} learners, {points} points, one job killed half-way", fontsize=13)
    figure.savefig(file, dpi=150)
    return file


def _dress(axis: Any, a: float) -> None:
    axis.set_title(f"h(x) = {a} · x$^{{pow}}$", fontsize=11)
    axis.set_xlabel("x")
    axis.set_ylabel("h")
    axis.set_xlim(-1.03, 1.03)
    axis.grid(color="0.92")
    axis.set_axisbelow(True)
    for side in ("top", "right"):
        axis.spines[side].set_visible(False)

"""A learner's data, read in a process of its own: to unpickle it imports adaptive and the user's modules.

``python -m fabric_tui.peek --home H LEARNER`` prints one JSON object: "kind" (as in `Data`), "points", "text".
The bytes are verified with the home's ``work.key`` before anything is unpickled.
"""

from __future__ import annotations

import asyncio
import json
import numbers
import os
import sys
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import click

from fabric_broker.errors import FabricError

MOST_POINTS: Final = 4000
TIMEOUT: Final = 60.0
"""Seconds that the process may take."""

DataKind = Literal["1d", "2d", "none"]


@dataclass(frozen=True, slots=True)
class Data:
    """What can be plotted of a learner; ``text`` says why nothing can."""

    kind: DataKind
    points: tuple[tuple[float, ...], ...] = ()
    text: str = ""


class Peeker:
    """Reads learners' data, one process at a time."""

    def __init__(self, home: Path, url: str | None) -> None:
        self._home = home
        self._environment = os.environ | ({"FABRIC_URL": url} if url else {})
        self._turn = asyncio.Lock()

    async def data(self, learner: str) -> Data:
        """The data of a learner; whatever goes wrong is told in the text."""
        command = [sys.executable, "-m", "fabric_tui.peek", "--home", str(self._home), learner]
        async with self._turn:
            process = await asyncio.create_subprocess_exec(
                *command,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                env=self._environment,
            )
            try:
                told, errors = await asyncio.wait_for(process.communicate(), TIMEOUT)
            except TimeoutError:
                return Data("none", text=f"its data could not be read within {TIMEOUT:.0f} s")
            finally:
                if process.returncode is None:
                    process.kill()
                    await process.wait()
        try:
            read = json.loads(told)
            return Data(read["kind"], tuple(tuple(point) for point in read["points"]), read["text"])
        except (ValueError, KeyError):
            last = errors.decode(errors="replace").strip().rpartition("\n")[2]
            return Data("none", text=last or "its data could not be read")


def to_data(learner: Any) -> Data:
    """What can be plotted of an adaptive learner: numbers over one number, or over two."""
    told: Any = getattr(learner, "data", None)
    if not isinstance(told, Mapping):
        return Data("none", text=f"a {type(learner).__name__} has no data that could be drawn")
    points: list[tuple[float, ...]] = []
    for x, y in told.items():
        point = (*_coordinates(x), *_coordinates(y))
        if len(point) not in (2, 3) or len(_coordinates(x)) > 2:
            return Data("none", text=f"its points have {len(point)} numbers; only 2 or 3 can be drawn")
        points.append(point)
    if not points:
        return Data("none", text="it has no points yet")
    if len({len(point) for point in points}) != 1:
        return Data("none", text="its points are of several kinds")
    step = max(1, -(-len(points) // MOST_POINTS))
    kept = tuple(sorted(points)[::step])
    return Data("1d" if len(points[0]) == 2 else "2d", kept)


def _coordinates(value: Any) -> tuple[float, ...]:
    if isinstance(value, numbers.Real):
        return (float(value),)
    if isinstance(value, numbers.Complex):
        return (abs(complex(value)),)
    try:
        return tuple(float(part) for part in value)
    except (TypeError, ValueError):
        return (0.0,) * 9  # what cannot be drawn has too many


@click.command()
@click.option("--home", required=True, type=click.Path(path_type=Path))
@click.argument("learner")
def main(home: Path, learner: str) -> None:
    """Print the data of LEARNER as JSON."""
    from adaptive_fabric.results import Reader
    from fabric_broker.broker import Broker
    from fabric_broker.config import Config
    from fabric_broker.connection import connect, locate
    from fabric_broker.home import Home
    from fabric_broker.keys import split_learner_id
    from fabric_broker.signing import Signer, load_key

    place = Home.find(home)
    config = Config.load(place, os.environ)
    try:
        with closing(connect(locate(place, config))) as redis:
            broker = Broker(redis, config.name)
            reader = Reader(
                broker, Signer(load_key(place.work_key), config.name), split_learner_id(learner)[0]
            )
            found: Sequence[Any] = list(reader.learners([learner]))
    except FabricError as error:
        data = Data("none", text=str(error))
    else:
        data = to_data(found[0])
    click.echo(json.dumps({"kind": data.kind, "points": data.points, "text": data.text}))


if __name__ == "__main__":
    main()

"""How a slot under MPI is started, and what is wrong when it does not come up. Pure, but for looks at the machine."""

from __future__ import annotations

import importlib.util
import os
import shlex
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from fabric_broker.config import Config

TOGETHER: Final[Mapping[str, str]] = {"SLURM_KILL_BAD_EXIT": "1"}
"""Has srun end all ranks when one dies, as every mpiexec does by itself: a rank that is gone is waited for forever."""
_LAST_LINES: Final = 5
_TEXT_CHARS: Final = 1_500


@dataclass(frozen=True, slots=True)
class World:
    """What is asked of MPI for one slot."""

    command: str
    """the setting `mpiexec`: words, in which {ranks}, {nodes} and {ranks_per_node} stand for numbers"""
    ranks: int
    nodes: int
    patience: float
    """seconds within which all ranks must be up"""

    @property
    def workers(self) -> int:
        """Ranks that evaluate; rank 0 manages."""
        return self.ranks - 1

    @property
    def program(self) -> str:
        """The name of what starts the ranks."""
        return Path(shlex.split(self.command)[0]).name

    def words(self) -> list[str]:
        """The command before that of a rank."""
        numbers = {"ranks": self.ranks, "nodes": self.nodes, "ranks_per_node": self.ranks // self.nodes}
        return [word.format(**numbers) for word in shlex.split(self.command)]

    def failure(self, what: str, last_words: Sequence[str]) -> str:
        """What happened to the command, which, and what it said last."""
        said = " / ".join(line for line in last_words[-_LAST_LINES:] if line.strip())
        text = f"{shlex.join(self.words())} {what}"
        return (f"{text}; it said: {said}" if said else text)[:_TEXT_CHARS]


def world_of(spec: Mapping[str, Any], config: Config) -> World | None:
    """How the slots of a pool are started under MPI; None for pools of other executors."""
    if spec["executor"] != "mpi4py":
        return None
    return World(config.mpiexec, spec["cores"], spec.get("nodes", 1), config.start_timeout)


def find_program(name: str, env: Mapping[str, str]) -> str | None:
    """The path of what starts ranks: beside this Python, where the wheels of MPI put theirs, else on PATH."""
    if os.sep in name:
        return shutil.which(name)
    return shutil.which(name, path=str(Path(sys.executable).parent)) or shutil.which(
        name, path=env.get("PATH", os.defpath)
    )


def unable(world: World, env: Mapping[str, str]) -> str | None:
    """Why slots under MPI cannot be started here, or None."""
    if importlib.util.find_spec("mpi4py") is None:
        return "mpi4py is not installed here: pip install 'adaptive-fabric[mpi]'"
    program = shlex.split(world.command)[0]
    if find_program(program, env) is None:
        return (
            f"there is no {program!r} beside {sys.executable} or on PATH: load the module of an MPI in preamble=, "
            "or pip install mpich, or name the command in the setting mpiexec"
        )
    return None


def misfit(world: World, size: int, library: str) -> str:
    """What to say of a world that has another size than was asked for."""
    text = f"made a world of {size} where {world.ranks} ranks were asked for"
    if size == 1:
        text += f", so each rank is alone: this command does not start mpi4py's library here ({library})"
    return text

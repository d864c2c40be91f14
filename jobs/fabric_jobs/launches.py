"""The agent's side of slots under MPI: start mpiexec for each, have rank 0 knock, give it its pipes, watch both.

The counterpart of `forks` with the same face. Light: the agent imports this, and all waiting is asyncio's.
"""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import shutil
import signal
import socket
import struct
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from fabric_broker.lock import ProcessId

from .channel import open_pipe
from .forks import MESSAGE_BYTES, Ended, Forked, ForkServerError, thread_limits
from .mpi import TOGETHER, World, find_program, misfit, unable
from .output import Lines
from .pipes import Reading
from .sweep import marked

TAG: Final = "FABRIC_SLOT_TAG"
"""What all processes of one mpiexec on this node carry in their environment."""
END_PATIENCE: Final = 3.0
"""Seconds that mpiexec gets to clear its ranks away, after rank 0 ended or after TERM; then it is killed."""
_LATE_WORD: Final = 0.5
_CLEAR_INTERVAL: Final = 0.05
_PEER: Final = struct.Struct("3i")
_SOCKET_PATH_BYTES: Final = 107


class Launches:
    """The MPI slots of a job, seen from the agent.

    Parameters
    ----------
    world
        How they are started.
    env
        Their environment; what it says about threads of libraries wins over `num_threads`.
    on_print
        Called with what a slot's ranks and its mpiexec print, from the start on.
    on_end
        Called for each slot that was started and ended, when nothing of it is left on this node.
    """

    def __init__(
        self,
        *,
        world: World,
        home: Path,
        fabric: str,
        node: str,
        env: Mapping[str, str],
        num_threads: int,
        on_print: Callable[[int, bytes], None],
        on_end: Callable[[Ended], None],
    ) -> None:
        self._world = world
        self._arguments = ["--home", str(home), "--fabric", fabric, "--node", node]
        self._env = {**TOGETHER, **thread_limits(num_threads), **env}
        self._on_print = on_print
        self._on_end = on_end
        self._slots: dict[int, _Slot] = {}

    async def fork(self, serial: int) -> Forked:
        """Start a slot.

        Raises
        ------
        ForkServerError
            It did not come up, or not as it was asked for; the message says why, with numbers and last words.
        """
        slot = self._slots[serial] = _Slot(serial, self._world, lambda data: self._on_print(serial, data))
        try:
            forked = await slot.start(self._arguments, self._env)
        except BaseException:
            await slot.end()
            del self._slots[serial]
            raise
        slot.watching = asyncio.create_task(self._watch(slot), name=f"mpiexec of {serial}")
        return forked

    def end(self, serial: int) -> None:
        """End a slot, whatever it does; `on_end` tells when it is gone, or `fork` raises if it was not up yet."""
        if serial in self._slots:
            self._slots[serial].told_to_end.set()

    async def close(self) -> None:
        """End all slots; `on_end` is not called any more."""
        for slot in list(self._slots.values()):
            if slot.watching is not None:
                slot.watching.cancel()
        await asyncio.gather(*(slot.end() for slot in self._slots.values()))
        self._slots.clear()

    async def _watch(self, slot: _Slot) -> None:
        status = await slot.ended()
        del self._slots[slot.serial]
        self._on_end(Ended(slot.serial, slot.pid, status, self._world.program))


@dataclass(frozen=True, slots=True)
class _Knock:
    """Rank 0's connection, and what it said first."""

    peer: socket.socket
    pid: int
    size: int
    library: str


class _Slot:
    """One mpiexec with its ranks; `pid` is that of rank 0."""

    def __init__(self, serial: int, world: World, on_print: Callable[[bytes], None]) -> None:
        self.serial = serial
        self.pid = 0
        self._zero: ProcessId | None = None
        self.told_to_end = asyncio.Event()
        self.watching: asyncio.Task[None] | None = None
        self._world = world
        self._on_print = on_print
        self._tag = secrets.token_hex(8)
        self._lines = Lines()
        self._process: asyncio.subprocess.Process | None = None
        self._peer: socket.socket | None = None
        self._out: Reading | None = None
        self._stage = "none of its ranks came"
        self._loop = asyncio.get_running_loop()

    # -- start -------------------------------------------------------------------------------------------------------

    async def start(self, arguments: Sequence[str], env: Mapping[str, str]) -> Forked:
        problem = unable(self._world, env)
        if problem:
            raise ForkServerError(problem)
        folder = _private_folder()
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
            listener.setblocking(False)
            try:
                path = folder / "knock"
                listener.bind(str(path))
                listener.listen(self._world.ranks)  # worlds of one come as many
                await self._spawn([*arguments, "--socket", str(path)], env)
                return await self._bring_up(listener)
            finally:
                shutil.rmtree(folder, ignore_errors=True)

    async def _spawn(self, arguments: Sequence[str], env: Mapping[str, str]) -> None:
        world = self._world
        out, out_slot = open_pipe(65536)
        self._out = Reading(out, self._printed, lambda: True)
        python = [sys.executable, "-P", "-m"]
        ranks = [*python, "mpi4py.futures", "-m", "fabric_jobs.rank", "--ranks", str(world.ranks), *arguments]
        program, *rest = world.words()
        command = [find_program(program, env) or program, *rest, *ranks]
        try:
            self._process = await asyncio.create_subprocess_exec(
                *python,
                "fabric_jobs.deathsig",
                str(os.getpid()),
                *command,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=out_slot,
                stderr=out_slot,
                env={**env, TAG: self._tag},
            )
        finally:
            os.close(out_slot)

    async def _bring_up(self, listener: socket.socket) -> Forked:
        """Wait for rank 0 and its workers, for the end of mpiexec, or for the end of our patience."""
        assert self._process is not None
        coming = asyncio.create_task(self._come(listener))
        ending = asyncio.create_task(self._process.wait())
        told = asyncio.create_task(self.told_to_end.wait())
        try:
            async with asyncio.timeout(self._world.patience):
                await asyncio.wait((coming, ending, told), return_when=asyncio.FIRST_COMPLETED)
                if not coming.done() and not told.done():
                    # What a rank 0 still said tells more than the end of its mpiexec.
                    await asyncio.wait(
                        (coming, told), timeout=_LATE_WORD, return_when=asyncio.FIRST_COMPLETED
                    )
            if told.done():
                raise ForkServerError(self._failure("was ended before it was up"))
            if not coming.done():
                raise ForkServerError(self._failure(f"ended with {_code(ending.result())} before it was up"))
            knock = coming.result()
        except TimeoutError:
            text = f"was not up after {self._world.patience:g} s: {self._stage}"
            raise ForkServerError(self._failure(text)) from None
        except OSError as error:
            raise ForkServerError(self._failure(f"was lost while it came up: {error.strerror}")) from error
        finally:
            for task in (coming, ending, told):
                task.cancel()
            await asyncio.gather(coming, ending, told, return_exceptions=True)
        return self._hand_over(knock)

    async def _come(self, listener: socket.socket) -> _Knock:
        peer, _ = await self._loop.sock_accept(listener)
        self._peer = peer
        peer.setblocking(False)
        pid, uid, _ = _PEER.unpack(peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size))
        if uid != os.getuid():
            raise ForkServerError(self._failure(f"is not alone: user {uid} knocked in its place"))
        self.pid, self._zero = pid, ProcessId.of(pid)
        hello = await self._hear(peer)
        knock = _Knock(peer, pid, hello["size"], hello["library"])
        if knock.size != self._world.ranks:
            raise ForkServerError(self._failure(misfit(self._world, knock.size, knock.library)))
        self._stage = f"all {knock.size} ranks came, but the workers among them did not answer rank 0"
        workers = (await self._hear(peer))["workers"]
        if workers != self._world.workers:
            raise ForkServerError(self._failure(f"has {workers} workers in place of {self._world.workers}"))
        return knock

    async def _hear(self, peer: socket.socket) -> dict[str, Any]:
        message = await self._loop.sock_recv(peer, MESSAGE_BYTES)
        if not message:
            # Its mpiexec ends, too, and then says more.
            await asyncio.sleep(END_PATIENCE)
            raise ForkServerError(self._failure("lost its rank 0 while it came up"))
        news: dict[str, Any] = json.loads(message)
        return news

    def _hand_over(self, knock: _Knock) -> Forked:
        (up, up_slot), (down_slot, down), (out, out_slot) = open_pipe(), open_pipe(), open_pipe(65536)
        try:
            socket.send_fds(knock.peer, [b"pipes"], [up_slot, down_slot, out_slot])
        except OSError as error:
            for fd in (up, down, out):
                os.close(fd)
            raise ForkServerError(self._failure("lost its rank 0 when it was up")) from error
        finally:
            for fd in (up_slot, down_slot, out_slot):
                os.close(fd)
        return Forked(self.serial, knock.pid, up, down, out)

    def _failure(self, what: str) -> str:
        if self._out is not None:
            self._out.look()
        return self._world.failure(what, self._lines.last_words)

    def _printed(self, data: bytes) -> bool:
        self._lines.feed(data)
        self._on_print(data)
        return False

    # -- end ---------------------------------------------------------------------------------------------------------

    async def ended(self) -> int:
        """Wait for the end of mpiexec, made to end by that of rank 0 or by `told_to_end`; answers its wait status."""
        assert self._process is not None
        assert self._peer is not None
        over = asyncio.create_task(self._process.wait())
        gone = asyncio.create_task(self._until_gone(self._peer))
        told = asyncio.create_task(self.told_to_end.wait())
        try:
            await asyncio.wait((over, gone, told), return_when=asyncio.FIRST_COMPLETED)
            if not over.done() and not told.done():
                await asyncio.wait((over, told), timeout=END_PATIENCE, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (over, gone, told):
                task.cancel()
            await asyncio.gather(over, gone, told, return_exceptions=True)
        return await self.end()

    async def _until_gone(self, peer: socket.socket) -> None:
        with suppress(ConnectionResetError):
            await self._loop.sock_recv(peer, 1)

    async def end(self) -> int:
        """End mpiexec if it has not, and whatever it left on this node; answers its wait status."""
        code = 0
        process = self._process
        if self._zero is not None:
            # Ranks let TERM pass, and an mpiexec that was sent it may wait for them; none waits without its rank 0.
            self._zero.send(signal.SIGKILL)
        if process is not None:
            for number in (signal.SIGTERM, signal.SIGKILL):
                if process.returncode is None:
                    process.send_signal(number)
                    with suppress(TimeoutError):
                        async with asyncio.timeout(END_PATIENCE):
                            await process.wait()
            code = process.returncode or 0
        if process is not None:
            await self._clear()
        if self._peer is not None:
            self._peer.close()
        if self._out is not None:
            self._out.finish()
        return -code if code < 0 else code << 8

    async def _clear(self) -> None:
        """Kill what is left of the slot on this node; a process that is stuck in the kernel stays behind."""
        deadline = self._loop.time() + END_PATIENCE
        while left := list(marked({f"{TAG}={self._tag}"})):
            for pid in left:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            if self._loop.time() >= deadline:
                return
            await asyncio.sleep(_CLEAR_INTERVAL)


def _code(code: int) -> str:
    return f"exit code {code}" if code >= 0 else signal.Signals(-code).name


def _private_folder() -> Path:
    """A new folder that only this user can enter, on a disk of this node, with a path that a socket's fits into."""
    folder = Path(tempfile.mkdtemp(prefix="fabric-"))
    if len(os.fsencode(folder / "knock")) > _SOCKET_PATH_BYTES:
        folder.rmdir()
        folder = Path(tempfile.mkdtemp(prefix="fabric-", dir="/tmp"))
    return folder

"""Plays agent and Redis for slots: a ledger that keeps what they would keep, and a stand-in that forks real slots."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import cloudpickle

from fabric_broker.payload import RunPayload
from fabric_broker.records import Pointer
from fabric_broker.replay import points
from fabric_broker.signing import Signer
from fabric_broker.store import Store, checkpoint_path
from fabric_jobs import channel
from fabric_jobs.channel import Decoder, Down, Frame, Up
from fabric_jobs.forks import Ended, Forked, Forks

RUN = "r0000000a"
LEARNER = f"{RUN}.0"
ENDINGS = (Up.DONE, Up.RAISED, Up.STOPPED)


class Ledger:
    """One learner as Redis knows it, and the LEASE that a slot gets for it next."""

    def __init__(
        self,
        signer: Signer,
        store: Path,
        learner: Any,
        *,
        goal: Any = None,
        initializer: Any = None,
        runner_kwargs: dict[str, Any] | None = None,
        cwd: Path | None = None,
        sys_path: tuple[str, ...] = (),
        id: str = LEARNER,
        **record: Any,
    ) -> None:
        self.signer = signer
        self.id = id
        self.run = id.split(".", maxsplit=1)[0]
        self.store = Store(store)
        functions = cloudpickle.dumps({"goal": goal, "initializer": initializer})
        payload = RunPayload(str(cwd or Path.cwd()), sys_path, runner_kwargs or {}, functions)
        self.run_blob = signer.sign("run", payload.pack(), learner=self.run)
        self.learner_blob: bytes | None = signer.sign("learner", cloudpickle.dumps(learner), learner=id)
        self.journal: list[tuple[int, int, bytes]] = []
        self.seq = 0
        self.token = 100
        self.n = 0
        self.checkpoint: Pointer | None = None
        self.previous: Pointer | None = None
        self.frames: list[Frame] = []
        """what the slot said, but for points, in the last lease"""
        self.record: dict[str, Any] = {
            "save_interval": 60.0,
            "log_interval": 30.0,
            "executor": "serial",
            "cores": 2,
            "nodes": 1,
            "start_timeout": 120.0,
            "factory": None,
            "leased_s": 0.0,
            **record,
        }

    def lease(self) -> bytes:
        """A LEASE under a new token."""
        self.token += 1
        self.frames = []
        record = {
            "learner": self.id,
            "run": self.run,
            "name": "a name",
            "token": self.token,
            "seq": self.seq,
            "checkpoint": self.checkpoint and asdict(self.checkpoint),
            "previous": self.previous and asdict(self.previous),
            "next_n": self.n + 1,
            "store": str(self.store.base),
            **self.record,
        }
        blobs: list[tuple[list[Any], bytes]] = [(["run"], self.run_blob)]
        if self.learner_blob is not None:
            blobs.append((["learner"], self.learner_blob))
        for token, sequence, frame in self.journal:
            blob = self.signer.sign("journal", frame, learner=self.id, token=token, sequence=sequence)
            blobs.append((["journal", token, sequence, sequence], blob))
        return channel.encode_lease(record, blobs)

    def heard(self, frame: Frame) -> bool:
        """Take in what the slot said; True when it ends the lease."""
        if frame.kind == Up.POINT:
            self.seq += 1
            self.journal.append((self.token, self.seq, frame.raw))
            return False
        self.frames.append(frame)
        if frame.kind == Up.SAVED:
            self._commit(frame.json())
        return frame.kind in ENDINGS

    def _commit(self, saved: dict[str, Any]) -> None:
        if not saved["damaged"]:
            self.previous = self.checkpoint
        self.checkpoint = Pointer(*(saved[name] for name in ("token", "n", "upto", "size", "mac")))
        self.n = saved["n"]
        if self.previous is not None:
            upto = self.previous.upto
            self.journal = [entry for entry in self.journal if entry[1] > upto]

    def said(self, kind: Up) -> list[dict[str, Any]]:
        """The records of this kind in the last lease."""
        return [frame.json() for frame in self.frames if frame.kind == kind]

    def ending(self) -> tuple[Up, dict[str, Any]]:
        """How the last lease ended."""
        (last,) = [frame for frame in self.frames if frame.kind in ENDINGS]
        return Up(last.kind), last.json()

    def path(self, pointer: Pointer) -> Path:
        """Where a checkpoint lies."""
        return self.store.path(checkpoint_path(self.run, self.id, pointer.token, pointer.n))

    def journaled(self) -> list[tuple[Any, Any]]:
        """The points in the journal."""
        return list(points(b"".join(frame for _, _, frame in self.journal)))


class Agent:
    """Forks real slots and talks with them; use it in an event loop, as a context."""

    def __init__(self, home: Path, fabric: str = "default", num_threads: int = 1, **env: str) -> None:
        self._home = home
        self._fabric = fabric
        self._num_threads = num_threads
        self._env = {**os.environ, **env}
        self.ended: dict[int, Ended] = {}
        self.gone = asyncio.Event()
        self.slots: list[Seated | None] = []

    async def __aenter__(self) -> Agent:
        self.forks = Forks.start(
            home=self._home,
            fabric=self._fabric,
            node="n7",
            env=self._env,
            num_threads=self._num_threads,
            on_end=lambda end: self.ended.update({end.serial: end}),
            on_gone=self.gone.set,
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.forks.close()
        for slot in self.slots:
            if slot is not None:
                slot.close()

    def drop(self, slot: Seated) -> None:
        """Close the pipes of a slot."""
        slot.close()
        self.slots[slot.serial] = None

    async def slot(self) -> Seated:
        """A new slot process."""
        forked = await self.forks.fork(len(self.slots), timeout=60)
        slot = Seated(self, forked)
        self.slots.append(slot)
        return slot


class Seated:
    """A slot process, as its agent sees it."""

    def __init__(self, agent: Agent, forked: Forked) -> None:
        self.agent = agent
        self.pid = forked.pid
        self.serial = forked.serial
        self._fds = forked
        self._decoder = Decoder()
        self.printed = b""

    async def lease(
        self, ledger: Ledger, *, on_frame: Callable[[Frame], None] | None = None, timeout: float = 60
    ) -> Ledger:
        """Have the slot run the learner until it says how that ended."""
        self.tell(ledger.lease())
        async with asyncio.timeout(timeout):
            over = False
            while not over:
                for frame in await self.read():
                    over = ledger.heard(frame) or over
                    if on_frame is not None:
                        on_frame(frame)
        return ledger

    async def read(self) -> list[Frame]:
        """What the slot says next; raises EOFError when it ended."""
        data = await self._readable(self._fds.up, 1 << 20)
        if not data:
            raise EOFError
        return self._decoder.feed(data)

    async def output(self) -> str:
        """What the slot prints, to the end."""
        while data := await self._readable(self._fds.out, 65536):
            self.printed += data
        return self.printed.decode()

    async def _readable(self, fd: int, size: int) -> bytes:
        loop = asyncio.get_running_loop()
        ready = asyncio.Event()
        loop.add_reader(fd, ready.set)
        try:
            async with asyncio.timeout(60):
                await ready.wait()
        finally:
            loop.remove_reader(fd)
        return os.read(fd, size)

    def tell(self, frame: bytes) -> None:
        """Write a frame to the slot."""
        channel.write_all(self._fds.down, frame)

    def stop(self, cause: str = "drain", *, save: bool = True) -> None:
        """Have it end its lease."""
        self.tell(channel.encode_json(Down.STOP, {"cause": cause, "save": save}))

    async def end(self) -> Ended:
        """Wait until the process has ended."""
        async with asyncio.timeout(30):
            while self.serial not in self.agent.ended:
                await asyncio.sleep(0.01)
        return self.agent.ended[self.serial]

    def close(self) -> None:
        """Close its pipes."""
        for fd in (self._fds.up, self._fds.down, self._fds.out):
            os.close(fd)


class Site(NamedTuple):
    """A fork server that several tests use, each with slots of its own."""

    runner: asyncio.Runner
    agent: Agent
    signer: Signer

    def new_slot(self, act: Callable[[Seated], Awaitable[Any]]) -> Any:
        """What `act` answers that is given a new slot, which is killed afterwards."""

        async def main() -> Any:
            slot = await self.agent.slot()
            try:
                return await act(slot)
            finally:
                self.agent.forks.kill(slot.pid)
                await slot.end()
                self.agent.drop(slot)

        return self.runner.run(main())

    def run(self, ledger: Ledger) -> str:
        """One lease in a new slot; answers what the slot printed."""

        async def act(slot: Seated) -> str:
            await slot.lease(ledger)
            slot.tell(channel.encode(Down.EXIT))
            await slot.end()
            return await slot.output()

        return str(self.new_slot(act))


def load(ledger: Ledger, learner: Any) -> Any:
    """`learner` with the data of the newest checkpoint, read as any user of adaptive would."""
    assert ledger.checkpoint is not None
    learner.load(str(ledger.path(ledger.checkpoint)))
    return learner

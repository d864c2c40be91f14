"""The slots of a job and the leases they work on: what happens to whom when a slot speaks, dies or must stop.

Pure: what slots say and what Redis answered comes in, orders to slot processes come out. No clock of its own.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

from fabric_broker.calls import Committed
from fabric_broker.records import Command, Lease, Outcome, Pointer
from fabric_broker.store import checkpoint_path

from . import channel
from .channel import Down, Frame, Up
from .held import BATCH_BYTES, Done, Held, Raised, Released, Saved
from .orders import Death, Fork, Kill, Order, Remove, Say, Tell
from .points import Points

FENCED_PATIENCE: Final = 10.0
"""Seconds a slot may go on with an evaluation for a learner that somebody else holds; then it is killed."""
EXIT_PATIENCE: Final = 10.0
"""Seconds a slot process may take to exit between leases; then it is killed."""
SETTLED: Final = 2.0
"""Seconds after which Redis has its writes on disk: a file is removed only when no crash revives its pointer."""
BRIEF: Final = 0.25
"""Seconds; a slot that works on one brief lease after another gets the next one before it needs it."""
BRIEF_LEASES: Final = 8
"""So many brief leases in a row make it likely that the next is brief, too."""
AHEAD_PATIENCE: Final = 1.0
"""Seconds until a lease that waits behind one that is not brief after all is given back."""
_REST: Final = (0.1, 2.0)
"""Seconds a slot rests after it died without a new point: the first time, and at most (it doubles)."""


@dataclass(slots=True)
class _Stop:
    cause: str
    kill_at: float | None
    killed: bool = False


@dataclass(slots=True)
class _Seat:
    """A slot: its process, if it has one, and the lease it works on."""

    slot: int
    serial: int | None = None
    run: str | None = None
    held: Held | None = None
    working: bool = False
    """The process was given the lease; before that only Redis knows."""
    began: float = 0.0
    """When it was."""
    learner: str | None = None
    """The last one it was given."""
    brief: int = 0
    """Brief leases in a row."""
    ahead: Held | None = None
    """The lease that comes after this one: with brief ones the way to Redis would take longer than the work."""
    ahead_frame: bytes | None = None
    """Its LEASE, once its data are here."""
    stop: _Stop | None = None
    save_asked: bool = False
    deaths: int = 0
    """Deaths in a row without a new point."""
    rest_until: float = 0.0

    def could_lease(self, now: float) -> bool:
        """Whether a lease, or the one ahead, would be of use."""
        if self.held is None:
            return self.rest_until <= now
        steady = self.working and self.stop is None and self.ahead is None
        return steady and self.brief >= BRIEF_LEASES and now - self.began < BRIEF


@dataclass(slots=True)
class Crew:
    """All slots of a job.

    Parameters
    ----------
    slots
        How many.
    node
        Where they run; part of what is told of a death.
    """

    slots: int
    node: str
    orders: list[Order] = field(default_factory=list)
    helds: list[Held] = field(default_factory=list)
    """Every lease that Redis has not heard the end of, also those whose slot is done with them."""
    lives: bool = False
    """A slot process came up."""
    drain_until: float | None = None
    """When the job drains: when slots that have not stopped are killed."""
    _seats: list[_Seat] = field(default_factory=list)
    _leaving: dict[int, float | None] = field(default_factory=dict)  # serial -> when to kill; None: it was
    _serial: int = 0

    def __post_init__(self) -> None:
        self._seats = [_Seat(slot) for slot in range(self.slots)]

    # -- leases ------------------------------------------------------------------------------------------------------

    def free(self, now: float) -> list[int]:
        """Slots that could take a lease."""
        if self.drain_until is not None:
            return []
        return [seat.slot for seat in self._seats if seat.could_lease(now)]

    def next_rested(self, now: float) -> float | None:
        """When the next resting slot has rested."""
        resting = [seat.rest_until for seat in self._seats if seat.held is None and seat.rest_until > now]
        return min(resting, default=None)

    def reserve(self, lease: Lease, now: float) -> Held:
        """A lease was granted; its slot gets it as soon as its data are here (`start`)."""
        held = Held(lease)
        held.committed_at = now
        seat = self._seats[lease.slot]
        self.helds.append(held)
        if seat.held is None:
            seat.held, seat.rest_until = held, 0.0
        else:
            seat.ahead = held
        if self.drain_until is not None:
            self.stop(held, "drain", now)
        return held

    def start(self, held: Held, frame: bytes, now: float) -> None:
        """Give a reserved lease to its slot, in a process that serves its run; ``frame`` is the LEASE."""
        seat = self._seats[held.lease.slot]
        if seat.ahead is held:
            seat.ahead_frame = frame
        if seat.held is not held or held.ending is not None or held.fenced:
            return
        if seat.serial is not None and seat.run != held.lease.run:
            self._dismiss(seat, now + EXIT_PATIENCE)
        if seat.serial is None:
            self._serial += 1
            seat.serial, seat.run = self._serial, held.lease.run
            self.orders.append(Fork(seat.serial, seat.slot))
        seat.working, seat.began, seat.learner = True, now, held.lease.learner
        self.orders.append(Tell(seat.serial, frame))

    def give_back(self, held: Held, problem: dict[str, Any], now: float) -> None:
        """A reserved lease cannot start."""
        held.end(Released("died", problem))
        self.stop(held, "broken", now)

    def forget_ended(self) -> None:
        """Drop the leases that Redis knows to be over or that are not ours, unless a slot still works on one."""
        working = [seat.held for seat in self._seats if seat.held is not None]
        self.helds = [held for held in self.helds if held in working or not (held.over or held.fenced)]

    # -- what slots say ----------------------------------------------------------------------------------------------

    def may_read(self, serial: int) -> bool:
        """Whether to read from a process; if not, its pipe fills up and evaluation pauses."""
        seat = self._seat_of(serial)
        return seat is None or seat.held is None or not seat.held.is_full

    def learner_of(self, serial: int) -> str | None:
        """Of which learner a process speaks: the last one it was given."""
        seat = self._seat_of(serial)
        return None if seat is None else seat.learner

    def heard(self, serial: int, item: Points | Frame, now: float) -> bool:
        """A slot process said something; answers whether Redis should be told at once."""
        self.lives = True
        seat = self._seat_of(serial)
        if seat is None or seat.held is None or not seat.working:
            if isinstance(item, Frame) and item.kind == Up.WARNING:
                self.orders.append(Say(item.json()["text"]))
            return False
        if isinstance(item, Points):
            seat.held.add(item)
            seat.deaths = 0
            return seat.held.unsent_bytes >= BATCH_BYTES
        held = seat.held
        if item.kind != Up.READY:
            self._heard_frame(seat, held, Up(item.kind), item.json())
        if held.ending is not None:
            self._free(seat, now)
        return held.ending is not None

    def _heard_frame(self, seat: _Seat, held: Held, kind: Up, record: dict[str, Any]) -> None:
        if kind is Up.STATUS:
            held.loss = record["loss"]
            self.orders.append(Say(_status(record), held.lease.learner))
        elif kind is Up.SAVED:
            pointer = Pointer(*(record[name] for name in ("token", "n", "upto", "size", "mac")))
            held.save(Saved(pointer, record["npoints"], record["loss"], record["damaged"]))
            seat.save_asked = False
        elif kind is Up.DONE:
            held.end(Done(record["npoints"], record["loss"]))
        elif kind is Up.RAISED:
            held.end(Raised(_problem(record)))
        elif kind is Up.STOPPED:
            held.end(Released("release"))
        elif kind is Up.WARNING:
            self.orders.append(Say(record["text"], held.lease.learner))

    def died(self, serial: int, death: Death, now: float) -> None:
        """A slot process ended; all it had said was heard before."""
        if self._leaving.pop(serial, None) is not None:
            return
        seat = self._seat_of(serial)
        if seat is None:
            return
        held, stop = seat.held, seat.stop
        seat.serial = seat.run = None
        self._return_ahead(seat)
        self._free(seat, now)
        if held is None:
            self.orders.append(Say(f"slot {seat.slot} {death.how} between leases"))
            return
        self.orders.append(Say(f"slot {seat.slot} {death.how}", held.lease.learner))
        if stop is not None and stop.killed:
            held.end(Released("release", began=death.began))
            return
        if held.last == held.lease.seq:
            first, most = _REST
            seat.rest_until = now + min(most, first * 2**seat.deaths)
            seat.deaths += 1
        held.end(Released("died", self._obituary(seat.slot, death), death.began))

    def _obituary(self, slot: int, death: Death) -> dict[str, Any]:
        return {
            "type": "SlotDied",
            "text": f"slot {slot} {death.how}",
            "signal": death.signal,
            "node": self.node,
            "log": list(death.log),
        }

    # -- stopping ----------------------------------------------------------------------------------------------------

    def stop(self, held: Held, cause: str, now: float, *, patience: float | None = None) -> None:
        """End a lease early; its slot saves unless the learner is not ours any more.

        ``patience``: seconds after which the slot is killed (None: it may finish what it evaluates).
        """
        seat = self._seats[held.lease.slot]
        if seat.ahead is held:
            self._return_ahead(seat)
        if seat.held is not held:
            return
        if not seat.working:
            held.end(Released("release", began=False))
            self._free(seat, now)
            return
        kill_at = None if patience is None else now + patience
        if self.drain_until is not None:
            kill_at = self.drain_until if kill_at is None else min(kill_at, self.drain_until)
        if seat.stop is not None and cause not in ("fenced", "drain"):
            return
        seat.stop = _Stop(cause, kill_at)
        record = {"cause": cause, "save": cause != "fenced"}
        self._tell(seat, channel.encode_json(Down.STOP, record))

    def save(self, held: Held) -> None:
        """Have the slot save now: Redis lost points that only the learner itself still has."""
        seat = self._seats[held.lease.slot]
        if seat.held is held and seat.working and seat.stop is None and not seat.save_asked:
            seat.save_asked = True
            self._tell(seat, channel.encode(Down.SAVE))

    def fence(self, held: Held, now: float) -> None:
        """The learner is somebody else's: write nothing for it any more, and stop its slot."""
        held.fence()
        seat = self._seats[held.lease.slot]
        if seat.held is held and (seat.stop is None or seat.stop.cause != "fenced"):
            self.orders.append(Say("is held by somebody else now; this job drops it", held.lease.learner))
            self.stop(held, "fenced", now, patience=FENCED_PATIENCE)

    def command(self, held: Held, command: Command | None, now: float, *, patience: float) -> None:
        """Take a numbered command, once."""
        if command is None or command.number <= held.echoed or held.fenced:
            return
        held.echoed = command.number
        self.stop(held, command.verb, now, patience=patience if command.verb == "cancel" else None)

    def drain(self, now: float, until: float) -> None:
        """Lease nothing more; slots save and stop, those that have not by ``until`` are killed."""
        self.drain_until = until
        for seat in self._seats:
            self._return_ahead(seat)
            if seat.held is not None:
                self.stop(seat.held, "drain", now)
            elif seat.serial is not None:
                self._dismiss(seat, until)

    def dismiss(self, kill_at: float) -> None:
        """The job ends: all slot processes may exit."""
        for seat in self._seats:
            if seat.serial is not None:
                self._dismiss(seat, kill_at)

    def tick(self, now: float) -> float | None:
        """Kill what was given time enough, give back what waits in vain; answers when to look again."""
        due: list[float] = []
        for seat in self._seats:
            if seat.ahead is not None and now - seat.began >= AHEAD_PATIENCE:
                seat.brief = 0
                self._return_ahead(seat)
            elif seat.ahead is not None:
                due.append(seat.began + AHEAD_PATIENCE)
            stop = seat.stop
            if stop is None or stop.kill_at is None or stop.killed or seat.serial is None:
                continue
            if stop.kill_at <= now:
                stop.killed = True
                self.orders.append(Kill(seat.serial))
            else:
                due.append(stop.kill_at)
        for serial, at in self._leaving.items():
            if at is not None and at <= now:
                self.orders.append(Kill(serial))
                self._leaving[serial] = None
            elif at is not None:
                due.append(at)
        return min(due, default=None)

    # -- checkpoints -------------------------------------------------------------------------------------------------

    def committed(self, held: Held, saved: Saved, answer: Committed, now: float) -> None:
        """The commit of a checkpoint was answered; the file it makes superfluous may go."""
        before = held.committed_at
        held.committed(saved, answer)
        if answer.outcome is Outcome.OK:
            held.committed_at = now
        if answer.removable is not None:
            token, n = answer.removable
            path = checkpoint_path(held.lease.run, held.lease.learner, token, n)
            self.orders.append(Remove(held.store, path, before + SETTLED))

    # -- seats -------------------------------------------------------------------------------------------------------

    def _seat_of(self, serial: int) -> _Seat | None:
        return next((seat for seat in self._seats if seat.serial == serial), None)

    def _free(self, seat: _Seat, now: float) -> None:
        """The seat's lease is over for its slot; on to the next, if it is here."""
        if seat.working:
            seat.brief = seat.brief + 1 if now - seat.began < BRIEF else 0
        frame, seat.ahead_frame = seat.ahead_frame, None
        seat.held, seat.ahead = seat.ahead, None
        seat.working, seat.stop, seat.save_asked = False, None, False
        if self.drain_until is not None and seat.serial is not None:
            self._dismiss(seat, self.drain_until)
        elif seat.held is not None and frame is not None:
            self.start(seat.held, frame, now)

    def _return_ahead(self, seat: _Seat) -> None:
        if seat.ahead is not None:
            seat.ahead.end(Released("release", began=False))
        seat.ahead = seat.ahead_frame = None

    def _dismiss(self, seat: _Seat, kill_at: float) -> None:
        """Let a slot's process exit; what it says from now on is not heard."""
        if seat.serial is not None:
            self._tell(seat, channel.encode(Down.EXIT))
            self._leaving[seat.serial] = kill_at
        seat.serial = seat.run = None

    def _tell(self, seat: _Seat, frame: bytes) -> None:
        if seat.serial is not None:
            self.orders.append(Tell(seat.serial, frame))


def _status(record: dict[str, Any]) -> str:
    """How far a learner is and what it costs, for the log; CPU in percent of one core."""
    loss = "not known" if record["loss"] is None else f"{record['loss']:.4g}"
    return (
        f"npoints {record['npoints']}, loss {loss}, overhead {record['overhead']:.1f} %, "
        f"CPU {record['cpu']:.0f} %, memory {record['memory'] / 1e6:.0f} MB"
    )


def _problem(raised: dict[str, Any]) -> dict[str, Any]:
    """What RAISED says of the error itself."""
    return {name: value for name, value in raised.items() if name not in ("npoints", "loss")}

"""Makes what the tests of the TUI's plain part need."""

from __future__ import annotations

from typing import Any

from fabric_broker.view import LearnerView
from fabric_broker.watch import Board, Happening, Watched
from fabric_tui.updates import Snapshot

NOW = 1_800_000_000.0


def learner(id: str = "r1.0", state: str = "queued", **more: Any) -> LearnerView:
    fields: dict[str, Any] = {
        "run": id.partition(".")[0],
        "pool": "local",
        "priority": 0,
        "npoints": 0,
        "loss": None,
        "token": 0,
        "job": None,
        "slot": None,
        "attempts": 0,
        "since": NOW - 100,
    }
    return LearnerView(id=id, state=state, **(fields | more))


def event(n: int, learner: str = "r1.0", name: str = "add", target: str = "queued", **more: str) -> Happening:
    source = more.pop("source", "")
    return Happening(f"{n}-0", float(n), learner, learner.partition(".")[0], name, source, target, more)


def board(**more: Any) -> Board:
    pool = {"kind": "local", "spec": "{}", "limit": "2", "slots": "4", "ttl": "30000"}
    return Board(**({"pools": {"local": (pool, 0)}} | more))


def snapshot(*views: LearnerView, now: float = NOW, **more: Any) -> Snapshot:
    told: dict[str, Any] = {"board": board(), "events": (), "last": "1-0"}
    return Snapshot(
        now=now,
        address="unix:///s",
        fabric="default",
        views={view.id: view for view in views},
        **(told | more),
    )


def watched(*views: LearnerView | None, gone: str = "", now: float = NOW + 1, **more: Any) -> Watched:
    told: dict[str, Any] = {"events": (), "first": "1-0", "last": "1-0", "older": (), "board": board()}
    seen: dict[str, LearnerView | None] = {view.id: view for view in views if view is not None}
    if gone:
        seen[gone] = None
    return Watched(now=now, views=seen, **(told | more))

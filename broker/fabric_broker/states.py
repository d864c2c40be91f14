"""The life of a learner: states, events and the one table of transitions.

The table is data. The scripts get it as a Lua table (`as_lua`) and the function ``move()`` in ``lua/_move.lua``
refuses every step that is not in it; tests read the same rows.
"""

from __future__ import annotations

from typing import Final, NamedTuple

NEW: Final = ""
"""The state of a learner that is not there yet."""

STATES: Final = (
    "waiting",
    "queued",
    "delayed",
    "leased",
    "paused",
    "done",
    "failed",
    "quarantined",
    "cancelled",
)
TERMINAL: Final = frozenset({"done", "failed", "quarantined", "cancelled"})
OPEN: Final = tuple(state for state in STATES if state not in TERMINAL)

BARREN_LEASES: Final = 5
"""So many leases in a row without one new point put a learner into quarantine."""


class Transition(NamedTuple):
    """From one state, by an event, to another."""

    source: str
    event: str
    target: str


TRANSITIONS: Final = frozenset(
    Transition(source, event, target)
    for sources, event, targets in (
        ((NEW,), "add", ("queued", "paused", "waiting")),
        (("waiting",), "ready", ("queued",)),
        (("queued",), "acquire", ("leased",)),
        # Redis lost its last second and with it the acquire; nobody held the learner since.
        (("queued",), "restore", ("leased",)),
        # It does not lose its place: the score is kept.
        (("leased",), "release", ("queued",)),
        (("leased",), "expire", ("queued",)),
        (("leased",), "died", ("queued",)),
        (("leased",), "error", ("delayed", "failed")),
        (("leased",), "barren", ("quarantined",)),
        (("leased",), "complete", ("done",)),
        (("delayed",), "due", ("queued",)),
        (("queued", "delayed", "waiting", "leased"), "pause", ("paused",)),
        (("paused",), "resume", ("queued", "delayed", "waiting")),
        (
            ("waiting", "queued", "delayed", "leased", "paused", "failed", "quarantined"),
            "cancel",
            ("cancelled",),
        ),
        (("failed", "quarantined", "cancelled"), "retry", ("queued",)),
    )
    for source in sources
    for target in targets
)
EVENTS: Final = frozenset(transition.event for transition in TRANSITIONS)


def as_lua() -> str:
    """The table as Lua source: ``TRANSITIONS['<source>|<event>|<target>'] = true`` and ``TERMINAL``."""
    rows = sorted("|".join(transition) for transition in TRANSITIONS)
    allowed = ", ".join(f"['{row}'] = true" for row in rows)
    terminal = ", ".join(f"{state} = true" for state in sorted(TERMINAL))
    return (
        f"local TRANSITIONS = {{ {allowed} }}\n"
        f"local TERMINAL = {{ {terminal} }}\n"
        f"local BARREN_LEASES = {BARREN_LEASES}\n"
    )

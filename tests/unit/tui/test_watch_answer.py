"""The answer of `watch` as records."""

from __future__ import annotations

from fabric_broker.watch import watch


def test_events_are_read_whatever_their_texts_hold() -> None:
    told = [
        (b"5-0", {b"target": b"two\0texts", b"by": b"anna\xff"}),
        (b"6-1", {b"job": b"i1.0"}),
    ]
    common = {
        b"at": b"1500",
        b"learner": b"r1.0",
        b"run": b"r1",
        b"event": b"asked",
        b"from": b"",
        b"to": b"",
    }
    rows = [[id, [part for pair in (common | more).items() for part in pair]] for id, more in told]
    answer = watch(None, count=2).parse([b"2000", rows, b"5-0", b"6-1", [], [], None])
    assert [event.id for event in answer.events] == ["5-0", "6-1"]
    assert [event.more for event in answer.events] == [
        {"target": "two\0texts", "by": "anna�"},
        {"job": "i1.0"},
    ]
    assert {(event.at, event.learner, event.event, event.source) for event in answer.events} == {
        (1.5, "r1.0", "asked", "")
    }

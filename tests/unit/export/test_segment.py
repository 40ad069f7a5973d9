"""Outcomes as Segment events, and that they do not come back."""

import json

import pytest

from engine.export.rows import OUTCOMES, ExportedOutcome
from engine.export.segment import segment_message
from schemas.events import BadRecord, decode_event, decode_events
from schemas.reasons import DeadLetterReason


def message(**changes: object) -> bytes | None:
    fields = {
        "version": 1,
        "kind": "opened",
        "delivery_id": "0" * 31 + "a",
        "trigger": "cart",
        "revision": 3,
        "variant": "b",
        "channel": "push",
        "user": "u1",
        "at": "2026-01-05T10:00:00.250Z",
        "value": 0,
    }
    row = OUTCOMES.row(json.dumps(fields | changes).encode(), 0, 7)
    assert isinstance(row, ExportedOutcome)
    return segment_message(row)


def test_an_opened_push_is_a_track_event_of_its_campaign() -> None:
    assert json.loads(message() or b"") == {
        "type": "track",
        "event": "Push Opened",
        "messageId": "tripline:0000000000000000000000000000000a:opened",
        "userId": "u1",
        "timestamp": "2026-01-05T10:00:00.250000Z",
        "properties": {
            "delivery_id": "0000000000000000000000000000000a",
            "trigger": "cart",
            "revision": 3,
            "variant": "b",
            "channel": "push",
        },
        "context": {
            "campaign": {"name": "cart", "source": "tripline", "medium": "push", "content": "b"},
            "library": {"name": "tripline"},
        },
    }


def test_stages_have_the_names_of_their_channel_and_other_kinds_are_no_event() -> None:
    kinds = ["accepted", "delivered", "opened", "clicked", "failed", "converted", "unsubscribed"]
    found = [message(kind=kind) for kind in kinds]
    assert [value and json.loads(value)["event"] for value in found] == [
        "Push Sent",
        "Push Delivered",
        "Push Opened",
        "Push Clicked",
        None,
        None,
        None,
    ]
    assert json.loads(message(channel="email") or b"")["event"] == "Email Opened"
    assert "variant" not in json.loads(message(variant="") or b"")["properties"]


def test_an_event_of_ours_is_refused_by_the_log_and_is_so_no_activity() -> None:
    ours = message() or b""
    with pytest.raises(BadRecord) as refused:
        decode_event(ours)
    assert refused.value.reason is DeadLetterReason.OWN_EVENT
    # The phone's own message about the same push is an act of its user.
    phone = ours.replace(b"tripline:", b"ios:")
    assert decode_event(phone).event == "Push Opened"
    assert decode_events([phone, ours]) is None
    assert decode_events([phone]) is not None

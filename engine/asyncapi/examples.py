"""One record of each kind for the document of topics, as the encoders write it."""

from typing import Final

import msgspec

from engine.registry.entries import Manifest, PolicyBody, SharedBody, TriggerBody, TriggerRef
from schemas.deadletters import dead_letter
from schemas.decisions import Decision, decision_record
from schemas.deliveries import Delivery, DeviceRef, Limits, encode_delivery
from schemas.outcomes import OutcomeRow, outcome_record
from schemas.reasons import DeadLetterReason, Outcome, Reason
from schemas.records import (
    ActivateRecord,
    MergedRecord,
    MergeRecord,
    OutcomeRecord,
    PreferenceRecord,
    SignalRecord,
    encode,
)

_AT_MS: Final = 1_767_614_400_000
_ID: Final = "9f2c51d0a7e84b3f8c6d1e2f3a4b5c6d"
_EVENT: Final = msgspec.json.encode(
    {
        "type": "track",
        "messageId": "m7",
        "event": "Product Added",
        "userId": "u1",
        "timestamp": "2026-01-05T10:00:00.000Z",
        "properties": {"product_id": "shoes-1", "price": 49.9},
        "context": {"timezone": "Asia/Almaty", "device": {"token": "t-1", "type": "android"}},
    }
)

EXAMPLES: Final[dict[str, bytes]] = {
    "clientEvent": _EVENT,
    "forward": _EVENT,
    "outcome": encode(OutcomeRecord(_ID, "u1", "cart", Reason.ACCEPTED, _AT_MS, "fcm")),
    "activate": encode(ActivateRecord(3)),
    "merge": encode(MergeRecord("anonymous-1", "u1")),
    "merged": encode(MergedRecord("anonymous-1", "u1", b"\x90")),
    "signal": encode(SignalRecord("u1", "score", "run-5", _AT_MS, {"risk": 0.7})),
    "preference": encode(PreferenceRecord("u1", "cli-1", _AT_MS, categories={"offers": "out"})),
    "delivery": encode_delivery(
        Delivery(
            delivery_id=_ID,
            user="u1",
            trigger="cart",
            revision=2,
            activation="m7",
            shard=0,
            registry=3,
            decided_at_ms=_AT_MS,
            expires_at_ms=_AT_MS + 3_600_000,
            appended_at_ms=_AT_MS,
            marketing=True,
            devices=[DeviceRef("t-1", "android")],
            fields={"start": {"properties.price": 49.9}},
            limits=Limits(86_400_000, 7_200_000, [(3, 604_800_000)]),
        )
    ),
    "decision": decision_record(
        Decision(
            "cart", "u1", "m7", _AT_MS, Outcome.ADMITTED, start="m7", event="m7", revision=2,
            delivery_id=_ID,
        )
    ),
    "deliveryOutcome": outcome_record(
        OutcomeRow("converted", _ID, "cart", 2, "", "push", "u1", _AT_MS, 49_900_000)
    ),
    "deadLetter": dead_letter(
        "events", 0, 12, _AT_MS, DeadLetterReason.MALFORMED_JSON, "empty value", b"u1", b"", ()
    ),
    "triggerBody": msgspec.json.encode(
        TriggerBody({"id": "cart", "when": {"event": "Product Added"}}, _AT_MS)
    ),
    "policyBody": msgspec.json.encode(PolicyBody({"spacing": "2h"})),
    "sharedBody": msgspec.json.encode(SharedBody({"loyal": {"idle": "30d"}})),
    "manifest": msgspec.json.encode(
        Manifest(2, "growth", _AT_MS, "shorter wait", {"cart": TriggerRef(2, "live")},
                 {"default": 1})
    ),
}  # fmt: skip

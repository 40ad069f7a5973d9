"""The document of all topics is current and leaves nothing out."""

from pathlib import Path
from typing import Any

import msgspec
import pytest

from engine import asyncapi
from engine.asyncapi.examples import EXAMPLES
from schemas.events import BadRecord, decode_event
from schemas.topics import Topics

PAGE = Path("docs/asyncapi.yaml")


def test_the_document_is_current() -> None:
    assert PAGE.read_text() == asyncapi.text(), (
        "run: python -m engine.asyncapi > docs/asyncapi.yaml"
    )


def test_every_topic_has_a_channel() -> None:
    assert asyncapi.addresses() == {spec.name for spec in Topics().specs()}


def test_every_record_with_a_value_has_an_example() -> None:
    messages = asyncapi.document()["components"]["messages"]
    assert {name for name, one in messages.items() if "examples" in one} == set(messages) - {"tick"}
    assert EXAMPLES.keys() == set(messages) - {"tick"}
    assert decode_event(EXAMPLES["clientEvent"]).event == "Product Added"


@pytest.mark.parametrize("kind", ["signal", "outcome"])
def test_what_no_client_may_send_is_not_offered(kind: str) -> None:
    event: dict[str, Any] = asyncapi.document()["components"]["schemas"]["Event"]
    assert kind not in event["properties"]["type"]["enum"]
    with pytest.raises(BadRecord):
        decode_event(msgspec.json.encode({"type": kind, "messageId": "m", "userId": "u"}))

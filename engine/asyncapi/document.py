"""The AsyncAPI 3 document: channels, operations, messages, and the JSON Schemas of the records."""

import io
from inspect import cleandoc
from typing import Any, Final

import msgspec
from ruamel.yaml import YAML

from engine.asyncapi.examples import EXAMPLES
from engine.registry.entries import Manifest, PolicyBody, SharedBody, TriggerBody
from schemas.deadletters import DeadLetter
from schemas.decisions import DecisionRecord
from schemas.deliveries import Delivery
from schemas.events import CLIENT_TYPES, ID_CHARS_MAX, Event
from schemas.kinds import KIND_HEADER, ORIGIN_HEADER, SEAL_HEADER, Kind
from schemas.marks import SEQ_HEADER
from schemas.outcomes import OutcomeTopicRecord
from schemas.records import (
    ActivateRecord,
    MergedRecord,
    MergeRecord,
    OutcomeRecord,
    PreferenceRecord,
    SignalRecord,
)
from schemas.topics import Lane, Topics, TopicSpec

#: Of the document; it grows when a record gets a field.
VERSION: Final = "1.0.0"
_PREFIX: Final = "{prefix}"
_MESSAGES: Final[dict[str, tuple[type[msgspec.Struct] | None, str]]] = {
    "clientEvent": (Event, "What an emitter sends: a Segment message."),
    "forward": (Event, "A client event that was appended to another partition, or to a profile "
                "that is a part of another one by now, sent on once."),
    "tick": (None, "Log time goes on: timers up to here fire."),
    "outcome": (OutcomeRecord, "How a delivery ended, from a delivery worker."),
    "activate": (ActivateRecord, "From here on another version of the registry decides."),
    "merge": (MergeRecord, "An anonymous profile becomes a part of a known one."),
    "merged": (MergedRecord, "What the anonymous profile held."),
    "signal": (SignalRecord, "An entry by API, campaign or score."),
    "preference": (PreferenceRecord, "What a user agrees to and refuses."),
    "delivery": (Delivery, "One admitted message on its way to a delivery worker."),
    "decision": (DecisionRecord, "One ended activation."),
    "deliveryOutcome": (OutcomeTopicRecord, "What became of a delivery, once per kind."),
    "deadLetter": (DeadLetter, "A refused record with its reason."),
    "triggerBody": (TriggerBody, "A revision of a trigger, key `trigger/<id>/<revision>/<apply>`."),
    "policyBody": (PolicyBody, "A revision of a policy, key `policy/<name>/<revision>/<apply>`."),
    "sharedBody": (SharedBody, "A revision of a shared document, its kind first in the key."),
    "manifest": (Manifest, "A whole version, key `manifest/<apply>`."),
}  # fmt: skip
#: The kind header of messages of the log; a client event has none.
_KINDS: Final = {
    "forward": Kind.FORWARD,
    "tick": Kind.TICK,
    "outcome": Kind.OUTCOME,
    "activate": Kind.ACTIVATE,
    "merge": Kind.MERGE,
    "merged": Kind.MERGED,
    "signal": Kind.SIGNAL,
    "preference": Kind.PREFERENCE,
}
_PUBLISHED: Final = ("delivery", "decision", "deliveryOutcome")
_REGISTRY: Final = ("triggerBody", "policyBody", "sharedBody", "manifest")
#: Channels: the topics of each by name without the prefix, what it is, its messages.
_CHANNELS: Final[dict[str, tuple[str, str, tuple[str, ...]]]] = {
    "events": (
        "events",
        "The log: partition = murmur2(user) modulo partitions, times are the broker's.",
        ("clientEvent", *_KINDS),
    ),
    "deliveries": (
        "deliveries.{lane}",
        "Admitted messages, by urgency; partition n holds what shard n decided.",
        ("delivery",),
    ),
    "retries": ("deliveries.retry.{delay}", "Deliveries to be tried later.", ("delivery",)),
    "decisions": ("decisions", "Every ended activation.", ("decision",)),
    "outcomes": ("outcomes", "What became of each delivery.", ("deliveryOutcome",)),
    "deadLetters": ("dead-letters", "Records of the log that were refused.", ("deadLetter",)),
    "registry": ("registry", "Definitions and versions, compacted.", _REGISTRY),
}
_RECEIVED: Final = ("events", "deliveries", "retries", "registry")


def document() -> dict[str, Any]:
    """The AsyncAPI 3 document."""
    kinds = [kind for kind, _ in _MESSAGES.values() if kind is not None]
    _, schemas = msgspec.json.schema_components(kinds, ref_template="#/components/schemas/{name}")
    schemas[Event.__name__]["properties"]["type"]["enum"] = sorted(CLIENT_TYPES)
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Tripline",
            "version": VERSION,
            "description": (
                "The topics of Tripline, as docs/interfaces.md describes them. Within a version "
                "fields are added, never changed or removed: ignore those you do not know."
            ),
        },
        "defaultContentType": "application/json",
        "channels": {name: _channel(name) for name in _CHANNELS},
        "operations": dict(_operations()),
        "components": {
            "messages": {name: _message(name) for name in _MESSAGES},
            "schemas": {name: _draft7(schema) for name, schema in sorted(schemas.items())},
        },
    }


def text() -> str:
    """The file, the same bytes every time."""
    yaml = YAML()
    yaml.width = 100
    yaml.default_flow_style = False
    out = io.StringIO()
    yaml.dump(document(), out)
    return out.getvalue()


def addresses() -> set[str]:
    """The topics of all channels without the prefix, for the test that none is missing."""
    return {spec.name for channel in _CHANNELS for spec in _specs(channel)}


def _specs(channel: str) -> list[TopicSpec]:
    address = _CHANNELS[channel][0]
    stem, parameter, _ = address.partition("{")
    found = [spec for spec in Topics().specs() if spec.name.startswith(stem)]
    if not parameter:
        return [spec for spec in found if spec.name == address]
    lanes = {str(lane) for lane in Lane}
    rest = {spec.name: spec.name.removeprefix(stem) for spec in found}
    return [spec for spec in found if (rest[spec.name] in lanes) == (channel == "deliveries")]


def _channel(name: str) -> dict[str, Any]:
    address, description, messages = _CHANNELS[name]
    specs = _specs(name)
    parameters: dict[str, Any] = {
        "prefix": {"description": "TRIPLINE_TOPIC_PREFIX.", "default": ""}
    }
    stem, _, parameter = address.partition("{")
    if parameter:
        values = [spec.name.removeprefix(stem) for spec in specs]
        parameters[parameter.rstrip("}")] = {"enum": values}
    config = specs[0].config
    topic: dict[str, Any] = {}
    if "cleanup.policy" in config:
        topic["cleanup.policy"] = [config["cleanup.policy"]]
    if "retention.ms" in config:
        topic["retention.ms"] = int(config["retention.ms"])
    count = specs[0].partitions
    kafka: dict[str, Any] = {"topicConfiguration": topic, "bindingVersion": "0.5.0"}
    if count is not None:
        kafka["partitions"] = count
    return {
        "address": _PREFIX + address,
        "description": description,
        "parameters": parameters,
        "messages": {each: {"$ref": f"#/components/messages/{each}"} for each in messages},
        "bindings": {"kafka": kafka},
    }


def _operations() -> list[tuple[str, dict[str, Any]]]:
    """What Tripline does: it also writes the log and the lanes itself, and reads them."""
    found = []
    for name in _CHANNELS:
        verbs = (("receive", "receive"),) if name in _RECEIVED else ()
        for verb, action in (*verbs, ("send", "send")):
            title = name[0].upper() + name[1:]
            found.append(
                (f"{verb}{title}", {"action": action, "channel": {"$ref": f"#/channels/{name}"}})
            )
    return found


def _message(name: str) -> dict[str, Any]:
    kind, summary = _MESSAGES[name]
    message: dict[str, Any] = {"name": name, "summary": summary}
    headers = _headers(name)
    if headers:
        message["headers"] = headers
    if kind is None:
        message["payload"] = {"type": "string", "maxLength": 0, "description": "Empty."}
    else:
        message["payload"] = {"$ref": f"#/components/schemas/{kind.__name__}"}
    if name not in _REGISTRY:
        described = "The user." if name != "deadLetter" else "The key of the refused record."
        key = {"type": "string", "maxLength": ID_CHARS_MAX, "description": described}
        message["bindings"] = {"kafka": {"key": key, "bindingVersion": "0.5.0"}}
    example = EXAMPLES.get(name)
    if example is not None:
        message["examples"] = [{"name": name, "payload": msgspec.json.decode(example)}]
    return message


def _headers(name: str) -> dict[str, Any] | None:
    texts: dict[str, Any] = {}
    required = []
    if name in _KINDS:
        texts[KIND_HEADER] = {"const": _KINDS[name].value}
        sealed = "The first 16 bytes of an HMAC-SHA256 over kind, partition, key and value."
        texts[SEAL_HEADER] = {"type": "string", "description": sealed}
        required = [KIND_HEADER, SEAL_HEADER]
    if name in ("forward", "signal", "merged"):
        texts[ORIGIN_HEADER] = {"type": "string", "description": "`partition:offset` before."}
    if name in _PUBLISHED:
        same = "`offset.page:random:number`, the same when a record is published again."
        texts[SEQ_HEADER] = {"type": "string", "description": same}
    if not texts:
        return None
    return {"type": "object", "properties": texts, **({"required": required} if required else {})}


def _draft7(schema: Any) -> Any:
    """AsyncAPI's schemas are draft 7: a tuple is `items`, its end `additionalItems`."""
    if isinstance(schema, list):
        return [_draft7(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    found = {key: _draft7(value) for key, value in schema.items()}
    if "prefixItems" in found:
        found["additionalItems"] = found.pop("items", True)
        found["items"] = found.pop("prefixItems")
    if isinstance(found.get("description"), str):
        found["description"] = cleandoc(found["description"])
    if "$ref" in found and len(found) > 1:
        # Draft 7 ignores what stands beside a reference.
        found = {"allOf": [{"$ref": found.pop("$ref")}], **found}
    return found

"""The entries of the registry topic: bodies and manifests, JSON under keys that never repeat.

The key ends with the id of the apply that wrote the entry. Two applies at once may give the same
revision number to different documents; under one key compaction would keep the later one, which
may be the loser's. With unique keys compaction removes nothing, so every revision is kept.
"""

import re
from typing import Any, Literal, NamedTuple, TypeAlias

import msgspec

State = Literal["draft", "shadow", "live", "paused"]


class TriggerBody(msgspec.Struct, frozen=True):
    """One revision of a trigger: its complete document and when it was registered."""

    document: dict[str, Any]
    registered_at_ms: int
    version: int = 1


class PolicyBody(msgspec.Struct, frozen=True):
    """One revision of a policy: its complete document."""

    document: dict[str, Any]
    version: int = 1


class DocumentBody(msgspec.Struct, frozen=True):
    """One revision of what triggers share: a list of places, say, in its complete form."""

    document: Any
    version: int = 1


class TriggerRef(msgspec.Struct, frozen=True):
    """A trigger as a version holds it; `state` overrides the document's own."""

    revision: int
    state: State


class Manifest(msgspec.Struct, frozen=True):
    """A whole version. `base`: the number of the version it was made from, 0 for none.

    `cancelled_to`: trigger -> the last revision whose pending instances an apply has cancelled; a
    removed trigger stays in it. `documents`: revisions of what triggers share, by kind and name.
    """

    base: int
    by: str
    at_ms: int
    message: str
    triggers: dict[str, TriggerRef]
    policies: dict[str, int]
    cancelled_to: dict[str, int] = {}
    documents: dict[str, dict[str, int]] = {}
    version: int = 1


class BodyKey(NamedTuple):
    """`kind` is `trigger`, `policy` or a kind of shared document, `name` the trigger's id or the
    other's name."""

    kind: str
    name: str
    revision: int


class BodyEntry(NamedTuple):
    """A body as it stands in the topic; `value` is kept as written and decoded when asked for."""

    apply_id: str
    key: BodyKey
    value: bytes


class ManifestEntry(NamedTuple):
    """A manifest as it stands in the topic."""

    apply_id: str
    manifest: Manifest


Entry: TypeAlias = BodyEntry | ManifestEntry

TRIGGER, POLICY, MANIFEST = "trigger", "policy", "manifest"
Body: TypeAlias = TriggerBody | PolicyBody | DocumentBody
_BODIES: dict[str, msgspec.json.Decoder[Any]] = {
    TRIGGER: msgspec.json.Decoder(TriggerBody),
    POLICY: msgspec.json.Decoder(PolicyBody),
}
_DOCUMENT = msgspec.json.Decoder(DocumentBody)
_KIND = re.compile("[a-z]{1,32}")
_MANIFEST = msgspec.json.Decoder(Manifest)


class BadEntryError(Exception):
    """A record of the registry topic that is not an entry."""


def body_key(key: BodyKey, apply_id: str) -> bytes:
    """`<kind>/<name>/<revision>/<apply>`."""
    return f"{key.kind}/{key.name}/{key.revision}/{apply_id}".encode()


def manifest_key(apply_id: str) -> bytes:
    """`manifest/<apply>`."""
    return f"{MANIFEST}/{apply_id}".encode()


def encode(entry: Body | Manifest) -> bytes:
    """Compact JSON."""
    return msgspec.json.encode(entry)


def decode_trigger(value: bytes) -> TriggerBody:
    """A trigger's body, of an entry that `decode_entry` has let through."""
    return msgspec.json.decode(value, type=TriggerBody)


def decode_policy(value: bytes) -> PolicyBody:
    """A policy's body, of an entry that `decode_entry` has let through."""
    return msgspec.json.decode(value, type=PolicyBody)


def decode_document(value: bytes) -> DocumentBody:
    """A shared document's body, of an entry that `decode_entry` has let through."""
    return _DOCUMENT.decode(value)


def decode_entry(key: bytes | None, value: bytes | None) -> Entry:
    """Decode strictly; raises `BadEntryError` saying what is wrong."""
    if key is None or value is None:
        raise BadEntryError("an entry has a key and a value")
    try:
        match key.decode().split("/"):
            case ["manifest", apply_id]:
                return ManifestEntry(apply_id, _MANIFEST.decode(value))
            case [kind, name, revision, apply_id] if _KIND.fullmatch(kind):
                # A kind that this release does not know is a document all the same: whether a
                # manifest that names it counts must not depend on who reads it.
                _BODIES.get(kind, _DOCUMENT).decode(value)
                return BodyEntry(apply_id, BodyKey(kind, name, int(revision)), value)
            case parts:
                raise BadEntryError(f"the key has {len(parts)} parts and starts with none known")
    except ValueError as error:  # msgspec's and Unicode errors are ValueErrors
        raise BadEntryError(str(error)) from error

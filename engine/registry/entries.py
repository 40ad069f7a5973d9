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


class SharedBody(msgspec.Struct, frozen=True):
    """One revision of a shared document (`triggers.shared`), complete."""

    document: dict[str, Any]
    version: int = 1


class TriggerRef(msgspec.Struct, frozen=True):
    """A trigger as a version holds it; `state` overrides the document's own.

    `canary`: the revision of the users below `canary_share` (in buckets of 10,000), 0 for none.
    """

    revision: int
    state: State
    canary: int = 0
    canary_share: int = 0


class Manifest(msgspec.Struct, frozen=True):
    """A whole version. `base`: the number of the version it was made from, 0 for none.

    `documents`: the revisions of the shared documents, by kind and name. `cancelled_to`: trigger ->
    the last revision whose pending instances an apply has cancelled; a removed trigger stays in it.
    """

    base: int
    by: str
    at_ms: int
    message: str
    triggers: dict[str, TriggerRef]
    policies: dict[str, int]
    documents: dict[str, dict[str, int]] = {}
    cancelled_to: dict[str, int] = {}
    version: int = 1


class BodyKey(NamedTuple):
    """`kind` is `trigger`, `policy` or that of a shared document, `name` the trigger's id or the
    name of the policy or document."""

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


Body: TypeAlias = TriggerBody | PolicyBody | SharedBody
Entry: TypeAlias = BodyEntry | ManifestEntry

TRIGGER, POLICY, MANIFEST = "trigger", "policy", "manifest"
_TRIGGER = msgspec.json.Decoder(TriggerBody)
_POLICY = msgspec.json.Decoder(PolicyBody)
_SHARED = msgspec.json.Decoder(SharedBody)
_MANIFEST = msgspec.json.Decoder(Manifest)


_KIND = re.compile(r"[a-z]{1,32}")


class BadEntryError(Exception):
    """A record of the registry topic that is not an entry."""


def body_key(key: BodyKey, apply_id: str) -> bytes:
    """`<kind>/<id or name>/<revision>/<apply>`."""
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


def decode_shared(value: bytes) -> SharedBody:
    """A shared document's body, of an entry that `decode_entry` has let through."""
    return _SHARED.decode(value)


def decode_entry(key: bytes | None, value: bytes | None) -> Entry:
    """Decode strictly; raises `BadEntryError` saying what is wrong."""
    if key is None or value is None:
        raise BadEntryError("an entry has a key and a value")
    try:
        match key.decode().split("/"):
            case ["manifest", apply_id]:
                return ManifestEntry(apply_id, _MANIFEST.decode(value))
            # Any other kind is a shared document: which kinds there are depends on the release, and
            # what a manifest means must not.
            case [kind, name, revision, apply_id] if _KIND.fullmatch(kind):
                _check_body(kind, value)
                return BodyEntry(apply_id, BodyKey(kind, name, int(revision)), value)
            case parts:
                raise BadEntryError(f"the key has {len(parts)} parts and starts with none known")
    except ValueError as error:  # msgspec's and Unicode errors are ValueErrors
        raise BadEntryError(str(error)) from error


def _check_body(kind: str, value: bytes) -> None:
    if kind == TRIGGER:
        _TRIGGER.decode(value)
    elif kind == POLICY:
        _POLICY.decode(value)
    else:
        _SHARED.decode(value)

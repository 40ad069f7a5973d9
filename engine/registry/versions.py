"""Versions of the registry as definitions and compiled programs, made from a history on demand."""

from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from pydantic import ValidationError

from engine.registry.entries import (
    POLICY,
    TRIGGER,
    BodyKey,
    decode_policy,
    decode_shared,
    decode_trigger,
)
from engine.registry.history import History
from triggers.compile import NotCompilable, RegisteredTrigger, compile_program
from triggers.definition import Policy, TriggerDefinition
from triggers.program import Program
from triggers.shared import Documents

#: One in use, the next while shards switch to it; shards that catch up are a few versions behind.
VERSIONS_KEPT_MAX = 4
#: Definitions kept for rendering; a delivery in flight may be some revisions behind.
DEFINITIONS_KEPT_MAX = 2_000

K = TypeVar("K")
V = TypeVar("V")


class UnknownVersionError(Exception):
    """The topic has no version of that number: it was void, or the topic is not the same one."""


class UnreadableDefinitionError(Exception):
    """A stored definition that this release cannot read: it was registered by a newer one."""


@dataclass(frozen=True, slots=True)
class RegistryVersion:
    """What holds from the activation of `number` on. Drafts are included."""

    number: int
    triggers: Mapping[str, RegisteredTrigger]
    policies: Mapping[str, Policy]
    documents: Documents = field(default_factory=dict)
    cancelled_to: Mapping[str, int] = field(default_factory=dict)


EMPTY = RegistryVersion(0, {}, {}, {})


class Versions:
    """Versions of one history. Definitions, versions and programs are cached, each bounded."""

    def __init__(self, history: History) -> None:
        self._history = history
        self._versions: OrderedDict[int, RegistryVersion] = OrderedDict()
        self._programs: OrderedDict[int, Program] = OrderedDict()
        self._triggers: OrderedDict[BodyKey, tuple[TriggerDefinition, int]] = OrderedDict()
        self._policies: OrderedDict[BodyKey, Policy] = OrderedDict()

    def version(self, number: int) -> RegistryVersion:
        """Raises UnknownVersionError, UnreadableDefinitionError."""
        if number == 0:
            return EMPTY
        return _cached(self._versions, number, VERSIONS_KEPT_MAX, self._build)

    def program(self, number: int) -> Program:
        """The version compiled. Raises UnknownVersionError, UnreadableDefinitionError."""
        return _cached(self._programs, number, VERSIONS_KEPT_MAX, self._compile)

    def definition(self, trigger_id: str, revision: int) -> TriggerDefinition | None:
        """Any registered revision, None for one that is not. Raises UnreadableDefinitionError."""
        key = BodyKey(TRIGGER, trigger_id, revision)
        if self._history.body(key) is None:
            return None
        return self._trigger(key)[0]

    def policy(self, name: str, revision: int) -> Policy:
        """A registered revision. Raises UnknownVersionError, UnreadableDefinitionError."""
        key = BodyKey(POLICY, name, revision)
        return _cached(self._policies, key, DEFINITIONS_KEPT_MAX, self._read_policy)

    def document(self, kind: str, name: str, revision: int) -> dict[str, Any]:
        """A registered revision of a shared document. Raises UnknownVersionError."""
        return decode_shared(self._stored(BodyKey(kind, name, revision))).document

    def _build(self, number: int) -> RegistryVersion:
        if number not in self._history:
            raise UnknownVersionError(f"version {number} is not in the registry")
        contents = self._history.contents(number)
        # Most of a version is that of its neighbour: 1,000 triggers take 130 ms to read anew.
        near = next(reversed(self._versions.values()), EMPTY).triggers
        triggers = {}
        for name, ref in contents.triggers.items():
            held = near.get(name)
            if held is None or held.revision != ref.revision:
                definition, registered_at_ms = self._trigger(BodyKey(TRIGGER, name, ref.revision))
                held = RegisteredTrigger(definition, ref.revision, ref.state, registered_at_ms)
            canary = None
            if ref.canary:
                definition, registered_at_ms = self._trigger(BodyKey(TRIGGER, name, ref.canary))
                canary = RegisteredTrigger(definition, ref.canary, ref.state, registered_at_ms)
            triggers[name] = held._replace(
                state=ref.state, canary=canary, canary_share=ref.canary_share
            )
        policies = {
            name: self.policy(name, revision) for name, revision in contents.policies.items()
        }
        documents: dict[str, dict[str, Any]] = {}
        for (kind, name), revision in contents.documents.items():
            documents.setdefault(kind, {})[name] = self.document(kind, name, revision)
        return RegistryVersion(number, triggers, policies, documents, contents.cancelled_to)

    def _compile(self, number: int) -> Program:
        version = self.version(number)
        try:
            program = compile_program(
                number, version.triggers.values(), version.policies, version.documents
            )
        except (NotCompilable, ValidationError) as error:
            raise UnreadableDefinitionError(
                f"version {number} is not readable by this release ({error}): "
                "bring every process to the release that registered it"
            ) from error
        program.cancelled_to = version.cancelled_to
        return program

    def _trigger(self, key: BodyKey) -> tuple[TriggerDefinition, int]:
        return _cached(self._triggers, key, DEFINITIONS_KEPT_MAX, self._read_trigger)

    def _read_trigger(self, key: BodyKey) -> tuple[TriggerDefinition, int]:
        body = decode_trigger(self._stored(key))
        try:
            return TriggerDefinition.model_validate(body.document), body.registered_at_ms
        except ValidationError as error:
            raise _unreadable(key, error) from error

    def _read_policy(self, key: BodyKey) -> Policy:
        try:
            return Policy.model_validate(decode_policy(self._stored(key)).document)
        except ValidationError as error:
            raise _unreadable(key, error) from error

    def _stored(self, key: BodyKey) -> bytes:
        body = self._history.body(key)
        if body is None:
            raise UnknownVersionError(f"{key.kind} {key.name} has no revision {key.revision}")
        return body


def _unreadable(key: BodyKey, error: ValidationError) -> UnreadableDefinitionError:
    what = "; ".join(details["msg"] for details in error.errors(include_url=False)[:3])
    return UnreadableDefinitionError(
        f"{key.kind} {key.name} revision {key.revision} is not readable by this release "
        f"({what}): bring every process to the release that registered it"
    )


def _cached(cache: OrderedDict[K, V], key: K, kept_max: int, make: Callable[[K], V]) -> V:
    """The least recently used entry goes first."""
    if key in cache:
        cache.move_to_end(key)
        return cache[key]
    made = cache[key] = make(key)
    if len(cache) > kept_max:
        cache.popitem(last=False)
    return made

"""The fold of the registry topic: which manifests were accepted, and every body they name.

Pure, and a function of the topic alone: whether a manifest counts never depends on who reads it,
when, or with which release. So a document is not validated here but where it is used.
"""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple, TypeVar

from engine.registry.entries import (
    POLICY,
    TRIGGER,
    BadEntryError,
    BodyEntry,
    BodyKey,
    Manifest,
    ManifestEntry,
    TriggerRef,
    decode_entry,
)

K = TypeVar("K")
T = TypeVar("T")

#: Applies whose bodies were read and whose manifest was not, the oldest forgotten first.
UNFINISHED_MAX = 64


class Fate(StrEnum):
    """What became of a record of the topic."""

    BODY = "body"
    ACCEPTED = "accepted"
    VOID = "void"
    MALFORMED = "malformed"


class Read(NamedTuple):
    """What one record was. `number`: the version it made; `why`: the reason when it made none."""

    fate: Fate
    number: int = 0
    apply_id: str = ""
    why: str = ""


#: The kind and the name of a shared document.
DocumentKey = tuple[str, str]


class Contents(NamedTuple):
    """What a version holds; `documents` are revisions by kind and name, `cancelled_to` as in
    `Manifest`."""

    triggers: dict[str, TriggerRef]
    policies: dict[str, int]
    documents: dict[DocumentKey, int]
    cancelled_to: dict[str, int]


class About(NamedTuple):
    """Who made a version, when and why."""

    number: int
    base: int
    by: str
    at_ms: int
    message: str


@dataclass(frozen=True, slots=True)
class _Step:
    """A version as its difference to the one before: a full copy of each would grow without end.

    None: removed.
    """

    about: About
    triggers: dict[str, TriggerRef | None]
    policies: dict[str, int | None]
    documents: dict[DocumentKey, int | None]
    cancelled_to: dict[str, int | None]


@dataclass(slots=True)
class History:
    """All of the topic up to `position`, the next offset to read."""

    position: int = 0
    malformed: int = 0
    void: int = 0
    _steps: dict[int, _Step] = field(default_factory=dict)
    _latest: Contents = field(default_factory=lambda: Contents({}, {}, {}, {}))
    _bodies: dict[BodyKey, bytes] = field(default_factory=dict)
    _revisions: dict[tuple[str, str], int] = field(default_factory=dict)
    _unfinished: dict[str, dict[BodyKey, bytes]] = field(default_factory=dict)

    @property
    def latest(self) -> int:
        """The number of the version accepted last, 0 for none."""
        return next(reversed(self._steps), 0)

    def __contains__(self, number: int) -> bool:
        return number == 0 or number in self._steps

    def about(self, number: int) -> About:
        """Raises KeyError for a number that is no version (0 has no author)."""
        return self._steps[number].about

    def latest_at(self, at_ms: int) -> int:
        """The version accepted last at that time by its author's clock, 0 for none."""
        numbers = [n for n, step in self._steps.items() if step.about.at_ms <= at_ms]
        return max(numbers, default=0)

    def contents(self, number: int) -> Contents:
        """What a version holds; raises KeyError for a number that is no version."""
        if number == self.latest:
            found = self._latest
            return Contents(
                dict(found.triggers),
                dict(found.policies),
                dict(found.documents),
                dict(found.cancelled_to),
            )
        if number not in self:
            raise KeyError(number)
        contents = Contents({}, {}, {}, {})
        for step in self._steps.values():
            if step.about.number > number:
                break
            _put(contents.triggers, step.triggers)
            _put(contents.policies, step.policies)
            _put(contents.documents, step.documents)
            _put(contents.cancelled_to, step.cancelled_to)
        return contents

    def body(self, key: BodyKey) -> bytes | None:
        """The body of a revision that some version named, or None."""
        return self._bodies.get(key)

    def next_revision(self, kind: str, name: str) -> int:
        """One more than any version ever named: also after a removal no number comes twice."""
        return self._revisions.get((kind, name), 0) + 1

    def feed(self, offset: int, key: bytes | None, value: bytes | None) -> Read:
        """Take the next record. Offsets must grow; raises ValueError when they do not."""
        if offset < self.position:
            raise ValueError(f"offset {offset} again: read up to {self.position} already")
        self.position = offset + 1
        try:
            entry = decode_entry(key, value)
        except BadEntryError as error:
            self.malformed += 1
            return Read(Fate.MALFORMED, why=str(error))
        if isinstance(entry, BodyEntry):
            return self._take_body(entry)
        return self._take_manifest(offset + 1, entry)

    def _take_body(self, entry: BodyEntry) -> Read:
        bodies = self._unfinished.setdefault(entry.apply_id, {})
        bodies[entry.key] = entry.value
        if len(self._unfinished) > UNFINISHED_MAX:
            del self._unfinished[next(iter(self._unfinished))]
        return Read(Fate.BODY, apply_id=entry.apply_id)

    def _take_manifest(self, number: int, entry: ManifestEntry) -> Read:
        apply_id, manifest = entry
        bodies = self._unfinished.pop(apply_id, {})
        why = self._objection(manifest, bodies)
        if why:
            self.void += 1
            return Read(Fate.VOID, apply_id=apply_id, why=why)
        for key in _named(manifest):
            if key not in self._bodies:
                self._bodies[key] = bodies[key]
                self._revisions[key.kind, key.name] = key.revision
        about = About(number, manifest.base, manifest.by, manifest.at_ms, manifest.message)
        self._steps[number] = _Step(
            about,
            _difference(self._latest.triggers, manifest.triggers),
            _difference(self._latest.policies, manifest.policies),
            _difference(self._latest.documents, documents_of(manifest)),
            _difference(self._latest.cancelled_to, manifest.cancelled_to),
        )
        self._latest = Contents(
            dict(manifest.triggers),
            dict(manifest.policies),
            documents_of(manifest),
            dict(manifest.cancelled_to),
        )
        return Read(Fate.ACCEPTED, number=number, apply_id=apply_id)

    def _objection(self, manifest: Manifest, bodies: dict[BodyKey, bytes]) -> str:
        if manifest.base != self.latest:
            return f"made from version {manifest.base}, but the latest was {self.latest}"
        for key in _named(manifest):
            if key in self._bodies:
                continue
            if key not in bodies:
                return f"names {key.kind} {key.name} revision {key.revision}, which has no body"
            if key.revision < self.next_revision(key.kind, key.name):
                return f"{key.kind} {key.name} revision {key.revision} is not a new one"
        return ""


def _named(manifest: Manifest) -> list[BodyKey]:
    refs = manifest.triggers.items()
    keys = [BodyKey(TRIGGER, name, ref.revision) for name, ref in refs]
    keys += [BodyKey(TRIGGER, name, ref.canary) for name, ref in refs if ref.canary]
    keys += [BodyKey(POLICY, name, rev) for name, rev in manifest.policies.items()]
    return keys + [BodyKey(*key, rev) for key, rev in documents_of(manifest).items()]


def documents_of(manifest: Manifest) -> dict[DocumentKey, int]:
    """The revisions of the shared documents by kind and name."""
    return {
        (kind, name): revision
        for kind, revisions in manifest.documents.items()
        for name, revision in revisions.items()
    }


def _difference(before: dict[K, T], after: dict[K, T]) -> dict[K, T | None]:
    changes: dict[K, T | None] = {name: None for name in before if name not in after}
    changes.update({name: item for name, item in after.items() if before.get(name) != item})
    return changes


def _put(into: dict[K, T], changes: dict[K, T | None]) -> None:
    for name, item in changes.items():
        if item is None:
            into.pop(name, None)
        else:
            into[name] = item

"""A story: what became of one user, and its JSON (docs/interfaces.md, "Explain")."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from schemas.decisions import utc
from triggers.calendar import find_zone
from triggers.check_values import Weighed, named
from triggers.conditions import ClauseResult
from triggers.explaining import Entry
from triggers.outlook import Condition, Outlook, Pending, outlook
from triggers.paths import MISSING
from triggers.problems import suggestion
from triggers.program import Program
from triggers.state import UserState
from triggers.traits import ZONE_CHARS_MAX


class UnknownTriggerError(Exception):
    """No trigger of that id decides (a draft does not), and none did in the window."""


@dataclass(slots=True)
class Story:
    """One user between two log times (ms). `shard` None: from a file.

    `approximate` says why what is told may not be what was decided. `stored`: `state` is the live
    one, not the one decided again. `records` counts the user's records, `unread` those that are
    dead letters (`dead_letters`: the first ones and why). `dropped` entries were older than those
    kept. `said`: decision time -> trigger.
    """

    user: str
    program: Program
    state: UserState
    from_ms: int
    to_ms: int
    zone: str = "UTC"
    shard: int | None = None
    entries: Sequence[Entry] = ()
    approximate: list[str] = field(default_factory=list)
    stored: bool = False
    records: int = 0
    unread: int = 0
    dead_letters: list[str] = field(default_factory=list)
    dropped: int = 0
    said: Mapping[int, str] = field(default_factory=dict)

    @property
    def profile(self) -> list[Entry]:
        """What happened to the profile as a whole: merges."""
        return [entry for entry in self.entries if not entry.trigger]

    def chapters(self, only: str | None = None) -> dict[str, "Chapter"]:
        """By trigger: those of which there is something to tell, or the one asked for.

        Raises UnknownTriggerError.
        """
        found: dict[str, list[Entry]] = {} if only is None else {only: []}
        for entry in self.entries:
            if entry.trigger and only in (None, entry.trigger):
                found.setdefault(entry.trigger, []).append(entry)
        chapters = {}
        for name in sorted({*found, *(self.program.triggers if only is None else ())}):
            trigger = self.program.triggers.get(name)
            if trigger is None and only is not None and not found[name]:
                hint = suggestion(name, self.program.triggers)
                raise UnknownTriggerError(f"no trigger {name} decides{hint}")
            seen = None
            if trigger is not None:
                seen = outlook(trigger, self.user, self.state, self.to_ms)
                seen = seen._replace(checks=named(seen.checks, self.said))
            if name in found or (seen and seen.pending):
                revision, state = (trigger.revision, trigger.state) if trigger else (0, "removed")
                chapters[name] = Chapter(revision, state, found.get(name, []), seen)
        return chapters


@dataclass(slots=True)
class Chapter:
    """One trigger. `outlook` None: it is not registered any more."""

    revision: int
    state: str
    entries: list[Entry]
    outlook: Outlook | None


def story_json(story: Story, only: str | None = None) -> dict[str, Any]:
    """Without `version`, which every JSON output has. Raises UnknownTriggerError."""
    return {
        "user": story.user,
        "shard": story.shard,
        "zone": story.zone,
        "from": utc(story.from_ms),
        "to": utc(story.to_ms),
        "records": story.records,
        "unread": story.unread,
        "dead_letters": story.dead_letters,
        "dropped": story.dropped,
        "approximate": story.approximate,
        "state": "stored" if story.stored else "decided",
        "profile": [_entry(entry) for entry in story.profile],
        "triggers": {name: _chapter(found) for name, found in story.chapters(only).items()},
    }


def _chapter(chapter: Chapter) -> dict[str, Any]:
    seen = chapter.outlook
    return {
        "revision": chapter.revision,
        "state": chapter.state,
        "entries": [_entry(entry) for entry in chapter.entries],
        "pending": [_pending(pending) for pending in seen.pending] if seen else [],
        "starts": [_condition(condition) for condition in seen.starts] if seen else [],
        "unless": [_condition(condition) for condition in seen.unless] if seen else [],
        "waits_ms": list(seen.waits_ms) if seen else [],
        "idle_ms": seen.idle_ms if seen else 0,
        "now": [_check(check) for check in seen.checks] if seen else [],
    }


def _entry(entry: Entry) -> dict[str, Any]:
    seen = entry.event
    return {
        "at": utc(entry.at),
        "what": entry.what.value,
        "reason": entry.reason,
        "note": entry.note,
        "event": seen
        and {"name": seen.name, "id": seen.message_id, "occurred_at": utc(seen.occurred_at)},
        "activation": entry.activation,
        "per": entry.per,
        "due_at": None if entry.due_at is None else utc(entry.due_at),
        "delivery_id": entry.delivery_id,
        "clauses": [_clause(clause) for clause in entry.clauses],
        "checks": [_check(check) for check in entry.checks],
    }


def _clause(clause: ClauseResult) -> dict[str, Any]:
    return {
        "path": clause.path,
        "operator": clause.operator,
        "operand": clause.operand,
        "compared": None if clause.compared is MISSING else clause.compared,
        "value": None if clause.value is MISSING else clause.value,
        "missing": clause.value is MISSING,
        "result": clause.result,
    }


def _check(check: Weighed) -> dict[str, Any]:
    return {
        "check": check.name,
        "reason": check.reason,
        "values": _values(check.values),
        "clauses": [_clause(clause) for clause in check.clauses],
    }


def _values(values: Mapping[str, Any]) -> dict[str, Any]:
    """Times are texts outside, as everywhere."""
    return {
        name: utc(value) if name.endswith("_at") and value is not None else value
        for name, value in values.items()
    }


def _pending(pending: Pending) -> dict[str, Any]:
    return {**pending._asdict(), "due_at": utc(pending.due_at)}


def _condition(condition: Condition) -> dict[str, Any]:
    clauses = [
        {"path": path, "operator": operator, "operand": operand}
        for path, operator, operand in condition.clauses
    ]
    return {"event": condition.event, "where": clauses}


def zone_of(state: UserState, fallback: str) -> str:
    """The user's zone, or that of the policy when theirs is unknown or no zone."""
    for name in (state.zone[:ZONE_CHARS_MAX], fallback):
        if find_zone(name) is not None:
            return name
    return "UTC"

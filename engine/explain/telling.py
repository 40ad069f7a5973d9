"""A story for people: one line a moment in the user's local time, the values below it."""

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from engine.explain.story import Chapter, Story
from schemas.reasons import Unevaluated
from triggers.check_values import Weighed
from triggers.conditions import ClauseResult
from triggers.durations import format_duration
from triggers.explaining import Entry, Note, What
from triggers.outlook import Condition, Outlook, Pending
from triggers.paths import MISSING

#: Of each trigger, unless one trigger is asked for.
ENTRIES_SHOWN_MAX = 12
_VALUE_CHARS_MAX = 60

_SYMBOLS: Mapping[str, str] = {
    "eq": "=",
    "ne": "!=",
    "gt": ">",
    "gte": ">=",
    "lt": "<",
    "lte": "<=",
    "not_in": "not in",
    "prefix": "begins with",
    "within_km": "within km",
}
_UNEVALUATED: Mapping[str, str] = {
    Unevaluated.PER_MISSING: "the event has no value at `per` (or at what is counted)",
    Unevaluated.LATE_EVENT: "it reached the log more than 24 h after it happened",
    Unevaluated.COULD_NOT_EVALUATE: "a value is of the wrong type for its operator",
    Unevaluated.REPEATED: "it was acted on already",
    Unevaluated.CONSENT: "the user refuses profiling, or agreed to it later",
    Unevaluated.NOT_ACTIVE: "it happened outside the days of the trigger's `active`",
}
_NOTES: Mapping[Note, str] = {
    Note.REMEMBERED: "an earlier cancel is remembered",
    Note.OVERFLOW: "too many instances: the oldest ends",
    Note.WITHDRAWN: "an apply cancelled what was pending",
    Note.AGAIN: "not the first outcome of this delivery: it does not count",
}
_STATES: Mapping[str, str] = {
    "paused": "paused: nothing is sent; `tripline resume {id}`",
    "shadow": "shadow: decided and recorded, not sent",
    "removed": "not registered any more",
}

Clock = Callable[[int], str]


def story_lines(story: Story, only: str | None = None) -> Iterable[str]:
    """The whole story. Raises UnknownTriggerError."""
    clock = _clock(story.zone)
    chapters = story.chapters(only)
    place = "" if story.shard is None else f", shard {story.shard}"
    yield f"{_plain(story.user)}{place}: {story.records} records"
    yield f"{clock(story.from_ms)} to {clock(story.to_ms)} ({story.zone})"
    for why in story.approximate:
        yield f"approximate: {why}"
    if story.unread:
        yield f"{story.unread} records are dead letters:"
        yield from (f"  {_plain(line)}" for line in story.dead_letters)
    for entry in story.profile[-ENTRIES_SHOWN_MAX:]:
        yield f"  {clock(entry.at)}  {_moment(entry, clock)}"
    if not chapters:
        yield "no trigger names any of them, and nothing is pending"
    for name, chapter in chapters.items():
        yield ""
        shown_max = len(chapter.entries) if only else ENTRIES_SHOWN_MAX
        yield from _chapter_lines(name, chapter, clock, story.to_ms, shown_max)


def _chapter_lines(
    name: str, chapter: Chapter, clock: Clock, now_ms: int, shown_max: int
) -> Iterable[str]:
    yield f"{name} (revision {chapter.revision}, {chapter.state})"
    earlier = max(0, len(chapter.entries) - shown_max)
    if earlier:
        yield f"  ({earlier} earlier moments: --trigger {name} shows them)"
    for entry in chapter.entries[earlier:]:
        yield f"  {clock(entry.at)}  {_moment(entry, clock)}"
        for clause in entry.clauses:
            yield f"      {clause_text(clause)}"
        yield from _check_lines(entry, clock)
    if chapter.outlook is not None:
        for pending in chapter.outlook.pending:
            yield f"  pending: {_pending_text(pending, chapter.outlook, clock)}"
    yield from _next_lines(name, chapter, clock, now_ms)


def _check_lines(entry: Entry, clock: Clock) -> Iterable[str]:
    passed = [check for check in entry.checks if check.reason is None]
    for check in entry.checks:
        if check.reason is not None:
            yield f"      {check_text(check, clock, entry.at)}"
    texts = [check_text(check, clock, entry.at) for check in passed]
    # A bare name passed because the trigger asks for nothing there.
    told = [text for text, check in zip(texts, passed, strict=True) if text != check.name]
    if told:
        yield f"      passed: {'; '.join(told)}"


def _moment(entry: Entry, clock: Clock) -> str:
    cause = f"`{entry.event.name}` {entry.event.message_id}" if entry.event else "time"
    due = "" if entry.due_at is None else clock(entry.due_at)
    per = f" [{entry.per}]" if entry.per else ""
    what, reason = entry.what, entry.reason
    texts = {
        What.NOT_MATCHED: f"{cause} does not match",
        What.NOT_EVALUATED: f"{cause}: {reason}: {_UNEVALUATED.get(reason or '', '')}",
        What.NOT_CANCELLED: f"{cause} does not cancel {entry.activation}{per}, due {due}",
        What.IGNORED: f"{cause} changes nothing"
        + (f": waiting until {due} already" if due else ""),
        What.COUNTED: f"{cause} is one of those the pattern needs",
        What.NOTED: f"{cause} is remembered for 24 h: it cancels starts that come late",
        What.ARMED: f"ARMED by {cause}{per}: due {due}",
        What.RESTARTED: f"RESTARTED by {cause}{per}: due {due}",
        What.NEXT_STEP: f"next message of {entry.activation}{per}: due {due}",
        What.COLLECTED: f"{cause}{per} waits in a bundle that closes {due}",
        What.SETTLING: f"{cause}{per} competes until {due}",
        What.HELD: f"{entry.activation}{per} is held: {reason}, looked at again {due}",
        What.DEFERRED: f"{entry.activation} is decided later",
        What.CALLED_BACK: f"{cause} calls delivery {entry.delivery_id} back: {reason}",
        What.OUTCOME: f"outcome {reason} of delivery {entry.delivery_id}",
        What.ADMITTED: f"ADMITTED {entry.activation}{per}: delivery {entry.delivery_id}",
        What.CANCELLED: f"CANCELLED {entry.activation}{per} by {cause}",
        What.MERGED: "becomes one with "
        + (f"user {entry.activation}" if entry.activation else "another profile"),
        What.CONSENT: f"{cause} changes consent: {entry.activation}",
        What.FORWARDED: f"{cause} goes to the user it is one with",
        What.RECORDED: f"{reason} {entry.activation} (in the journal; not decided again)",
    }
    text = texts.get(what) or f"{what} {reason or ''} {entry.activation}{per} by {cause}"
    return _plain(text + (f" ({_NOTES[entry.note]})" if entry.note else ""))


def clause_text(clause: ClauseResult) -> str:
    """`price 18 < 20`; what was false or could not be evaluated says so."""
    path = clause.path.removeprefix("properties.")
    symbol = _SYMBOLS.get(clause.operator, clause.operator)
    operand = _value(clause.compared)
    if clause.operand != clause.compared:
        operand = f"{operand} ({_operand(clause.operand)})"
    text = f"{path} {_value(clause.value)} {symbol} {operand}"
    return text + {True: "", False: ": no", None: ": could not evaluate"}[clause.result]


def check_text(check: Weighed, clock: Clock, at_ms: int) -> str:
    """`SPACING: favourite-drop at 11:20, free at 13:20`, or the name of a check that passed."""
    clock = _near(clock, at_ms)
    name = check.reason or check.name
    facts = _FACTS.get(check.name, _facts)(check.values, clock)
    facts = "; ".join([facts] * bool(facts) + [clause_text(clause) for clause in check.clauses])
    separator = ": " if check.reason else " "
    free_at = check.values.get("free_at")
    if check.reason and free_at is not None:
        word = "opens" if check.name == "quiet" else "free"
        facts = f"{facts}, {word} at {clock(free_at)}"
    return _plain(f"{name}{separator}{facts}" if facts else name)


def _consent(values: Mapping[str, Any], clock: Clock) -> str:
    if "consent" not in values:
        return "" if values.get("marketing", True) else "transactional"
    since_at = values["since_at"]
    how = "not agreed to" if since_at is None else f"refused since {clock(since_at)}"
    return f"{values['consent']} {how}"


def _device(values: Mapping[str, Any], clock: Clock) -> str:
    off = values.get("not_permitted")
    return f"{values['devices']} known" + (f", {off} without permission" if off else "")


def _last(values: Mapping[str, Any], last: str, clock: Clock) -> str:
    at = values.get(last)
    if at is None:
        return "nothing before"
    return f"{values.get('last_trigger', 'last')} at {clock(at)}"


def _spacing(values: Mapping[str, Any], clock: Clock) -> str:
    if "period_ms" not in values:
        return "transactional"
    if not values["period_ms"]:
        return ""
    return f"{_last(values, 'last_at', clock)}, {format_duration(values['period_ms'])} apart"


def _cooldown(values: Mapping[str, Any], clock: Clock) -> str:
    parts = []
    for name, what in (("user", ""), ("per", " for this value")):
        period_ms = values.get(f"{name}_ms")
        if period_ms:
            last = _last(values, f"{name}_last_at", clock)
            parts.append(f"{last}{what}, {format_duration(period_ms)} apart")
    return "; ".join(parts)


def _caps(values: Mapping[str, Any], clock: Clock) -> str:
    caps = []
    for cap in values.get("caps", ()):
        calendar = cap.get("calendar")
        window = f"per calendar {calendar}" if calendar else f"in {format_duration(cap['per_ms'])}"
        of = f" {cap['category']}" if "category" in cap else ""
        caps.append(f"{cap['used']} of {cap['max']}{of} {window}")
    return ", ".join(caps)


def _priority(values: Mapping[str, Any], clock: Clock) -> str:
    return f"{_last(values, 'last_at', clock)} won" if "last_at" in values else ""


def _quiet(values: Mapping[str, Any], clock: Clock) -> str:
    if "local" not in values:
        return ""
    closed = " and ".join(f"{start}-{end}" for start, end in values["closed"]) or "usual hour"
    return f"{values['local']} in {values['zone']}, closed {closed}"


def _text(values: Mapping[str, Any], clock: Clock) -> str:
    if "text" not in values:
        return ""
    at = values["last_at"]
    used = "never said" if at is None else f"said at {clock(at)}"
    return f"next is {values['text']}, {used}, no repeat in {format_duration(values['period_ms'])}"


def _facts(values: Mapping[str, Any], clock: Clock) -> str:
    """Of a check nobody has found words for."""
    return ", ".join(
        f"{name} {clock(value) if name.endswith('_at') and value is not None else _value(value)}"
        for name, value in values.items()
        if name != "free_at"
    )


_FACTS: Mapping[str, Callable[[Mapping[str, Any], Clock], str]] = {
    "rollout": lambda values, clock: (
        f"bucket {values['bucket']}, below {values['rollout']} is in" if "bucket" in values else ""
    ),
    "global_control": lambda values, clock: (
        f"bucket {values['bucket']}, {values['size']} from {values['starts']} on are withheld"
        if "bucket" in values
        else ""
    ),
    "control": lambda values, clock: (
        f"{values['arm'] or 'over'}, bucket {values['bucket']}" if "bucket" in values else ""
    ),
    "state": lambda values, clock: str(values["state"]),
    "consent": _consent,
    "device": _device,
    "spacing": _spacing,
    "cooldown": _cooldown,
    "caps": _caps,
    "quiet": _quiet,
    "priority": _priority,
    "text": _text,
}


def _pending_text(pending: Pending, seen: Outlook, clock: Clock) -> str:
    due = clock(pending.due_at)
    if pending.kind == "settling":
        return f"{pending.activation} competes until {due}"
    if pending.kind == "held":
        return f"{pending.activation} is held until {due}"
    if pending.kind == "bundle":
        return f"a bundle of {pending.size} closes {due}"
    if pending.kind == "watch":
        return f"due {due} if nothing happens"
    if pending.kind == "delivery":
        how = "called back, " if pending.cancelled else ""
        return f"delivery {pending.delivery_id}: {how}no outcome yet"
    per = f" [{pending.per}]" if pending.per else ""
    unless = " or ".join(dict.fromkeys(f"`{condition.event}`" for condition in seen.unless))
    return _plain(f"{pending.activation}{per} due {due}" + (f" unless {unless}" if unless else ""))


def _next_lines(name: str, chapter: Chapter, clock: Clock, now_ms: int) -> Iterable[str]:
    """What would have to happen."""
    seen = chapter.outlook
    if chapter.state in _STATES:
        yield f"  {_STATES[chapter.state].format(id=name)}"
    if seen is None:
        return
    starts = [_condition_text(condition) for condition in seen.starts]
    if seen.idle_ms:
        starts.append(f"{format_duration(seen.idle_ms)} without any activity")
    if starts:
        yield _plain(f"  starts with {' or '.join(dict.fromkeys(starts))}")
    if seen.waits_ms:
        waits = ", ".join(format_duration(wait_ms) for wait_ms in seen.waits_ms)
        unless = " or ".join(_condition_text(condition) for condition in seen.unless)
        yield _plain(f"  then {waits}" + (f" without {unless}" if unless else ""))
    for check in seen.checks:
        if check.reason is not None:
            yield f"  now it would be {check_text(check, clock, now_ms)}"


def _condition_text(condition: Condition) -> str:
    clauses = [
        f"{path.removeprefix('properties.')} {_SYMBOLS.get(operator, operator)} {_operand(operand)}"
        for path, operator, operand in condition.clauses
    ]
    where = f" with {' and '.join(clauses)}" if clauses else ""
    return f"`{condition.event}`{where}"


def _clock(zone: str) -> Clock:
    where = ZoneInfo(zone)
    return lambda at_ms: datetime.fromtimestamp(at_ms // 1000, where).strftime("%Y-%m-%d %H:%M:%S")


def _near(clock: Clock, at_ms: int) -> Clock:
    """Times of the same day without their date."""
    day = clock(at_ms)[:11]
    return lambda moment_ms: clock(moment_ms).removeprefix(day).removesuffix(":00")


def _value(value: Any) -> str:
    if value is MISSING:
        return "(missing)"
    text = repr(value) if isinstance(value, str) else str(value)
    return text if len(text) <= _VALUE_CHARS_MAX else text[: _VALUE_CHARS_MAX - 3] + "..."


def _operand(operand: Any) -> str:
    """As written: a reference is not a text."""
    is_reference = isinstance(operand, str) and operand.startswith("$")
    return operand if is_reference else _value(operand)


def _plain(text: str) -> str:
    """Names come from emitters: nothing in them may steer the terminal."""
    return "".join(character if character.isprintable() else "?" for character in text)

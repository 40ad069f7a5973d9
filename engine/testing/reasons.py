"""Why an event of a test did nothing: the clauses that failed, with their values."""

from collections.abc import Iterable
from typing import Any

from engine.testing.timeline import Step, Timeline
from engine.testing.waiting import wait_lines
from schemas.events import Event, event_name
from schemas.reasons import Unevaluated
from triggers.conditions import ClauseResult, Filter
from triggers.durations import format_duration
from triggers.names import ANY, role_name
from triggers.paths import MISSING, Many
from triggers.problems import suggestion
from triggers.program import CompiledTrigger

_NOT_EVALUATED = {
    Unevaluated.PER_MISSING: "PER_MISSING: it has no value at the trigger's `per`",
    Unevaluated.LATE_EVENT: "LATE_EVENT: it reached the log more than 24 h after it happened",
    Unevaluated.CONSENT: "CONSENT: the user refuses profiling, or agreed to it later",
    Unevaluated.NOT_ACTIVE: "NOT_ACTIVE: it happens outside the days of `active` (see `now`)",
    Unevaluated.REPEATED: "REPEATED: the same message, or not later than what has ended",
}
_SHOWN_MAX = 20


def reasons(timeline: Timeline) -> list[str]:
    """One line for each event and clause of the test's trigger that came to nothing, and for each
    candidate that waited before it was decided."""
    trigger = timeline.case.program.triggers[timeline.case.trigger.id]
    waited = any(wait.trigger == trigger.id for wait in timeline.waited)
    silent = not waited and all(got.trigger != trigger.id for got in timeline.got)
    lines = [
        f"{format_duration(step.given.at_ms)} {_label(step.event)}: {reason}"
        for step in timeline.steps
        for reason in (*_of_step(trigger, step), *(_unfinished(trigger, step) if silent else ()))
    ]
    lines += wait_lines(timeline.case, timeline.waited, timeline.waiting)
    if len(lines) > _SHOWN_MAX:
        lines[_SHOWN_MAX:] = [f"... and {len(lines) - _SHOWN_MAX} more"]
    return lines


def _of_step(trigger: CompiledTrigger, step: Step) -> Iterable[str]:
    if step.unsent:
        yield f"no message of {step.unsent} was sent before"
    if step.given.outcome is not None:
        return
    name = role_name(step.event)
    wants = [("when", want.filter) for want in trigger.pattern.wants if want.name in (name, ANY)]
    cancels = [
        (f"unless[{number}]", clause.filter)
        for number, clause in enumerate(trigger.unless)
        if name in clause.names
    ]
    if not wants and not cancels:
        named = {want.name for want in trigger.pattern.wants}
        named.update(name for clause in trigger.unless for name in clause.names)
        if named and name == event_name(step.event):
            yield f"{trigger.id} does not name it{suggestion(str(name), named)}"
    for place, found in (*wants, *cancels):
        if found.static is not None and found.static(step.event) is not True:
            yield from (f"{place}: {text}" for text in _failing(found, step.event, {}))
    for place, found in cancels:
        # A clause that compares with `$start` is asked of every instance by itself.
        if found.dynamic is None or (found.static and found.static(step.event) is not True):
            continue
        for instance in step.pending:
            if instance.trigger == trigger.id:
                failing = _failing(found, step.event, instance.fields)
                yield from (f"{place} did not cancel: {text}" for text in failing)
    for owner, why in step.unevaluated:
        if owner == trigger.id and why in _NOT_EVALUATED:
            yield _NOT_EVALUATED[why]
    judged = [found.static(step.event) for _, found in (*wants, *cancels) if found.static]
    if (trigger.id, Unevaluated.COULD_NOT_EVALUATE) in step.unevaluated and None not in judged:
        yield "COULD_NOT_EVALUATE: its audience needs a value that is missing or of a wrong type"


def _unfinished(trigger: CompiledTrigger, step: Step) -> Iterable[str]:
    """A pattern of several events that never came to anything: which ones it has seen."""
    waits = any(instance.trigger == trigger.id for instance in step.pending)
    matched = any(role.trigger.id == trigger.id for role in step.hits.starts)
    refused = any(owner == trigger.id and why in _NOT_EVALUATED for owner, why in step.unevaluated)
    if matched and not waits and not refused:
        yield "it matches `when`, but the pattern is not complete"


def _failing(found: Filter, event: Event, start_fields: dict[str, Any]) -> list[str]:
    results = found.explain(event, start_fields)
    if not start_fields:
        results = [result for result in results if not _refers(result)]
    failing = [result for result in results if result.result is not True]
    # Under `not` it is the clauses that hold which are to blame.
    return [clause_text(result) for result in failing or results]


def _refers(result: ClauseResult) -> bool:
    return "$start." in str(result.operand) or "$event." in str(result.operand)


def clause_text(result: ClauseResult) -> str:
    """`properties.price is 18, not gte 20`."""
    wanted = f"{result.operator} {_value(result.operand)}"
    if result.compared != result.operand:
        wanted += f" ({_value(result.compared)})"
    if result.value is MISSING:
        return f"{result.path} is missing ({wanted})"
    value = _value(result.value)
    if result.result is None:
        return f"{result.path} is {value}: cannot be compared ({wanted})"
    return f"{result.path} is {value}{',' if result.result else ', not'} {wanted}"


def _value(value: Any) -> str:
    if value is MISSING:
        return "missing"
    if isinstance(value, Many):
        value = list(value)
    if isinstance(value, str):
        return value if value.startswith("$") else f"'{value[:80]}'"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return str(value)[:80]


def _label(event: Event) -> str:
    if event.type == "outcome":
        return f"outcome {event.message_id.partition(':')[2]}"
    return event_name(event) or event.type

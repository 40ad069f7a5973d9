"""From definitions to a program: each trigger compiled once, when its version of the registry is.

How a pattern is built stands with it (`triggers.patterns.KINDS`).
"""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from triggers.conditions import compile_filter
from triggers.definition import Policy, TriggerDefinition
from triggers.definition import Unless as UnlessDefinition
from triggers.filters import BOTH
from triggers.keeping import compile_keeper
from triggers.paths import compile_path
from triggers.patterns import kind_of
from triggers.patterns.base import PatternContext
from triggers.policy import Cap, CompiledPolicy, grace_for
from triggers.program import CompiledTrigger, Program, Step, Unless, build_program
from triggers.shared import NO_DOCUMENTS, NOTHING_SHARED, Documents, Shared, parse_shared
from triggers.texts import declared_paths


class RegisteredTrigger(NamedTuple):
    """A definition as a version of the registry holds it; `state` overrides the definition's."""

    definition: TriggerDefinition
    revision: int
    state: str
    registered_at_ms: int


def compile_program(
    number: int,
    triggers: Iterable[RegisteredTrigger],
    policies: Mapping[str, Policy],
    documents: Documents = NO_DOCUMENTS,
) -> Program:
    """Version `number` of the registry, ready to decide. Drafts are left out."""
    shared = parse_shared(documents)
    compiled_policies = {name: compile_policy(policy) for name, policy in policies.items()}
    return build_program(
        number,
        (
            compile_trigger(trigger, compiled_policies, policies, shared)
            for trigger in triggers
            if trigger.state != "draft"
        ),
    )


def compile_policy(policy: Policy) -> CompiledPolicy:
    """The values admission reads."""
    return CompiledPolicy(
        spacing_ms=policy.spacing_ms,
        cooldown_ms=policy.cooldown_ms,
        caps=tuple(Cap(cap.max_count, cap.per_ms, cap.channel) for cap in policy.caps),
        grace_ms=policy.grace_ms,
    )


def compile_trigger(
    registered: RegisteredTrigger,
    compiled_policies: Mapping[str, CompiledPolicy],
    policies: Mapping[str, Policy],
    shared: Shared = NOTHING_SHARED,
) -> CompiledTrigger:
    """One trigger with its pattern, `unless` clauses and policy."""
    definition = registered.definition
    policy = compiled_policies.get(definition.policy, CompiledPolicy())
    kind = kind_of(definition.when)
    unless = tuple(_compile_unless(clause, kind.one_event) for clause in definition.unless)
    start_paths, event_paths = _stored_paths(definition, unless, kind.one_event)
    context = PatternContext(
        trigger=definition.id,
        since_ms=registered.registered_at_ms,
        policy=policy,
        zone=policies.get(definition.policy, Policy()).zone,
        keep_start=compile_keeper(start_paths),
        keep_event=compile_keeper(event_paths),
        event_paths=event_paths,
        places=shared.places,
    )
    pattern = kind.build(definition.when, context)
    marketing = definition.class_ == "marketing"
    user_ms, per_ms = _cooldowns(definition, policy, marketing)
    return CompiledTrigger(
        id=definition.id,
        revision=registered.revision,
        state=registered.state,
        marketing=marketing,
        lane=definition.lane,
        priority=definition.priority,
        pattern=pattern,
        per=None if definition.per in ("user", "event") else compile_path(definition.per),
        per_event=definition.per == "event",
        policy=policy,
        cooldown_user_ms=user_ms,
        cooldown_per_ms=per_ms,
        expires_ms=definition.expires_after_ms(0),
        one_event=kind.one_event,
        unless=unless,
        steps=_steps(definition, policy),
        bundle_ms=definition.bundle.window_ms if definition.bundle else 0,
        bundle_max=definition.bundle.max_count if definition.bundle else 0,
        restart=definition.on_repeat != "keep",
        restart_at_most_ms=definition.restart_at_most_ms or 0,
        traits=pattern.traits,
        zoned=pattern.zoned,
    )


def _steps(definition: TriggerDefinition, policy: CompiledPolicy) -> tuple[Step, ...]:
    waits = [(step.after_ms, step.message) for step in definition.series]
    if definition.wait_ms is not None:
        waits = [(definition.wait_ms, "")]
    return tuple(
        Step(ms, grace_for(policy, ms), definition.expires_after_ms(ms), text) for ms, text in waits
    )


def _compile_unless(clause: UnlessDefinition, one_event: bool) -> Unless:
    compiled = compile_filter(clause.where, references=BOTH, one_event=one_event)
    return Unless(clause.events, compiled, compile_keeper(compiled.event_paths))


def _stored_paths(
    definition: TriggerDefinition, unless: Iterable[Unless], one_event: bool
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Only what conditions and texts name is kept of `$start` and of `$event` (minimisation,
    design.md 4). When they are one event, what is named of either is kept of it."""
    start: dict[str, None] = {}
    event: dict[str, None] = start if one_event else {}
    start.update(dict.fromkeys(definition.when.start_paths))
    for clause in unless:
        start.update(dict.fromkeys(clause.filter.start_paths))
        event.update(dict.fromkeys(clause.filter.completing_paths))
    for message in definition.all_messages:
        found = declared_paths((message.push.title, message.push.body))
        start.update(dict.fromkeys(found["start"]))
        event.update(dict.fromkeys(found["event"]))
    return tuple(start), tuple(event)


def _cooldowns(
    definition: TriggerDefinition, policy: CompiledPolicy, marketing: bool
) -> tuple[int, int]:
    """A policy's default cooldown is for marketing only; a trigger's own always holds."""
    own = definition.cooldown
    if own is None:
        return (policy.cooldown_ms if marketing else 0), 0
    default = policy.cooldown_ms if marketing and own.per_ms is None else 0
    return (default if own.user_ms is None else own.user_ms), own.per_ms or 0

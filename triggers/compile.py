"""From definitions to a program: each trigger compiled once, when its version of the registry is.

`COMPILERS` maps a pattern's model to the function that builds it: one row a pattern.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from schemas.events import Event
from triggers.conditions import compile_filter
from triggers.definition import EventWhen, IdleWhen, Policy, TriggerDefinition, When
from triggers.definition import Unless as UnlessDefinition
from triggers.paths import compile_path, compile_projection
from triggers.patterns import EventPattern, IdlePattern, Pattern, Want
from triggers.policy import Cap, CompiledPolicy, grace_for
from triggers.program import CompiledTrigger, Program, Unless, build_program
from triggers.state import storable
from triggers.texts import declared_paths


class RegisteredTrigger(NamedTuple):
    """A definition as a version of the registry holds it; `state` overrides the definition's."""

    definition: TriggerDefinition
    revision: int
    state: str
    registered_at_ms: int


class _Context(NamedTuple):
    """What building a pattern needs beside its definition."""

    registered: RegisteredTrigger
    policy: CompiledPolicy
    stored: tuple[str, ...]


def compile_program(
    number: int, triggers: Iterable[RegisteredTrigger], policies: Mapping[str, Policy]
) -> Program:
    """Version `number` of the registry, ready to decide. Drafts are left out."""
    compiled_policies = {name: compile_policy(policy) for name, policy in policies.items()}
    return build_program(
        number,
        (
            compile_trigger(trigger, compiled_policies)
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
    registered: RegisteredTrigger, policies: Mapping[str, CompiledPolicy]
) -> CompiledTrigger:
    """One trigger with its pattern, `unless` clauses and policy."""
    definition = registered.definition
    policy = policies.get(definition.policy, CompiledPolicy())
    unless = tuple(_compile_unless(clause) for clause in definition.unless)
    context = _Context(registered, policy, _stored_paths(definition, unless))
    wait_ms = definition.wait_ms or 0
    marketing = definition.class_ == "marketing"
    user_ms, per_ms = _cooldowns(definition, policy, marketing)
    return CompiledTrigger(
        id=definition.id,
        revision=registered.revision,
        state=registered.state,
        marketing=marketing,
        lane=definition.lane,
        priority=definition.priority,
        pattern=COMPILERS[type(definition.when)](definition.when, context),
        per=None if definition.per in ("user", "event") else compile_path(definition.per),
        per_event=definition.per == "event",
        policy=policy,
        cooldown_user_ms=user_ms,
        cooldown_per_ms=per_ms,
        expires_ms=definition.expires_after_ms,
        unless=unless,
        wait_ms=wait_ms,
        grace_ms=grace_for(policy, wait_ms),
        restart=definition.on_repeat != "keep",
        restart_at_most_ms=definition.restart_at_most_ms or 0,
    )


def _compile_unless(clause: UnlessDefinition) -> Unless:
    compiled = compile_filter(clause.where, references=True)
    return Unless(clause.events, compiled, _kept(compiled.event_paths))


def _stored_paths(definition: TriggerDefinition, unless: Iterable[Unless]) -> tuple[str, ...]:
    """Only what conditions and texts name is kept of a start (minimisation, design.md 4)."""
    paths: dict[str, None] = {}
    for clause in unless:
        paths.update(dict.fromkeys(clause.filter.start_paths))
    if definition.message is not None:
        push = definition.message.push
        for found in declared_paths((push.title, push.body)).values():
            paths.update(dict.fromkeys(found))
    return tuple(paths)


def _kept(paths: tuple[str, ...]) -> Callable[[Event], dict[str, Any]]:
    """Reads what is kept of an event, in a form that state can hold."""
    fields_of = compile_projection(paths)
    if not paths:
        return fields_of
    return lambda event: {path: storable(value) for path, value in fields_of(event).items()}


def _cooldowns(
    definition: TriggerDefinition, policy: CompiledPolicy, marketing: bool
) -> tuple[int, int]:
    """A policy's default cooldown is for marketing only; a trigger's own always holds."""
    own = definition.cooldown
    if own is None:
        return (policy.cooldown_ms if marketing else 0), 0
    default = policy.cooldown_ms if marketing and own.per_ms is None else 0
    return (default if own.user_ms is None else own.user_ms), own.per_ms or 0


def _event_pattern(when: When, context: _Context) -> Pattern:
    assert isinstance(when, EventWhen)
    compiled = compile_filter(when.where)
    wants = tuple(Want(name, compiled) for name in when.events)
    return EventPattern(wants, _kept(context.stored))


def _idle_pattern(when: When, context: _Context) -> Pattern:
    assert isinstance(when, IdleWhen)
    registered = context.registered
    return IdlePattern(
        trigger=registered.definition.id,
        idle_ms=when.idle_ms,
        grace_ms=grace_for(context.policy, when.idle_ms),
        since_ms=registered.registered_at_ms,
    )


COMPILERS: dict[type[When], Callable[[When, _Context], Pattern]] = {
    EventWhen: _event_pattern,
    IdleWhen: _idle_pattern,
}

"""From definitions to a program: each trigger compiled once, when its version of the registry is.

How a pattern is built stands with it (`triggers.patterns.KINDS`).
"""

from collections.abc import Iterable, Mapping
from datetime import date, datetime, time, timedelta
from typing import NamedTuple
from zoneinfo import ZoneInfo

from schemas.events import to_ms
from triggers.answers import CompiledGoal
from triggers.arms import CONTROL, Experiment, GlobalControl, bucket_ranges
from triggers.audience import parse_audience, parse_still, references_of
from triggers.buckets import BUCKETS
from triggers.canary import split
from triggers.conditions import compile_filter, of_start
from triggers.definition import Active, Goal, Policy, TriggerDefinition
from triggers.definition import Unless as UnlessDefinition
from triggers.filters import BOTH, START, All
from triggers.hours import compile_hours
from triggers.keeping import compile_keeper
from triggers.membership import Membership, Memberships
from triggers.opening import Hours
from triggers.paths import compile_path
from triggers.patterns import kind_of
from triggers.patterns.base import PatternContext
from triggers.policy import Cap, CompiledPolicy, grace_for
from triggers.program import CompiledTrigger, Program, Rotation, Step, Unless, build_program
from triggers.shared import (
    NO_DOCUMENTS,
    Documents,
    Shared,
    document_problems,
    mention_problems,
    parse_shared,
)
from triggers.texts import declared_paths, tells_time


class RegisteredTrigger(NamedTuple):
    """A definition as a version of the registry holds it; `state` overrides the definition's.

    `canary`: the revision that the users below `canary_share` (in buckets) get instead.
    """

    definition: TriggerDefinition
    revision: int
    state: str
    registered_at_ms: int
    canary: "RegisteredTrigger | None" = None
    canary_share: int = 0


def compile_program(
    number: int,
    triggers: Iterable[RegisteredTrigger],
    policies: Mapping[str, Policy],
    documents: Documents = NO_DOCUMENTS,
) -> Program:
    """Version `number` of the registry, ready to decide. Drafts are left out.

    Raises NotCompilable when a trigger names a shared document that is not there.
    """
    shared = parse_shared(documents)
    memberships = Memberships(shared)
    triggers = list(triggers)
    both = [one for trigger in triggers for one in (trigger, trigger.canary) if one is not None]
    _check_mentions(both, shared)
    compiled_policies = {name: compile_policy(policy) for name, policy in policies.items()}

    def build(share: int) -> Program:
        chosen = (_below(trigger, share) for trigger in triggers)
        return build_program(
            number,
            (
                compile_trigger(trigger, compiled_policies, policies, memberships, shared)
                for trigger in chosen
                if trigger.state != "draft"
            ),
            compiled_policies.values(),
        )

    shares = sorted({trigger.canary_share for trigger in triggers if trigger.canary is not None})
    whole = build(BUCKETS + 1)
    return split(whole, ((share, build(share)) for share in shares)) if shares else whole


def _below(trigger: RegisteredTrigger, share: int) -> RegisteredTrigger:
    """As users see it whose bucket is below `share` and not below any smaller one."""
    canary = trigger.canary
    return trigger if canary is None or trigger.canary_share < share else canary


class NotCompilable(ValueError):
    """Definitions that do not fit each other."""


def _check_mentions(triggers: Iterable[RegisteredTrigger], shared: Shared) -> None:
    """A version may hold definitions of several folders, each checked by itself only."""
    wrong = [f"{kind} '{name}': {found.message}" for kind, name, found in document_problems(shared)]
    for trigger in triggers:
        audience = trigger.definition.audience
        if audience is not None:
            wrong += [
                f"trigger '{trigger.definition.id}': {problem.message}"
                for problem in mention_problems(parse_audience(audience), shared)
            ]
    if wrong:
        raise NotCompilable("; ".join(wrong[:10]))


def compile_policy(policy: Policy) -> CompiledPolicy:
    """The values admission reads."""
    return CompiledPolicy(
        spacing_ms=policy.spacing_ms,
        cooldown_ms=policy.cooldown_ms,
        caps=tuple(
            Cap(cap.max_count, cap.per_ms or 0, cap.channel, cap.category, cap.calendar)
            for cap in policy.caps
        ),
        grace_ms=policy.grace_ms,
        settle_ms=policy.settle_ms,
        zone=policy.zone,
        opt_in_channels=policy.opt_in.channels if policy.opt_in else (),
        opt_in_categories=policy.opt_in.categories if policy.opt_in else (),
        global_control=_global_control(policy),
    )


def _global_control(policy: Policy) -> GlobalControl | None:
    group = policy.global_control
    if group is None or not group.size:
        return None
    return GlobalControl(group.size, group.rotate)


def compile_trigger(
    registered: RegisteredTrigger,
    compiled_policies: Mapping[str, CompiledPolicy],
    policies: Mapping[str, Policy],
    memberships: Memberships,
    shared: Shared,
) -> CompiledTrigger:
    """One trigger with its pattern, `unless` clauses, audience and policy."""
    definition = registered.definition
    policy = compiled_policies.get(definition.policy, CompiledPolicy())
    kind = kind_of(definition.when)
    unless = tuple(_compile_unless(clause, kind.one_event) for clause in definition.unless)
    still = _still_tree(definition, kind.one_event)
    start_paths, event_paths = _stored_paths(definition, unless, still, kind.one_event)
    zone = policies.get(definition.policy, Policy()).zone
    context = PatternContext(
        trigger=definition.id,
        since_ms=registered.registered_at_ms,
        policy=policy,
        zone=zone,
        keep_start=compile_keeper(start_paths),
        keep_event=compile_keeper(event_paths),
        event_paths=event_paths,
        places=shared.places,
    )
    pattern = kind.build(definition.when, context)
    marketing = definition.class_ == "marketing"
    user_ms, per_ms = _cooldowns(definition, policy, marketing)
    quiet = policies.get(definition.policy, Policy()).quiet if marketing else ()
    hours = compile_hours(quiet, definition.send_at, definition.hold)
    audience = _audience(definition, memberships)
    rechecked = None if still is None else Membership(still, memberships)
    needs = [membership.needs for membership in (audience, rechecked) if membership is not None]
    asked = dict.fromkeys([*pattern.traits, *(path for need in needs for path in need.traits)])
    compiled = CompiledTrigger(
        id=definition.id,
        revision=registered.revision,
        state=registered.state,
        marketing=marketing,
        category=definition.category or "",
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
        tells_time=tells_time(definition.all_texts),
        restart=definition.on_repeat != "keep",
        restart_at_most_ms=definition.restart_at_most_ms or 0,
        traits=tuple(asked),
        zoned=pattern.zoned or policy.zoned or hours is not None,
        active=_active_ms(definition.active, zone),
        rotation=_rotation(definition),
        hours=hours,
        rollout=BUCKETS if definition.rollout is None else definition.rollout,
        audience=audience,
        still=rechecked,
        notes=tuple(note for need in needs for note in need.notes),
        silence_ms=min((need.silence_ms for need in needs if need.silence_ms), default=0),
    )
    _add_arms(compiled, registered, quiet)
    return compiled


def _audience(definition: TriggerDefinition, memberships: Memberships) -> Membership | None:
    if definition.audience is None:
        return None
    return Membership(parse_audience(definition.audience).tree, memberships)


def _add_arms(
    trigger: CompiledTrigger, registered: RegisteredTrigger, quiet: Iterable[tuple[str, str]]
) -> None:
    """What is measured of the trigger: its experiment, and the global control group."""
    definition, policy = registered.definition, trigger.policy
    trigger.experiment = _experiment(registered)
    trigger.global_control = policy.global_control if trigger.marketing else None
    trigger.arm_steps = _arm_steps(definition, policy)
    trigger.arm_hours = _arm_hours(definition, quiet)
    trigger.zoned |= trigger.tells_time or any(trigger.arm_hours.values())
    trigger.goal = _compile_goal(definition.goal)


#: A registration at this time or before it has none in the log: histories that a backtest, a test
#: or a log with its own time plays begin before any registration.
UNTIMED_MS = 1


def _experiment(registered: RegisteredTrigger) -> Experiment | None:
    definition = registered.definition
    experiment = definition.experiment
    if experiment is None:
        return None
    weights = {name: variant.weight for name, variant in experiment.variants.items()}
    began_ms = registered.registered_at_ms
    return Experiment(
        seed=f"experiment:{definition.id}",
        ranges=bucket_ranges([(CONTROL, experiment.control), *sorted(weights.items())]),
        ends_ms=began_ms + experiment.until_ms if began_ms > UNTIMED_MS else 0,
        lasts_ms=experiment.until_ms,
        from_start=experiment.changes_time,
    )


def _arm_hours(
    definition: TriggerDefinition, quiet: Iterable[tuple[str, str]]
) -> dict[str, Hours | None]:
    if definition.experiment is None:
        return {}
    return {
        name: compile_hours(quiet, variant.set_.send_at, definition.hold)
        for name, variant in definition.experiment.variants.items()
        if variant.set_ is not None and variant.set_.send_at is not None
    }


def _arm_steps(
    definition: TriggerDefinition, policy: CompiledPolicy
) -> dict[str, tuple[Step, ...]]:
    if definition.experiment is None:
        return {}
    found: dict[str, tuple[Step, ...]] = {}
    for name, variant in definition.experiment.variants.items():
        if variant.set_ is not None and variant.set_.wait_ms is not None:
            ms = variant.set_.wait_ms
            expires_ms = definition.expires_after_ms(ms)
            found[name] = (Step(ms, grace_for(policy, ms), expires_ms),)
    return found


def _compile_goal(goal: Goal | None) -> CompiledGoal | None:
    if goal is None:
        return None
    value = None if goal.value is None else compile_path(goal.value)
    return CompiledGoal(goal.events, compile_filter(goal.where), goal.within_ms, value)


def _steps(definition: TriggerDefinition, policy: CompiledPolicy) -> tuple[Step, ...]:
    waits = [(step.after_ms, step.message) for step in definition.series]
    if definition.wait_ms is not None:
        waits = [(definition.wait_ms, "")]
    return tuple(
        Step(ms, grace_for(policy, ms), definition.expires_after_ms(ms), text) for ms, text in waits
    )


def _rotation(definition: TriggerDefinition) -> Rotation | None:
    rotate = definition.rotate
    return None if rotate is None else Rotation(rotate.texts, rotate.no_repeat_ms)


def _still_tree(definition: TriggerDefinition, one_event: bool) -> All | None:
    if definition.still is None:
        return None
    tree = parse_still(definition.still).tree
    return of_start(tree) if one_event else tree


#: Log times lie before: the year 9999.
_ALWAYS_MS = 253_402_300_800_000


def _active_ms(active: Active | None, zone: str) -> tuple[int, int] | None:
    """From the start of the first day to the end of the last one, in the policy's zone."""
    if active is None:
        return None
    place = ZoneInfo(zone)
    start_ms, end_ms = 0, _ALWAYS_MS
    if active.from_ is not None:
        start_ms = to_ms(datetime.combine(date.fromisoformat(active.from_), time(), place))
    if active.until is not None and active.until < "9999":
        after = date.fromisoformat(active.until) + timedelta(days=1)
        end_ms = to_ms(datetime.combine(after, time(), place))
    return start_ms, end_ms


def _compile_unless(clause: UnlessDefinition, one_event: bool) -> Unless:
    compiled = compile_filter(clause.where, references=BOTH, one_event=one_event)
    return Unless(clause.events, compiled, compile_keeper(compiled.event_paths))


def _stored_paths(
    definition: TriggerDefinition, unless: Iterable[Unless], still: All | None, one_event: bool
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Only what conditions and texts name is kept of `$start` and of `$event` (minimisation,
    design.md 4). When they are one event, what is named of either is kept of it."""
    start: dict[str, None] = {}
    event: dict[str, None] = start if one_event else {}
    start.update(dict.fromkeys(definition.when.start_paths))
    for clause in unless:
        start.update(dict.fromkeys(clause.filter.start_paths))
        event.update(dict.fromkeys(clause.filter.completing_paths))
    for reference in references_of(still) if still is not None else ():
        (start if reference.root == START else event)[reference.path] = None
    found = declared_paths(definition.all_texts)
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

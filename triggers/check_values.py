"""The values behind each check of admission: what `explain` says beside "yes" or "no".

The verdict is the check's own, asked with the same candidate, state and time; here stand only the
facts it looked at. A check without a row in `FACTS` and `CLAUSES` is explained by its name and its
reason.
Names that end in `_at` are times in milliseconds (None: never), in `_ms` durations.
"""

from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from schemas.reasons import Reason
from triggers.admission import (
    CHECKS,
    Candidate,
    Check,
    check_audience,
    check_caps,
    check_consent,
    check_control,
    check_cooldown,
    check_device,
    check_global_control,
    check_priority,
    check_quiet,
    check_rollout,
    check_spacing,
    check_state,
    check_still,
    check_text,
    cooled_at,
    hours_of,
    opening,
)
from triggers.arms import GLOBAL_SEED
from triggers.buckets import BUCKETS, bucket
from triggers.caps import caps_of, earlier, is_won, winner
from triggers.conditions import ClauseResult
from triggers.consent import refusal_of
from triggers.devices import reachable
from triggers.opening import clock_text, minute_at
from triggers.rotation import turn_of
from triggers.state import UserState
from triggers.windows import free_at, window_of, zone_of

Facts = dict[str, Any]


class Weighed(NamedTuple):
    """One check of one candidate. `name` is `spacing` for `check_spacing`; `reason` None: passed.

    `values["free_at"]`, where there is one, is the first moment at which this check passes if
    nothing else happens.
    """

    name: str
    reason: Reason | None
    values: Mapping[str, Any]
    clauses: tuple[ClauseResult, ...] = ()


def weigh(candidate: Candidate, state: UserState, at: int) -> tuple[Weighed, ...]:
    """Every check in its order, also those behind the first refusal. Changes nothing."""
    return tuple(
        Weighed(
            check.__name__.removeprefix("check_"),
            check(candidate, state, at),
            FACTS[check](candidate, state, at) if check in FACTS else {},
            tuple(CLAUSES[check](candidate, state, at)) if check in CLAUSES else (),
        )
        for check in CHECKS
    )


def named(checks: Iterable[Weighed], said: Mapping[int, str]) -> tuple[Weighed, ...]:
    """A check that looked at the last message says whose it was (`last_trigger`), where `said`
    (decision time -> trigger) knows: a state has the times only."""
    found = []
    for check in checks:
        trigger = said.get(check.values.get("last_at") or -1)
        if trigger is not None and check.name != "text":
            check = check._replace(values={**check.values, "last_trigger": trigger})
        found.append(check)
    return tuple(found)


def _state(candidate: Candidate, state: UserState, at: int) -> Facts:
    return {"state": candidate.trigger.state}


def _rollout(candidate: Candidate, state: UserState, at: int) -> Facts:
    """Buckets below `rollout` are in."""
    trigger = candidate.trigger
    if trigger.rollout >= BUCKETS:
        return {"rollout": BUCKETS}
    return {"rollout": trigger.rollout, "bucket": bucket(f"rollout:{trigger.id}", candidate.user)}


def _audience(candidate: Candidate, state: UserState, at: int) -> Iterable[ClauseResult]:
    audience = candidate.trigger.audience
    return () if audience is None else audience.explain(state, at)


def _still(candidate: Candidate, state: UserState, at: int) -> Iterable[ClauseResult]:
    still = candidate.trigger.still
    return () if still is None else still.explain(state, at, candidate.kept)


def _consent(candidate: Candidate, state: UserState, at: int) -> Facts:
    """`consent`: what is refused, or not agreed to; `since_at`: when it was refused."""
    trigger = candidate.trigger
    if not trigger.marketing:
        return {"marketing": False}
    refusal = refusal_of(state.consent, trigger)
    if refusal is None:
        return {}
    return {"consent": refusal.text, "since_at": refusal.since_ms}


def _device(candidate: Candidate, state: UserState, at: int) -> Facts:
    off = len(state.devices) - len(reachable(state))
    return {"devices": len(state.devices), **({"not_permitted": off} if off else {})}


def _cooldown(candidate: Candidate, state: UserState, at: int) -> Facts:
    trigger = candidate.trigger
    ends = []
    facts: Facts = {}
    last_user, last_per = cooled_at(candidate, state)
    for name, last_at, period_ms in (
        ("user", last_user, trigger.cooldown_user_ms),
        ("per", last_per, trigger.cooldown_per_ms),
    ):
        if period_ms:
            facts |= {f"{name}_ms": period_ms, f"{name}_last_at": last_at}
            ends += [] if last_at is None else [last_at + period_ms]
    return _with_free_at(facts, ends)


def _spacing(candidate: Candidate, state: UserState, at: int) -> Facts:
    trigger = candidate.trigger
    if not trigger.marketing:
        return {"marketing": False}
    period_ms = trigger.policy.spacing_ms
    before = earlier(state.sends, at)
    last_at = before[-1] if before else None
    facts: Facts = {"period_ms": period_ms, "last_at": last_at}
    return _with_free_at(facts, [] if last_at is None else [last_at + period_ms])


def _caps(candidate: Candidate, state: UserState, at: int) -> Facts:
    trigger = candidate.trigger
    if not trigger.marketing:
        return {"marketing": False}
    zone = zone_of(trigger.policy, state)
    caps, ends = [], []
    for cap, times in caps_of(trigger, state):
        before = earlier(times, at)
        since = at - cap.per_ms + 1
        window: Facts = {"per_ms": cap.per_ms}
        if cap.calendar:
            since, _ = window_of(cap.calendar, at, zone)
            window = {"calendar": cap.calendar, "zone": zone.key}
        if cap.category is not None:
            window["category"] = cap.category
        used = sum(sent >= since for sent in before)
        caps.append({"max": cap.max_count, **window, "used": used})
        end = free_at(cap, before, at, zone)
        ends += [] if end is None else [end]
    return _with_free_at({"caps": caps}, ends)


def _quiet(candidate: Candidate, state: UserState, at: int) -> Facts:
    hours = hours_of(candidate, at)
    if hours is None:
        return {}
    zone = zone_of(candidate.trigger.policy, state)
    facts: Facts = {
        "local": clock_text(minute_at(at, zone)),
        "zone": zone.key,
        "closed": [[clock_text(end) for end in window] for window in hours.quiet + hours.shut],
    }
    opens = opening(hours, candidate, state, at)
    return _with_free_at(facts, [opens] if opens > at else [])


def _priority(candidate: Candidate, state: UserState, at: int) -> Facts:
    """Against which delivery it lost, as long as its outcome is not known."""
    if not is_won(candidate.trigger, state, at):
        return {}
    won = winner(state, at)
    known = {} if won is None else {"last_trigger": won.trigger, "delivery_id": won.delivery.hex()}
    return {"last_at": at, **known}


def _text(candidate: Candidate, state: UserState, at: int) -> Facts:
    trigger = candidate.trigger
    if trigger.rotation is None:
        return {}
    text, last_at = turn_of(trigger.rotation, trigger.id, state)
    period_ms = trigger.rotation.no_repeat_ms
    facts: Facts = {"text": text, "last_at": last_at or None, "period_ms": period_ms}
    return _with_free_at(facts, [last_at + period_ms] if last_at else [])


def _global_control(candidate: Candidate, state: UserState, at: int) -> Facts:
    """The group has `size` buckets from `starts` on, and begins anew after the last one."""
    group = candidate.trigger.global_control
    if group is None:
        return {}
    drawn = bucket(GLOBAL_SEED, candidate.user)
    return {"size": group.size, "starts": group.starts(at), "bucket": drawn}


def _control(candidate: Candidate, state: UserState, at: int) -> Facts:
    """`arm` None: the experiment is over."""
    trigger = candidate.trigger
    if trigger.experiment is None:
        return {}
    arm = trigger.arm_of(candidate.user, candidate.start_e, at)
    return {"arm": arm or None, "bucket": bucket(trigger.experiment.seed, candidate.user)}


def _with_free_at(facts: Facts, ends: list[int]) -> Facts:
    return {**facts, "free_at": max(ends)} if ends else facts


FACTS: Mapping[Check, Callable[[Candidate, UserState, int], Facts]] = MappingProxyType(
    {
        check_state: _state,
        check_rollout: _rollout,
        check_consent: _consent,
        check_device: _device,
        check_cooldown: _cooldown,
        check_spacing: _spacing,
        check_caps: _caps,
        check_quiet: _quiet,
        check_priority: _priority,
        check_text: _text,
        check_global_control: _global_control,
        check_control: _control,
    }
)
CLAUSES: Mapping[Check, Callable[[Candidate, UserState, int], Iterable[ClauseResult]]] = (
    MappingProxyType({check_audience: _audience, check_still: _still})
)

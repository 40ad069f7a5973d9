"""Admission: may this candidate be sent? The order of checks is design.md section 7.

`CHECKS` is that order: each check looks at one candidate, the user's state and the decision time,
and answers with a reason or None. The first reason wins. `take` books an admitted candidate,
`refund` gives it back when it did not reach the user for certain.

A new check is one function here and one row in `CHECKS`; the values that `explain` shows of it
are a row in `check_values`.
"""

from collections.abc import Callable
from typing import Any

import msgspec

from schemas.reasons import Reason
from triggers.arms import CONTROL
from triggers.buckets import BUCKETS
from triggers.caps import caps_of, earlier, is_won, refund_send, take_send
from triggers.consent import refusal_of
from triggers.devices import reachable
from triggers.opening import Hours, closed_until, opens_at, usual_at
from triggers.program import CompiledTrigger, Program
from triggers.rotation import is_stale, refund_turn
from triggers.state import (
    COOLDOWNS_MAX,
    Cooled,
    Held,
    Pending,
    Settling,
    UserState,
    Waiting,
    under_way,
)
from triggers.usual import known_hours
from triggers.windows import free_at, zone_of


class Candidate(msgspec.Struct, frozen=True, gc=False):
    """A matched trigger before admission.

    `step` counts the messages of a series before this one, the last of which was admitted at
    `said_at`. `items` are the others of a bundle. `settled`: its settle window is over. `held_at`:
    since when it was held, 0 for not at all.
    """

    trigger: CompiledTrigger
    user: str
    activation: str
    per: str
    start: str | None
    event: str | None
    start_e: int
    due_ms: int
    start_fields: dict[str, object]
    event_fields: dict[str, object]
    step: int = 0
    said_at: int = 0
    items: tuple[Waiting, ...] = ()
    settled: bool = False
    held_at: int = 0

    @property
    def kept(self) -> dict[str, Any]:
        """What references to `$start` and `$event` read."""
        return kept_fields(self.trigger, self.start_fields, self.event_fields)


def kept_fields(
    trigger: CompiledTrigger, start: dict[str, Any], event: dict[str, Any]
) -> dict[str, Any]:
    """What an instance and a delivery keep: `$start` by path, `$event` by `$` and path."""
    if trigger.one_event or not event:
        return start
    return {**start, **{f"${path}": value for path, value in event.items()}}


Check = Callable[[Candidate, UserState, int], Reason | None]


def check_state(candidate: Candidate, state: UserState, at: int) -> Reason | None:
    """A paused trigger sends nothing, nor does one outside its active days; a shadow trigger
    decides and records, and sends nothing."""
    if not candidate.trigger.is_active(at):
        return Reason.PAUSED
    if candidate.trigger.state == "live":
        return None
    return Reason.PAUSED if candidate.trigger.state == "paused" else Reason.SHADOW


def check_rollout(candidate: Candidate, state: UserState, at: int) -> Reason | None:
    """A share of the users, always the same ones, and all of them still when the share grows."""
    return None if candidate.trigger.reaches(candidate.user) else Reason.NOT_ROLLED_OUT


def check_audience(candidate: Candidate, state: UserState, at: int) -> Reason | None:
    """Whom the trigger is for; what could not be evaluated refuses."""
    audience = candidate.trigger.audience
    return None if audience is None or audience.judge(state, at) else Reason.AUDIENCE


def check_still(candidate: Candidate, state: UserState, at: int) -> Reason | None:
    """What has to hold right before sending, too; what could not be evaluated refuses."""
    still = candidate.trigger.still
    if still is None or still.judge(state, at, candidate.kept):
        return None
    return Reason.NO_LONGER_TRUE


def check_consent(candidate: Candidate, state: UserState, at: int) -> Reason | None:
    """What the user refuses, or has not agreed to where the policy asks for it."""
    return Reason.CONSENT if refusal_of(state.consent, candidate.trigger) else None


def check_device(candidate: Candidate, state: UserState, at: int) -> Reason | None:
    """No reachable address on any channel."""
    return None if reachable(state) else Reason.NO_DEVICE


def check_cooldown(candidate: Candidate, state: UserState, at: int) -> Reason | None:
    """Same trigger (`user`) and same trigger and per value (`per`), since the last admission.

    The messages of one series do not block each other: cooldown is about entering again.
    """
    trigger = candidate.trigger
    if not (trigger.cooldown_user_ms or trigger.cooldown_per_ms):
        return None
    last_user, last_per = cooled_at(candidate, state)
    if last_user is not None and at - last_user < trigger.cooldown_user_ms:
        return Reason.COOLDOWN
    if last_per is not None and at - last_per < trigger.cooldown_per_ms:
        return Reason.COOLDOWN
    return None


def cooled_at(candidate: Candidate, state: UserState) -> tuple[int | None, int | None]:
    """The last admission of the trigger, and the last one for the candidate's per value."""
    trigger = candidate.trigger
    last_user = last_per = state.cooled_floor.get(trigger.id)
    for cooled in state.cooled:
        if cooled.trigger != trigger.id:
            continue
        if cooled.at == candidate.said_at and cooled.per == candidate.per:
            continue
        if last_user is None or cooled.at > last_user:
            last_user = cooled.at
        if cooled.per == candidate.per and (last_per is None or cooled.at > last_per):
            last_per = cooled.at
    return last_user, last_per


def check_spacing(candidate: Candidate, state: UserState, at: int) -> Reason | None:
    """Time since any marketing message; transactional ones are free."""
    trigger = candidate.trigger
    if not trigger.marketing or not state.sends:
        return None
    before = earlier(state.sends, at)
    return Reason.SPACING if before and at - before[-1] < trigger.policy.spacing_ms else None


def check_caps(candidate: Candidate, state: UserState, at: int) -> Reason | None:
    """Exact windows: in a rolling one something at t0 blocks until t - t0 >= period, in a calendar
    one until the next day, week or month of the user's zone begins."""
    trigger = candidate.trigger
    if not trigger.marketing or not trigger.policy.caps:
        return None
    zone = zone_of(trigger.policy, state)
    for cap, times in caps_of(trigger, state):
        if free_at(cap, earlier(times, at), at, zone) is not None:
            return Reason.FREQUENCY_CAP
    return None


def check_quiet(candidate: Candidate, state: UserState, at: int) -> Reason | None:
    """The quiet hours of the policy (not for transactional messages) and the trigger's `send_at`,
    by the clock of the user's time zone."""
    hours = hours_of(candidate, at)
    if hours is None:
        return None
    if candidate.held_at and at > candidate.held_at + hours.at_most_ms:
        # It was on its way to another profile when its hours opened, or its time ended.
        return Reason.QUIET_HOURS
    return Reason.QUIET_HOURS if opening(hours, candidate, state, at) > at else None


def hours_of(candidate: Candidate, at: int) -> Hours | None:
    """Its trigger's, or those of its user's variant."""
    return candidate.trigger.hours_for(candidate.user, candidate.start_e, at)


def opening(hours: Hours, candidate: Candidate, state: UserState, at: int) -> int:
    """The first moment from `at` on at which its hours are open. The usual hour is looked for
    once: when it has come the candidate has waited for it."""
    zone = zone_of(candidate.trigger.policy, state)
    closed = hours.quiet + hours.shut
    if hours.usual and not candidate.held_at and (counters := known_hours(state)):
        at = usual_at(counters, at, hours.at_most_ms, closed, zone)
    return opens_at(closed, at, zone)


def closed_by(hours: Hours, candidate: Candidate, state: UserState, at: int) -> tuple[bool, bool]:
    """Whether the quiet hours close it at `at`, and whether its `send_at` does."""
    zone = zone_of(candidate.trigger.policy, state)
    quiet = opens_at(hours.quiet, at, zone) > at
    shut = opening(hours._replace(quiet=()), candidate, state, at) > at
    return quiet, shut


def closed_times(
    candidate: Candidate, state: UserState, from_ms: int, to_ms: int
) -> tuple[int, ...]:
    """When its hours are closed between two moments: from, until, from, until ..."""
    hours = hours_of(candidate, from_ms)
    closed = () if hours is None else hours.quiet + hours.shut
    if not closed:
        return ()
    return tuple(closed_until(closed, from_ms, to_ms, zone_of(candidate.trigger.policy, state)))


def check_priority(candidate: Candidate, state: UserState, at: int) -> Reason | None:
    """Marketing candidates of one moment compete, also those of one settle window, which are all
    decided when it closes: the first one that is admitted wins."""
    return Reason.LOWER_PRIORITY if is_won(candidate.trigger, state, at) else None


def check_text(candidate: Candidate, state: UserState, at: int) -> Reason | None:
    """Of texts that take turns one has to be fresh."""
    rotation = candidate.trigger.rotation
    if rotation is None or not is_stale(rotation, candidate.trigger.id, state, at):
        return None
    return Reason.NO_FRESH_TEXT


def check_global_control(candidate: Candidate, state: UserState, at: int) -> Reason | None:
    """A share of the users gets no marketing at all; who they are changes slowly."""
    group = candidate.trigger.global_control
    return Reason.GLOBAL_CONTROL if group is not None and group.holds(candidate.user, at) else None


def check_control(candidate: Candidate, state: UserState, at: int) -> Reason | None:
    """The control group of the trigger's own experiment. The last check, so that it and the
    variants are alike in everything before."""
    trigger = candidate.trigger
    if trigger.experiment is None:
        return None
    arm = trigger.arm_of(candidate.user, candidate.start_e, at)
    return Reason.CONTROL if arm == CONTROL else None


CHECKS: tuple[Check, ...] = (
    check_state,
    check_rollout,
    check_audience,
    check_still,
    check_consent,
    check_device,
    check_cooldown,
    check_spacing,
    check_caps,
    check_quiet,
    check_priority,
    check_text,
    check_global_control,
    check_control,
)


#: What has nothing to say about any candidate of some triggers: a trigger asks for few checks.
_IDLE: dict[Check, Callable[[CompiledTrigger], bool]] = {
    check_state: lambda trigger: trigger.state == "live" and trigger.active is None,
    check_rollout: lambda trigger: trigger.rollout >= BUCKETS,
    check_audience: lambda trigger: trigger.audience is None,
    check_still: lambda trigger: trigger.still is None,
    check_cooldown: lambda trigger: not (trigger.cooldown_user_ms or trigger.cooldown_per_ms),
    check_spacing: lambda trigger: not trigger.marketing,
    check_caps: lambda trigger: not trigger.marketing or not trigger.policy.caps,
    check_quiet: lambda trigger: trigger.hours is None and not trigger.arm_hours,
    check_priority: lambda trigger: not trigger.marketing,
    check_text: lambda trigger: trigger.rotation is None,
    check_global_control: lambda trigger: trigger.global_control is None,
    check_control: lambda trigger: trigger.experiment is None,
}


def checks_of(trigger: CompiledTrigger) -> tuple[Check, ...]:
    """The checks that can refuse a candidate of this trigger, in their order."""
    return tuple(check for check in CHECKS if check not in _IDLE or not _IDLE[check](trigger))


def refusal(candidate: Candidate, state: UserState, at: int) -> Reason | None:
    """The first reason not to send, or None."""
    trigger = candidate.trigger
    checks = trigger.checks
    if checks is None:
        checks = trigger.checks = checks_of(trigger)
    for check in checks:
        reason: Reason | None = check(candidate, state, at)
        if reason is not None:
            return reason
    return None


def is_unevaluated(candidate: Candidate, state: UserState, at: int, reason: Reason | None) -> bool:
    """The audience or the `still` refused because it could not be evaluated."""
    trigger = candidate.trigger
    if reason is Reason.AUDIENCE and trigger.audience is not None:
        return trigger.audience.judge(state, at) is None
    if reason is Reason.NO_LONGER_TRUE and trigger.still is not None:
        return trigger.still.judge(state, at, candidate.kept) is None
    return False


def would(candidate: Candidate, state: UserState, at: int) -> Reason | None:
    """What would become of a shadow trigger's candidate if it were live; None: admitted."""
    for check in CHECKS[1:]:
        reason = check(candidate, state, at)
        if reason is not None:
            return reason
    return None


def take(
    program: Program, candidate: Candidate, state: UserState, at: int, *, counts: bool
) -> tuple[str, bool]:
    """Book an admitted candidate: cooldown, and spacing and caps where it `counts`. The category
    whose caps it counts for ("" for none), and True when a bound was overrun."""
    trigger = candidate.trigger
    category = take_send(program, trigger, state, at) if counts else ""
    if not (trigger.cooldown_user_ms or trigger.cooldown_per_ms):
        return category, False
    if not state.cooled and not candidate.items:
        state.cooled.append(Cooled(trigger.id, candidate.per, at))
        return category, False
    pers = dict.fromkeys([candidate.per, *(waiting.per for waiting in candidate.items)])
    state.cooled = [
        cooled for cooled in state.cooled if cooled.trigger != trigger.id or cooled.per not in pers
    ]
    state.cooled += [Cooled(trigger.id, per, at) for per in pers]
    overrun = False
    while len(state.cooled) > COOLDOWNS_MAX:
        _drop_oldest_cooldown(state)
        overrun = True
    return category, overrun


def _drop_oldest_cooldown(state: UserState) -> None:
    # Errs towards silence: what was pushed out counts for every per value of its trigger.
    oldest = state.cooled.pop(0)
    floor = state.cooled_floor.get(oldest.trigger, 0)
    state.cooled_floor[oldest.trigger] = max(oldest.at, floor)


def refund(state: UserState, pending: Pending) -> None:
    """Give back what a delivery took that did not reach the user for certain."""
    refund_send(state, pending)
    refund_turn(state, pending)
    pers = (pending.per, *pending.others)
    taken = [
        cooled
        for cooled in state.cooled
        if (cooled.trigger, cooled.at) == (pending.trigger, pending.at) and cooled.per in pers
    ]
    kept = [cooled for cooled in state.cooled if cooled not in taken]
    for other in under_way(state):
        if (other.trigger, other.per, other.before) == (pending.trigger, pending.per, pending.at):
            other.before = 0
    for waiting in state.instances:
        said = waiting.progress
        if (waiting.trigger, waiting.per) == (pending.trigger, pending.per) and said is not None:
            said.said_at = pending.before if said.said_at == pending.at else said.said_at
    following: list[Settling | Held] = [*state.settling, *state.held]
    for step in following:
        same = (step.trigger, step.waiting[0].per) == (pending.trigger, pending.per)
        if same and step.said_at == pending.at:
            step.said_at = pending.before
    for given_back in taken:
        # The cooldown of the message before it in its series, or of a profile that was merged,
        # which this one's had replaced.
        first = pending.before if given_back.per == pending.per else 0
        if before := max(first, pending.merged_before):
            kept.append(Cooled(pending.trigger, given_back.per, before))
    state.cooled = kept

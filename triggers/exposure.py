"""Exposure: from when on a user counts for the readout of a trigger, and in which arm.

A user is exposed by the first candidate that reaches the checks of the control groups, which are
the last ones, so that the arms are alike in everything before. Where a variant changes `wait`, an
instance's start exposes. The first arm stays (intention to treat), whatever becomes of the user
later; a new revision of the trigger is read out by itself, and exposes anew.
"""

from schemas.outcomes import EXPOSED, OutcomeRow
from schemas.reasons import Reason
from triggers.arms import CONTROL
from triggers.effects import Effects, FunnelKey
from triggers.program import CompiledTrigger, Program
from triggers.state import DAY_MS, Exposure, Pending, UserState

#: The funnel's stage that counts exposed users.
USERS = "USERS"
#: The stages of ghosts: decided, and ended by a delivery worker where a message would be sent.
GHOST = "GHOST"
WITHHELD = "WITHHELD"
#: The arm of users in the global control group.
GLOBAL_ARM = "global_control"
#: How long an exposure lasts where there is no experiment, only a global control group.
LASTS_MS = 28 * DAY_MS
#: Who is exposed again within a year is the user who was counted before.
KEPT_MS = 366 * DAY_MS
EXPOSED_MAX = 32
#: A candidate that ends so is a ghost: nothing is sent, all the rest is done and counted.
GHOSTS = frozenset({Reason.CONTROL, Reason.GLOBAL_CONTROL})


def measured(trigger: CompiledTrigger) -> bool:
    """Somebody is withheld or treated otherwise, so there is something to compare."""
    return trigger.experiment is not None or trigger.global_control is not None


def is_marketing(pending: Pending) -> bool:
    """A marketing message under way, or the ghost of one: that of a trigger's own control group
    counts in no cap, and only marketing has one."""
    return pending.counts or pending.variant == CONTROL


def expose(
    trigger: CompiledTrigger, user: str, state: UserState, arm: str, at: int, out: Effects
) -> None:
    """Count the user from `at` on, once under a revision: who was counted twice would be two users
    to the readout."""
    known = state.exposed.get(trigger.id)
    if known is not None and known.revision >= trigger.revision:
        # A higher one was a canary that was taken back.
        return
    state.exposed[trigger.id] = Exposure(arm, at, trigger.revision)
    out.funnel[FunnelKey(trigger.id, trigger.revision, arm, at // DAY_MS, USERS, "")] += 1
    out.outcomes.append(OutcomeRow(EXPOSED, "", trigger.id, trigger.revision, arm, "", user, at))
    while len(state.exposed) > EXPOSED_MAX:
        oldest = min(state.exposed, key=lambda name: (state.exposed[name].at, name))
        del state.exposed[oldest]
        out.evicted["exposures"] += 1


def expose_at_start(
    trigger: CompiledTrigger, user: str, state: UserState, start_e: int, a: int, out: Effects
) -> None:
    """An instance starts whose trigger has a variant that decides at another time."""
    experiment = trigger.experiment
    if experiment is None or not experiment.from_start or trigger.state != "live":
        return
    if not trigger.reaches(user):
        return
    arm = experiment.arm(user, start_e)
    if not arm:
        return
    withheld = trigger.global_control is not None and trigger.global_control.holds(user, a)
    expose(trigger, user, state, GLOBAL_ARM if withheld else arm, a, out)


def lasts_until(trigger: CompiledTrigger, exposure: Exposure) -> int:
    """The end of the experiment; where none runs, four weeks after the exposure."""
    experiment = trigger.experiment
    if experiment is None:
        return exposure.at + LASTS_MS
    if not experiment.ends_ms:
        return exposure.at + experiment.lasts_ms
    return experiment.ends_ms if exposure.at < experiment.ends_ms else exposure.at + LASTS_MS


def expiry(program: Program, trigger_id: str, exposure: Exposure) -> int:
    """Until when goals may count for it; 1, earlier than all, for a trigger that is gone or is not
    measured any more."""
    trigger = program.triggers.get(trigger_id)
    if trigger is None or not measured(trigger):
        return 1
    goal_within_ms = trigger.goal.within_ms if trigger.goal is not None else 0
    return lasts_until(trigger, exposure) + goal_within_ms


def kept_until(program: Program, trigger_id: str, exposure: Exposure) -> int:
    """Until when the user is known to be counted; as long as reports tell of a year."""
    counts_until = expiry(program, trigger_id, exposure)
    return counts_until if counts_until == 1 else max(counts_until, exposure.at + KEPT_MS)

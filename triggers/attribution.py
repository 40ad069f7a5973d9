"""Attribution: what a message led to, credited to one delivery (language.md, Credit).

A delivery whose outcome says that it may have been shown leaves a `Touch` in the user's state, and
so does a ghost when it ends, so that both can be compared. `react` counts what clients say of it,
`reach` credits a goal, `leave` an unsubscribe: each kind once per touch, under the revision and
variant the message was decided with. A touch matters as long as `Program.follows` says of its
trigger; whatever names another delivery means nothing.
"""

from collections.abc import Iterable
from typing import Final

from schemas.events import Event
from schemas.outcomes import PUSH, OutcomeRow, Reaction
from schemas.reasons import Reason, Unevaluated
from schemas.records import OutcomeRecord
from triggers.answers import Answer, CompiledGoal, delivery_named, worth_of
from triggers.effects import Effects
from triggers.endings import count_ending
from triggers.exposure import GHOSTS, GLOBAL_ARM
from triggers.funnel import record
from triggers.program import Program
from triggers.state import DAY_MS, MEMORY_MS, TOUCHES_MAX, Pending, Touch, UserState

#: An unsubscribe is credited within this time of the message.
LEAVES_WITHIN_MS: Final = 7 * DAY_MS
GHOST: Final = 1
_BITS: Final = {kind: 2 << number for number, kind in enumerate(Reaction)}
#: Outcomes after which a message may have been shown, or would have been.
_SHOWN: Final = GHOSTS | {Reason.ACCEPTED, Reason.UNKNOWN}


def end(
    program: Program,
    user: str,
    state: UserState,
    pending: Pending,
    outcome: OutcomeRecord,
    a: int,
    out: Effects,
) -> Touch | None:
    """A delivery has ended, as of log time `a`: count it, and keep a touch of what may have been
    shown. Returns the touch."""
    reason = outcome.reason
    count_ending(user, pending, reason, a, out)
    if reason not in _SHOWN or not program.follows.get(pending.trigger):
        return None
    touch = _find(state, pending.delivery) or _touched(state, pending, out)
    if reason is not Reason.UNKNOWN:
        touch.accepted_after = max(min(outcome.at_ms, a) - pending.at, 0)
    if reason in GHOSTS:
        touch.seen |= GHOST
        if reason is Reason.GLOBAL_CONTROL:
            touch.variant = GLOBAL_ARM
    return touch


def react(
    program: Program, user: str, state: UserState, answer: Answer, e: int, a: int, out: Effects
) -> list[tuple[str, Reaction]]:
    """An event of client time `e` names a delivery; (trigger, stage) of what is new of it."""
    key = answer.delivery
    if key is None or not answer.stages:
        return []
    touch = touch_early(program, state, key, out)
    if touch is None:
        return []
    if touch.seen & GHOST or a - begins_at(touch) > program.follows.get(touch.trigger, 0):
        return []
    new = []
    for stage in answer.stages:
        if _count(user, touch, stage, a, out):
            new.append((touch.trigger, stage))
            if stage is Reaction.CLICKED:
                touch.clicked_after = max(e - touch.at, 0)
    return new


def touch_early(program: Program, state: UserState, delivery: bytes, out: Effects) -> Touch | None:
    """The touch of a delivery, made when its reaction reaches the log before its outcome does."""
    touch = _find(state, delivery)
    if touch is not None:
        return touch
    pending = next((one for one in state.pending if one.delivery == delivery), None)
    if pending is None or not program.follows.get(pending.trigger):
        return None
    return _touched(state, pending, out)


def reach(
    program: Program,
    user: str,
    state: UserState,
    answer: Answer,
    event: Event,
    e: int,
    a: int,
    out: Effects,
) -> list[tuple[str, Reaction]]:
    """A goal event of client time `e` credits one delivery, if it is the delivery's first."""
    reached = [(name, goal.within_ms) for name, goal in goals_of(program, answer)]
    touch = _credited(program, state, reached, delivery_named(event), e)
    if touch is None or touch.seen & _BITS[Reaction.CONVERTED]:
        return []
    goal = program.triggers[touch.trigger].goal
    worth = 0 if goal is None else worth_of(goal, event)
    if worth is None:
        out.unevaluated[touch.trigger, Unevaluated.COULD_NOT_EVALUATE] += 1
    _count(user, touch, Reaction.CONVERTED, a, out, worth or 0)
    return _told(touch, Reaction.CONVERTED)


def leave(
    program: Program,
    user: str,
    state: UserState,
    delivery: bytes | None,
    e: int,
    a: int,
    out: Effects,
) -> list[tuple[str, Reaction]]:
    """The user unsubscribed, switched push off or uninstalled the app: credited to one delivery."""
    every = [(name, LEAVES_WITHIN_MS) for name in dict.fromkeys(t.trigger for t in state.touches)]
    touch = _credited(program, state, every, delivery, e)
    if touch is None or not _count(user, touch, Reaction.UNSUBSCRIBED, a, out):
        return []
    return _told(touch, Reaction.UNSUBSCRIBED)


def _told(touch: Touch, kind: Reaction) -> list[tuple[str, Reaction]]:
    """What patterns hear of it: nothing of a ghost, which nobody got."""
    return [] if touch.seen & GHOST else [(touch.trigger, kind)]


def goals_of(program: Program, answer: Answer) -> Iterable[tuple[str, CompiledGoal]]:
    """The goals an event reaches, by trigger."""
    for name in answer.goals:
        goal = program.triggers[name].goal
        if goal is not None:
            yield name, goal


def begins_at(touch: Touch) -> int:
    """From when on something is credited to it."""
    return touch.at + max(touch.accepted_after, 0)


def keeps_until(program: Program, touch: Touch) -> int:
    """The log time from which nothing can be credited to it: what happened within its window may
    still be in the log a day later."""
    window_ms = program.follows.get(touch.trigger, 0)
    return begins_at(touch) + window_ms + MEMORY_MS + 1 if window_ms else touch.at


def unite(state: UserState, moved: UserState) -> int:
    """Add the touches of another profile; how many did not fit."""
    known = {touch.delivery: touch for touch in state.touches}
    for touch in moved.touches:
        mine = known.get(touch.delivery)
        if mine is not None and mine.accepted_after < 0:
            # Its reaction was told before its outcome.
            mine.accepted_after = touch.accepted_after
            mine.seen |= touch.seen & GHOST
    both = [*state.touches, *(t for t in moved.touches if t.delivery not in known)]
    both.sort(key=lambda touch: (touch.at, touch.delivery))
    state.touches = both[-TOUCHES_MAX:]
    return len(both) - len(state.touches)


def _credited(
    program: Program,
    state: UserState,
    windows: Iterable[tuple[str, int]],
    delivery: bytes | None,
    e: int,
) -> Touch | None:
    """The delivery named, else the last one clicked, else the last one accepted; ties by priority,
    then id. `windows`: how long after a message of each trigger it counts."""
    best: tuple[tuple[object, ...], Touch] | None = None
    for name, within_ms in windows:
        trigger = program.triggers.get(name)
        for touch in state.touches:
            if touch.trigger != name or trigger is None:
                continue
            if not 0 <= e - begins_at(touch) <= within_ms:
                continue
            named = touch.delivery == delivery
            clicked_at = touch.clicked_at if touch.clicked_at <= e else 0
            if not (named or clicked_at or touch.accepted_at):
                continue
            last_at = clicked_at or touch.accepted_at
            rank = (not named, not clicked_at, -last_at, trigger.order, touch.delivery)
            if best is None or rank < best[0]:
                best = rank, touch
    return None if best is None else best[1]


def _count(user: str, touch: Touch, kind: Reaction, a: int, out: Effects, worth: int = 0) -> bool:
    """Count a kind of reaction once; False when it has been."""
    if touch.seen & _BITS[kind]:
        return False
    touch.seen |= _BITS[kind]
    record(
        out,
        OutcomeRow(
            kind.value,
            touch.delivery.hex(),
            touch.trigger,
            touch.revision,
            touch.variant,
            touch.channel or PUSH,
            user,
            a,
            worth,
        ),
    )
    return True


def _find(state: UserState, delivery: bytes) -> Touch | None:
    return next((touch for touch in state.touches if touch.delivery == delivery), None)


def _touched(state: UserState, pending: Pending, out: Effects) -> Touch:
    touch = Touch(
        pending.delivery,
        pending.trigger,
        pending.at,
        revision=pending.revision,
        variant=pending.variant,
    )
    state.touches.append(touch)
    if len(state.touches) > TOUCHES_MAX:
        del state.touches[0]
        out.evicted["touches"] += 1
    return touch

"""Texts that take turns: each message says what the user was told longest ago.

What was used when is kept for `no_repeat`, and at least `TURNS_KEPT_MS`, so that the turns go on
where they were. Overflow forgets the oldest use, and counts the text as used then.
"""

from triggers.program import CompiledTrigger, Rotation
from triggers.state import DAY_MS, TEXTS_MAX, Pending, UserState, under_way

TURNS_KEPT_MS = 90 * DAY_MS
#: Stands for every text whose use was pushed out.
_PUSHED_OUT = ""


def turn_of(rotation: Rotation, trigger: str, state: UserState) -> tuple[str, int]:
    """The text whose turn it is, and when it was last used, 0 for never. Of several that were never
    used it is the first one."""
    used = state.texts.get(trigger)
    if not used:
        return rotation.texts[0], 0
    floor = used.get(_PUSHED_OUT, 0)
    text = min(rotation.texts, key=lambda name: used.get(name, floor))
    return text, used.get(text, floor)


def is_stale(rotation: Rotation, trigger: str, state: UserState, at: int) -> bool:
    """Whether every text was said less than `no_repeat` ago."""
    _, last_at = turn_of(rotation, trigger, state)
    return last_at > 0 and at - last_at < rotation.no_repeat_ms


def take_turn(trigger: CompiledTrigger, state: UserState, at: int) -> tuple[str, int]:
    """Use the text whose turn it is; its name, and when it was used before. ("", 0) without a
    rotation."""
    rotation = trigger.rotation
    if rotation is None:
        return "", 0
    text, before = turn_of(rotation, trigger.id, state)
    used = state.texts.setdefault(trigger.id, {})
    for name in [name for name in used if name not in rotation.texts and name != _PUSHED_OUT]:
        del used[name]
    used[text] = at
    _bound(state)
    return text, before


def refund_turn(state: UserState, pending: Pending) -> None:
    """The text counts as used when it was before this delivery."""
    if not pending.text:
        return
    for other in under_way(state):
        same = (other.trigger, other.text) == (pending.trigger, pending.text)
        if same and other.text_before == pending.at:
            other.text_before = pending.text_before
    used = state.texts.get(pending.trigger)
    if used is None or used.get(pending.text) != pending.at:
        return
    if pending.text_before:
        used[pending.text] = pending.text_before
    else:
        del used[pending.text]
    if not used:
        del state.texts[pending.trigger]


def unite_texts(state: UserState, moved: UserState) -> None:
    """The latest use in either profile."""
    _used_before(under_way(state), moved.texts)
    _used_before(under_way(moved), state.texts)
    for trigger, used in moved.texts.items():
        mine = state.texts.setdefault(trigger, {})
        for text, at in used.items():
            mine[text] = max(at, mine.get(text, 0))
    _bound(state)


def _used_before(deliveries: list[Pending], texts: dict[str, dict[str, int]]) -> None:
    """What one of these deliveries gives back was used by the other profile before it."""
    for pending in deliveries:
        at = texts.get(pending.trigger, {}).get(pending.text)
        if at is not None and pending.at >= at:
            pending.text_before = max(pending.text_before, at)


def _bound(state: UserState) -> None:
    known = [
        (at, trigger, text)
        for trigger, used in state.texts.items()
        for text, at in used.items()
        if text != _PUSHED_OUT
    ]
    for at, trigger, text in sorted(known)[: max(0, len(known) - TEXTS_MAX)]:
        used = state.texts[trigger]
        del used[text]
        used[_PUSHED_OUT] = max(at, used.get(_PUSHED_OUT, 0))

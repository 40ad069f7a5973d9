"""The rings of sent messages that caps and spacing look at: all of a user's, and those by category.

A marketing message takes one place in `sends` and, when its category has caps of its own, one in
`sent_by`; `refund` gives both back. The candidates of one moment compete (`admission`): what the
winner took at that very moment does not count against the others, so `earlier` leaves it out.
"""

from collections import Counter
from collections.abc import Iterator

from triggers.policy import Cap
from triggers.program import CompiledTrigger, Program
from triggers.state import Pending, UserState, under_way


def earlier(times: list[int], at: int) -> list[int]:
    """The times before `at`, ascending; none is later."""
    end = len(times)
    while end and times[end - 1] >= at:
        end -= 1
    return times if end == len(times) else times[:end]


def is_won(trigger: CompiledTrigger, state: UserState, at: int) -> bool:
    """Whether another marketing message of the user was admitted at this very moment."""
    return trigger.marketing and bool(state.sends) and state.sends[-1] == at


def winner(state: UserState, at: int) -> Pending | None:
    """The marketing message that was admitted at `at`, as long as its outcome is not known."""
    for pending in reversed(state.pending):
        if pending.counts and pending.at == at:
            return pending
    return None


def caps_of(trigger: CompiledTrigger, state: UserState) -> Iterator[tuple[Cap, list[int]]]:
    """The caps that hold for a trigger, each with the messages it counts.

    Push is the only channel of this version, so a cap of the push channel counts them all.
    """
    for cap in trigger.policy.caps:
        if cap.category is None:
            yield cap, state.sends
        elif cap.category == trigger.category:
            yield cap, state.sent_by.get(cap.category, [])


def take_send(program: Program, trigger: CompiledTrigger, state: UserState, at: int) -> str:
    """Book a marketing message; the category whose ring it took a place in, "" for none."""
    _add(state.sends, at, program.sends_max, state, "")
    category = trigger.category
    if category not in program.categories:
        return ""
    ring = state.sent_by.setdefault(category, [])
    _add(ring, at, program.categories[category], state, category)
    return category


def refund_send(state: UserState, pending: Pending) -> None:
    """Give back the places a delivery took."""
    if pending.counts and pending.at in state.sends:
        state.sends.remove(pending.at)
    ring = state.sent_by.get(pending.category, [])
    if pending.at in ring:
        ring.remove(pending.at)
        if not ring:
            del state.sent_by[pending.category]


def unite_sent_by(state: UserState, moved: UserState) -> None:
    """The union of both profiles blocks at least as much as either."""
    for category, times in moved.sent_by.items():
        state.sent_by[category] = sorted([*state.sent_by.get(category, []), *times])


def _add(ring: list[int], at: int, count_max: int, state: UserState, category: str) -> None:
    """Keep what any cap or spacing can still ask for: the last `count_max` that stay for certain.

    A send whose outcome is not known may be given back, and then an older one counts again:
    another policy may have admitted the newer one.
    """
    if len(ring) >= count_max:
        refundable = Counter(
            pending.at
            for pending in under_way(state)
            if pending.counts and category in ("", pending.category)
        )
        settled = 0
        for number in range(len(ring) - 1, 0, -1):
            if refundable[ring[number]]:
                refundable[ring[number]] -= 1
            else:
                settled += 1
            if settled >= count_max:
                del ring[:number]
                break
    ring.append(at)

"""What is under way of a profile that became a part of another one.

Its deliveries stay with the profile they were admitted for, because their ledger entries are in
that shard. The known profile keeps a copy of each under the guest's name (`UserState.guests`): what
it took is given back there when `settle` hears how it ended.
"""

import msgspec

from schemas.reasons import REFUNDED
from schemas.records import OutcomeRecord
from triggers.admission import refund
from triggers.effects import Effects, Reached
from triggers.state import PENDING_MAX, Pending, UserState, under_way


def leave_behind(user: str, state: UserState) -> dict[str, list[Pending]]:
    """What the known profile has to know of `user`, who becomes a part of it."""
    found = dict(state.guests)
    if state.pending:
        found[user] = [msgspec.structs.replace(one, fields={}) for one in state.pending]
    return found


def unite(user: str, state: UserState, moved: UserState, out: Effects) -> None:
    """The deliveries under way of both, at most `PENDING_MAX`; of the oldest beyond nothing is
    given back here any more (towards silence).

    Profiles in a ring know of each other's, and `user` may come home as its own guest. What it
    still waits for itself is then no guest's; an end it passed on before comes back to it as that
    of a guest, which it stays until then.
    """
    known = {one.delivery: one for one in under_way(state)}
    for guest, deliveries in moved.guests.items():
        new = []
        for one in deliveries:
            if (mine := known.get(one.delivery)) is None:
                new.append(one)
            else:
                mine.merged_before = max(mine.merged_before, one.merged_before)
        if new:
            state.guests[guest] = [*state.guests.get(guest, []), *new]
    every = sorted((one.at, one.delivery) for kept in state.guests.values() for one in kept)
    for _, delivery in every[: max(0, len(every) - PENDING_MAX)]:
        take(state, delivery)
        out.evicted["pending"] += 1


def take(state: UserState, delivery: bytes) -> Pending | None:
    """A guest's delivery that is under way no more."""
    for guest, kept in state.guests.items():
        for one in kept:
            if one.delivery == delivery:
                kept.remove(one)
                if not kept:
                    del state.guests[guest]
                return one
    return None


def settle(
    user: str, state: UserState, record: OutcomeRecord, a: int, out: Effects
) -> Pending | None:
    """A delivery of a guest of `user` has ended: give back what it took of the known profile's,
    when it surely did not reach the user. Returns it; None when it is not known, or its time was
    over.

    The gate has given its claim back in the ring of the guest. The copy of it in the ring of the
    known profile goes here, or is entered there, should the store have forgotten it.
    """
    ended = take(state, bytes.fromhex(record.delivery_id))
    if record.reason in REFUNDED:
        out.given_back.append((user, record.delivery_id))
    if ended is None or a >= ended.drop_at:
        return None
    if record.reason in REFUNDED:
        refund(state, ended)
    elif ended.counts:
        out.reached.append(reached(user, record, ended))
    return ended


def reached(user: str, record: OutcomeRecord, ended: Pending) -> Reached:
    """The claim of a counted delivery that reached somebody, or may have, in the ring of `user`."""
    claimed_ms = record.claimed_at_ms or record.at_ms
    return Reached(user, record.delivery_id, record.trigger, claimed_ms, ended.category)


def expire(state: UserState, now_ms: int) -> None:
    """Nobody waits for these outcomes any more."""
    for guest, kept in list(state.guests.items()):
        left = [one for one in kept if one.drop_at > now_ms]
        if left:
            state.guests[guest] = left
        else:
            del state.guests[guest]

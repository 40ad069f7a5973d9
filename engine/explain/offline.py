"""A user's events of a file, decided by a workspace: as `backtest` does, but watched.

A guest who identifies becomes a part of the known user, so the profiles that ever become one with
the user are watched too: `profiles_of` finds them in a first pass.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable
from typing import NamedTuple

from engine.backtest.users import ASSUMED
from engine.explain.story import Story, zone_of
from schemas.events import Event
from triggers.effects import Merge
from triggers.explaining import Watch
from triggers.merging import merge_of
from triggers.names import is_merging
from triggers.program import Program


class Assumed(NamedTuple):
    """What a file does not say. `devices`: every user can be reached."""

    zone: str = "UTC"
    devices: bool = True


_USUAL = Assumed()


def profiles_of(user: str, events: Iterable[tuple[int, Event]]) -> set[str]:
    """The user and every profile that becomes one with them, over others too."""
    others: defaultdict[str, set[str]] = defaultdict(set)
    for _, event in events:
        pair = merge_of(event) if is_merging(event) else None
        if pair is not None:
            others[pair[0]].add(pair[1])
            others[pair[1]].add(pair[0])
    found, waiting = {user}, [user]
    while waiting:
        new = others[waiting.pop()] - found
        found |= new
        waiting += new
    return found


def explain_events(
    program: Program,
    user: str,
    events: Iterable[tuple[int, Event]],
    profiles: Collection[str],
    *,
    at_ms: int | None = None,
    assumed: Assumed = _USUAL,
) -> Story:
    """The story of a user up to `at_ms` (None: the last event of the file).

    `events`: (append time, event) of all users in append order; `profiles`: of `profiles_of`.
    Sends are accepted at once.
    """
    watches = {name: _watch(program, name, assumed) for name in profiles}
    first_ms = last_ms = records = 0
    for a, event in events:
        if at_ms is not None and a > at_ms:
            break
        first_ms = first_ms or a
        last_ms = max(last_ms, a)
        watch = watches.get(event.profile)
        if watch is None:
            continue
        while watch.state.merged_into:
            watch = watches[watch.state.merged_into]
        records += watch.user == user
        watch.event(event, last_ms)
        _merge(watches, watch)
    to_ms = last_ms if at_ms is None else max(at_ms, last_ms)
    for other in watches.values():
        other.advance(to_ms)
    watch = watches[user]
    return Story(
        user=user,
        program=program,
        state=watch.state,
        from_ms=first_ms,
        to_ms=to_ms,
        zone=zone_of(watch.state, assumed.zone),
        entries=watch.entries,
        records=records,
        dropped=watch.dropped,
        said=watch.said,
    )


def _watch(program: Program, user: str, assumed: Assumed) -> Watch:
    watch = Watch(program, user, accepts=True)
    if assumed.devices:
        watch.state.devices.append(ASSUMED)
    return watch


def _merge(watches: dict[str, Watch], watch: Watch) -> None:
    """Make profiles one, at once: live it takes two more records."""
    waiting: list[Merge] = _taken(watch)
    while waiting:
        merge = waiting.pop(0)
        anonymous, known, a = merge.anonymous, merge.known, merge.a
        if merge.moved is None:
            watches[anonymous].merge(known, a)
            waiting += _taken(watches[anonymous])
        else:
            watches[known].merged(merge.moved, a, merge.outcome)
            watches[known].said.update(watches[anonymous].said)
            waiting += _taken(watches[known])


def _taken(watch: Watch) -> list[Merge]:
    merges = list(watch.merges)
    watch.merges.clear()
    return merges

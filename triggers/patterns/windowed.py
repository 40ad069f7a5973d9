"""What count and sequence share: events kept by group, as long as another can belong to them.

Memory: `[kind, {group: [entry]}, recent]`. An entry is a list that holds the event's client time at
`e_at`; the entries of a group are in the order the pattern needs, oldest first.
"""

from collections import Counter
from typing import Any, ClassVar

from triggers.patterns.base import Pattern
from triggers.patterns.recent import recent_until
from triggers.state import MEMORY_MS, UserState

Entry = list[Any]
Groups = dict[str, list[Entry]]


class WindowedPattern(Pattern):
    """A pattern over a window of `within_ms`.

    Bounds: `groups_max` groups, `entries_max` entries in all; what goes is counted as `evicts`.
    """

    e_at: ClassVar[int]
    groups_max: ClassVar[int]
    entries_max: ClassVar[int]
    evicts: ClassVar[str]

    trigger: str
    within_ms: int

    def bound(
        self, groups: Groups, group: str, group_max: int, a: int, evicted: Counter[str]
    ) -> None:
        """Drop what is too old, then the oldest of a full group, then whole groups."""
        self._drop_old(groups, a)
        if len(groups.get(group, ())) > group_max:
            del groups[group][0]
            evicted[self.evicts] += 1
        held = sum(map(len, groups.values()))
        while len(groups) > 1 and (len(groups) > self.groups_max or held > self.entries_max):
            oldest = min(groups, key=lambda name: (groups[name][-1][self.e_at], name))
            held -= len(groups.pop(oldest))
            evicted[self.evicts] += 1

    def keeps_until(self, memory: list[Any]) -> int:
        latest = recent_until(memory[2])
        return max([latest, *(self._until(x) for entries in memory[1].values() for x in entries)])

    def forget(self, state: UserState, now_ms: int) -> None:
        memory = state.patterns[self.trigger]
        self._drop_old(memory[1], now_ms)
        if recent_until(memory[2]) <= now_ms:
            memory[2].clear()
        if not memory[1] and not memory[2]:
            del state.patterns[self.trigger]

    def _drop_old(self, groups: Groups, now_ms: int) -> None:
        for name in list(groups):
            kept = [entry for entry in groups[name] if self._until(entry) > now_ms]
            if kept:
                groups[name] = kept
            else:
                del groups[name]

    def _until(self, entry: Entry) -> int:
        """Another event may be 24 h late (design.md T4): so long this one can belong to it."""
        return int(entry[self.e_at]) + self.within_ms + MEMORY_MS

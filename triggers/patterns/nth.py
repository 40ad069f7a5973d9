"""`{event, where, nth: 3}`: the n-th matching event ever, in log order, and never again.

The count of a `per` value is kept as long as the user is: forgetting it would speak twice. Values
beyond `VALUES_MAX` are not counted, which errs towards silence.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

from schemas.events import Event
from triggers.patterns.base import Activation, Occasion, Pattern, Want, memory_of, remember
from triggers.patterns.recent import Recent, is_recent, mark_of, recent_until, remember_recent
from triggers.state import UserState

VALUES_MAX = 64


@dataclass(frozen=True, kw_only=True)
class NthPattern(Pattern):
    """Memory: `[kind, {per: count}, recent]`."""

    kind: ClassVar[str] = "nth"

    trigger: str
    nth: int
    wants: tuple[Want, ...]
    declared: Callable[[Event], dict[str, Any]]

    def on_event(
        self, state: UserState, want: int, occasion: Occasion, evicted: Counter[str]
    ) -> Activation | bool:
        event, per, e, a = occasion
        memory = memory_of(state, self.trigger, self.kind)
        counts: dict[str, int] = memory[1] if memory else {}
        recent: Recent = memory[2] if memory else []
        count = counts.get(per, 0)
        if count >= self.nth:
            return False
        mark = mark_of(event.message_id)
        if is_recent(recent, mark, a):
            return False
        if not count and len(counts) >= VALUES_MAX:
            evicted["nth"] += 1
            return False
        if memory is None:
            remember(state, self.trigger, [self.kind, counts, recent])
        counts[per] = count + 1
        if counts[per] < self.nth:
            evicted["recent"] += remember_recent(recent, mark, a)
            return True
        fields = self.declared(event)
        key = event.message_id
        return Activation(key, key, key, e, e, fields, fields)

    def keeps_until(self, memory: list[Any]) -> int:
        return recent_until(memory[2])

    def forget(self, state: UserState, now_ms: int) -> None:
        recent = state.patterns[self.trigger][2]
        if recent_until(recent) <= now_ms:
            recent.clear()

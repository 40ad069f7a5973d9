"""One run over a history: events in order of append time, timers between them, decisions out."""

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from heapq import heappop, heappush

from schemas.decisions import Decision
from schemas.events import Event
from schemas.reasons import Outcome, Reason, Unevaluated
from schemas.records import OutcomeRecord
from triggers.decide import apply_event, apply_outcome, fire_before
from triggers.effects import Admitted, Effects
from triggers.names import outcome_name
from triggers.program import Hits, Program
from triggers.state import DAY_MS, Device, UserState, is_blank

#: Timers of users without events are polled once per so many events, as the live shard polls after
#: each batch. The verdict does not depend on it.
POLL_EVERY = 500
FOREVER_MS = 1 << 62
DRAIN_MS = 366 * DAY_MS


@dataclass(slots=True)
class TriggerTally:
    """What became of one trigger."""

    candidates: int = 0
    admitted: int = 0
    suppressed: Counter[str] = field(default_factory=Counter)
    cancelled: int = 0
    expired: int = 0


@dataclass(slots=True)
class Tally:
    """What became of a history."""

    events: int = 0
    triggers: dict[str, TriggerTally] = field(default_factory=dict)
    unevaluated: Counter[tuple[str, Unevaluated]] = field(default_factory=Counter)
    evicted: Counter[str] = field(default_factory=Counter)

    def count(self, decision: Decision) -> None:
        """Add one ended activation."""
        tally = self.triggers.setdefault(decision.trigger, TriggerTally())
        if decision.outcome is Outcome.CANCELLED:
            tally.cancelled += 1
        elif decision.outcome is Outcome.EXPIRED:
            tally.expired += 1
        else:
            tally.candidates += 1
            if decision.outcome is Outcome.ADMITTED:
                tally.admitted += 1
            elif decision.reason is not None:
                tally.suppressed[decision.reason] += 1


class Backtest:
    """Feed events in order of append time, then `finish`.

    `decided` gets every decision in the order it was made. `assume_devices`: every user can be
    reached.
    """

    def __init__(
        self,
        program: Program,
        decided: Callable[[Decision], None],
        *,
        assume_devices: bool = True,
    ) -> None:
        self.program = program
        self.tally = Tally(triggers={name: TriggerTally() for name in program.triggers})
        self._decided = decided
        self._assume_devices = assume_devices
        self._states: dict[str, UserState] = {}
        self._users: set[str] = set()
        self._timers: list[tuple[int, str]] = []
        self._watermark_ms = 0
        self._effects = Effects()

    @property
    def users(self) -> int:
        """Different users seen."""
        return len(self._users)

    def feed(self, events: Iterable[tuple[int, Event]]) -> None:
        """Apply (append time, event) pairs, sorted by append time."""
        hits_of, users = self.program.hits, self._users
        count = 0
        for a, event in events:
            count += 1
            if a > self._watermark_ms:
                self._watermark_ms = a
            user = event.profile
            users.add(user)
            hits = hits_of(event)
            if hits is not None:
                self._apply(user, event, self._watermark_ms, hits)
            if count % POLL_EVERY == 0:
                self._poll(self._watermark_ms)
        self._poll(self._watermark_ms)
        self.tally.events += count

    def finish(self, drain: bool) -> None:
        """Pending timers at the end of input stay pending; `drain` fires them in order, those of a
        year where something comes again and again."""
        if drain:
            recurs = self.program.recurs
            self._poll(self._watermark_ms + DRAIN_MS if recurs else FOREVER_MS)

    @property
    def pending(self) -> int:
        """Instances still waiting."""
        return sum(len(state.instances) for state in self._states.values())

    def _apply(self, user: str, event: Event, a: int, hits: Hits) -> None:
        state = self._states.get(user)
        if state is None:
            state = self._states[user] = UserState()
            if self._assume_devices:
                state.devices.append(Device(f"assumed:{user}", "android", FOREVER_MS))
        due_before = state.due
        if apply_event(self.program, user, state, event, a, hits, self._effects):
            self._settle(user, state, due_before)

    def _poll(self, limit_ms: int) -> None:
        timers, states = self._timers, self._states
        while timers and timers[0][0] < limit_ms:
            due, user = heappop(timers)
            state = states.get(user)
            if state is not None and state.due == due:
                fire_before(self.program, user, state, limit_ms, self._effects)
                self._settle(user, state, due)

    def _accept(self, user: str, state: UserState, admitted: list[Admitted]) -> None:
        """Tell the patterns that wait for it that a message was accepted."""
        for delivery in admitted:
            name = outcome_name(delivery.trigger.id, Reason.ACCEPTED.lower())
            if name in self.program.by_event:
                a = max(self._watermark_ms, delivery.decided_at_ms)
                record = OutcomeRecord(
                    delivery.delivery_id, user, delivery.trigger.id, Reason.ACCEPTED, a
                )
                apply_outcome(self.program, user, state, record, a, self._effects)

    def _settle(self, user: str, state: UserState, due_before: int) -> None:
        effects = self._effects
        while effects.deliveries:
            # Every send is accepted at once: nothing stays pending that could be called back.
            admitted = list(effects.deliveries)
            effects.deliveries.clear()
            self._accept(user, state, admitted)
            state.pending.clear()
        if state.due and state.due != due_before:
            heappush(self._timers, (state.due, user))
        elif is_blank(state):
            del self._states[user]
        if effects.decisions:
            for decision in effects.decisions:
                self.tally.count(decision)
                self._decided(decision)
            effects.decisions.clear()
        effects.journal.clear()
        effects.forgotten.clear()
        effects.cancelled.clear()
        effects.closed.clear()
        effects.fired_ms.clear()
        effects.funnel.clear()
        effects.pending.clear()
        if effects.unevaluated:
            self.tally.unevaluated.update(effects.unevaluated)
            effects.unevaluated.clear()
        if effects.evicted:
            self.tally.evicted.update(effects.evicted)
            effects.evicted.clear()

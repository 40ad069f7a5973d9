"""One run over a history: events in order of append time, timers between them, decisions out.

An event that means nothing to any trigger costs a look-up: the activity it proves is noted in the
user's `Slot` and reaches the state when the state is needed next. That changes no verdict: nothing
is postponed beyond a deadline of the user (design.md T7).
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import islice
from typing import Any, Final

from engine.backtest.result import Result
from engine.backtest.tally import Tally, TriggerTally
from engine.backtest.timelines import Followed, note_decision, note_event
from engine.backtest.users import FOREVER_MS, Slot, Users
from engine.files import Batch
from schemas.decisions import Decision
from schemas.events import ENGINE_MADE, Event, event_name, occurred_at_ms
from triggers.decide import (
    apply_at_once,
    apply_event,
    apply_merge,
    apply_merged,
    catch_up,
    ended_at_once,
    fire_before,
    next_due,
)
from triggers.devices import tells_device
from triggers.effects import Admitted, Effects, FunnelKey, counter_name
from triggers.lengths import Renders
from triggers.names import is_merging
from triggers.program import NO_HITS, Hits, Program
from triggers.retention import LOOK_BACK_MS
from triggers.state import DAY_MS, UserState, is_blank
from triggers.traits import tells_zone
from triggers.usual import is_new_hour

#: Timers of users without events are polled once per so many events, as the live shard polls after
#: each batch. The verdict does not depend on it.
POLL_EVERY: Final = 500
#: How long a drain goes on where something comes again and again.
DRAIN_MS: Final = 366 * DAY_MS


class Backtest:
    """Feed events in order of append time, then `finish`.

    `decided` gets every decision; those of one user in the order they were made. `assume_devices`:
    every user can be reached. `renders` counts the messages that are too long.
    """

    def __init__(
        self,
        program: Program,
        decided: Callable[[Decision], None],
        *,
        assume_devices: bool = True,
        users: Users | None = None,
        poll_every: int = POLL_EVERY,
        renders: Renders | None = None,
    ) -> None:
        self.program = program
        self.tally = Tally(triggers={name: TriggerTally() for name in program.triggers})
        self.held = Users(assume_devices=assume_devices) if users is None else users
        self.followed = Followed()
        self.watermark_ms = 0
        #: The first event of this run and of those it continues.
        self.known_from_ms: int | None = None
        self._decided = decided
        self._assume_devices = assume_devices
        self._poll_every = poll_every
        self._renders = renders
        self._effects = Effects()
        silences = [t.pattern.idle_ms for t in program.triggers.values() if t.pattern.idle_ms]
        self._shortest_idle_ms = min(silences, default=0)

    @property
    def funnel(self) -> Mapping[FunnelKey, int]:
        """The counters of this run: as many as there are triggers, days and stages."""
        return self._effects.funnel

    def result(self) -> Result:
        """What came of it so far."""
        funnel = Counter({counter_name(key): count for key, count in self.funnel.items()})
        return Result(
            tally=self.tally,
            users=self.users,
            known=len(self.held.slots) + len(self.held.earlier),
            pending=self.pending,
            sent=Counter(slot.sent for slot in self.held.slots.values()),
            funnel=funnel,
            traces=self.followed.traces,
            known_from_ms=self.known_from_ms,
            watermark_ms=self.watermark_ms,
        )

    @property
    def users(self) -> int:
        """Different users of the events fed."""
        return len(self.held.slots)

    @property
    def pending(self) -> int:
        """Instances still waiting."""
        states = (self.held.peek(slot) for _, slot in self.held.all_slots())
        return sum(
            len(state.instances) + sum(len(bundle.waiting) for bundle in state.bundles)
            for state in states
            if state is not None
        )

    def feed(self, events: Iterable[tuple[int, Event]]) -> None:
        """Apply (append time, event) pairs, sorted by append time."""
        rows = iter(events)
        while chunk := list(islice(rows, self._poll_every)):
            times, found = zip(*chunk, strict=True)
            self.feed_batches([Batch(times, found, ())])

    def feed_batches(self, batches: Iterable[Batch]) -> None:
        """Apply events in columns, sorted by append time; nothing is kept of a batch."""
        unpolled = 0
        for times, events, _ in batches:
            if times and self.tally.first_ms is None:
                self.tally.first_ms = times[0]
                if self.known_from_ms is None:
                    self.known_from_ms = times[0]
            done = 0
            while done < len(times):
                end = min(len(times), done + self._poll_every - unpolled)
                self._feed(times[done:end], events[done:end])
                unpolled += end - done
                done = end
                if unpolled >= self._poll_every:
                    unpolled = 0
                    self._poll(self.watermark_ms)
                    self._tidy()
            self.tally.events += len(times)
        if unpolled:
            self._poll(self.watermark_ms)
            self._tidy()

    def reach(self, watermark_ms: int) -> None:
        """The log went on to there with events of users of other runs."""
        self.watermark_ms = max(self.watermark_ms, watermark_ms)
        self._poll(self.watermark_ms)
        self._tidy()

    def finish(self, drain: bool) -> None:
        """Pending timers at the end of input stay pending; `drain` fires them in order, those of a
        year where something comes again and again."""
        if drain:
            recurs = self.program.recurs
            self._poll(self.watermark_ms + DRAIN_MS if recurs else FOREVER_MS)
            self._tidy()

    def _feed(self, times: Sequence[int], events: Sequence[Event]) -> None:
        program = self.program
        roles_of, by_name, slots = program.roles, program.by_name, self.held.slots
        granule_ms = program.granule_ms
        learns = bool(program.traits) or program.zoned or bool(program.habits)
        watermark_ms = self.watermark_ms
        for a, event in zip(times, events, strict=True):
            if a > watermark_ms:
                watermark_ms = a
            user = event.user_id or event.anonymous_id or ""
            slot = slots.get(user)
            if slot is None:
                slot = self.held.meet(user)
                if slot.wake < watermark_ms:
                    # A timeline begins with the user's first event in this run, polled or not.
                    self._fire(user, slot, watermark_ms)
                self.followed.meet(user, slot)
            if slot.merged_into:
                user, slot = self._follow(slot)
            if slot.trace is not None:
                if slot.wake < watermark_ms:
                    # What was decided before it stands before it, polled or not.
                    self._fire(user, slot, watermark_ms)
                note_event(slot, a, event_name(event) or event.type)
            if by_name is not None and event.type == "track":
                match = by_name.get(event.event)
                hits = NO_HITS if match is None else match(event)
            else:
                hits = roles_of(event)
            if hits.answer is not None and self._is_idle(hits, slot, watermark_ms):
                hits = NO_HITS
            if (
                hits is NO_HITS
                and not (
                    (learns or (event.context is not None and "device" in event.context))
                    and self._teaches(slot, event, watermark_ms)
                )
                and (event.type == "track" or not is_merging(event))
            ):
                # e is at most a: most activity is within the granule that is known already.
                if not granule_ms or watermark_ms <= slot.seen or event.type in ENGINE_MADE:
                    continue
                if self._postponed(user, slot, occurred_at_ms(event, watermark_ms), watermark_ms):
                    continue
            self._apply(user, slot, event, watermark_ms, hits)
        self.watermark_ms = watermark_ms

    def _teaches(self, slot: Slot, event: Event, a: int) -> bool:
        """Something new may be learnt of the user: most was told by the event before."""
        program, state = self.program, slot.state
        known = (
            state is not None
            and state.consent is None
            and not program.traits
            and not tells_device(state, event, a)
            and not (program.zoned and tells_zone(state, event))
            and not (program.habits and is_new_hour(state, a))
        )
        return not known and program.teaches(event)

    def _is_idle(self, hits: Hits, slot: Slot, a: int) -> bool:
        """It could only be credited, and nothing was said to the user, nor will be before `a`."""
        if hits.cancels or hits.starts or hits.errors or hits.notes or hits.consent:
            return False
        if slot.wake < a:
            return False
        state = slot.state
        if state is None:
            return slot.packed is None
        return not (state.touches or state.exposed)

    def _postponed(self, user: str, slot: Slot, e: int, a: int) -> bool:
        """Note activity in the slot alone; False when a timer of the user may come before it, or
        it is told so late that more follows from it."""
        if e <= slot.seen:
            return True
        granule_ms = self.program.granule_ms
        seen = -(-e // granule_ms) * granule_ms
        wake = seen + self._shortest_idle_ms
        if slot.wake < a or wake < a or e < a - LOOK_BACK_MS:
            return False
        slot.seen = seen
        if wake < slot.wake:
            slot.wake = wake
            self.held.queue(user, slot)
        return True

    def _apply(self, user: str, slot: Slot, event: Event, a: int, hits: Hits) -> None:
        if slot.wake < a:
            self._fire(user, slot, a)
        state = self.held.state_of(user, slot)
        later = slot.seen > state.seen and catch_up(self.program, state, slot.seen)
        if apply_event(self.program, user, state, event, a, hits, self._effects):
            self._settle(user, slot, state, a)
        elif later:
            state.due = next_due(self.program, state)
            self._settle(user, slot, state)
        elif self._effects.merges:
            self._merge()

    def _follow(self, slot: Slot) -> tuple[str, Slot]:
        """The profile that a merged one is a part of now."""
        user = slot.merged_into
        while (slot := self.held.slot_of(user)).merged_into:
            user = slot.merged_into
        return user, slot

    def _merge(self) -> None:
        """Make anonymous profiles parts of known ones, at once: live it takes two more records."""
        merges = self._effects.merges
        while merges:
            merge = merges.pop(0)
            moved, a = merge.moved, merge.a
            user = merge.anonymous if moved is None else merge.known
            slot = self.held.slot_of(user)
            if moved is not None and slot.merged_into:
                user, slot = self._follow(slot)
            if slot.wake < a:
                # Else it would depend on the poll whether what is sent is accepted before the next.
                self._fire(user, slot, a)
            state = self.held.state_of(user, slot)
            if catch_up(self.program, state, slot.seen):
                state.due = next_due(self.program, state)
            if moved is not None:
                apply_merged(self.program, user, state, moved, a, self._effects, merge.outcome)
            elif apply_merge(self.program, user, state, merge.known, a, self._effects):
                slot.merged_into = merge.known
            self._settle(user, slot, state, a)

    def _poll(self, limit_ms: int) -> None:
        while (found := self.held.next_due(limit_ms)) is not None:
            self._fire(*found, limit_ms)

    def _fire(self, user: str, slot: Slot, limit_ms: int) -> None:
        """One moment at a time: what is sent is accepted before anything later is due."""
        state = self.held.state_of(user, slot)
        if catch_up(self.program, state, slot.seen):
            state.due = next_due(self.program, state)
        while 0 < state.due < limit_ms:
            fire_before(self.program, user, state, state.due + 1, self._effects)
            self._settle(user, slot, state)
        self._settle(user, slot, state)

    def _accept(self, user: str, state: UserState, a: int, admitted: list[Admitted]) -> None:
        """Every message is accepted when it is decided, and a ghost ends there: what is credited,
        what patterns wait for and what reports count goes by that."""
        for delivery in admitted:
            self._fire_late(user, state, a)
            apply_at_once(self.program, user, state, ended_at_once(delivery), self._effects)

    def _fire_late(self, user: str, state: UserState, a: int) -> None:
        """Live a poll comes behind the record of log time `a`, before any outcome: what it made due
        in the past, as a start that is told late does, is decided first."""
        if 0 < state.due < a:
            fire_before(self.program, user, state, a, self._effects)

    def _settle(self, user: str, slot: Slot, state: UserState, a: int = 0) -> None:
        """After a change by a record appended at `a`, 0 for a timer."""
        effects = self._effects
        self._fire_late(user, state, a)
        while effects.deliveries:
            # Every send is accepted at once: nothing stays pending that could be called back. What
            # is sent because of that has its turn next.
            admitted = list(effects.deliveries)
            effects.deliveries.clear()
            if self._renders is not None:
                for delivery in admitted:
                    self._renders.look(delivery)
            self._accept(user, state, a, admitted)
        slot.seen = state.seen
        slot.wake = state.due or FOREVER_MS
        if slot.wake < slot.queued:
            self.held.queue(user, slot)
        elif not state.due and not self._assume_devices and is_blank(state):
            # Else it says that the device that was assumed is gone: forgotten, it would be back.
            slot.state = None
        if effects.decisions:
            for decision in effects.decisions:
                self.tally.count(decision, slot, self.program)
                if slot.trace is not None:
                    note_decision(slot, decision)
                self._decided(decision)
            effects.decisions.clear()
        if effects.outcomes:
            for row in effects.outcomes:
                self.tally.follow(row)
            effects.outcomes.clear()
        if effects.merges:
            self._merge()

    def _tidy(self) -> None:
        """Once per chunk: what nobody reads goes, what is counted is added."""
        effects = self._effects
        for unread in (
            effects.journal,
            effects.forgotten,
            effects.cancelled,
            effects.closed,
            effects.reached,
            effects.given_back,
            effects.fired_ms,
            effects.pending,
        ):
            unread.clear()
        _move(effects.unevaluated, self.tally.unevaluated)
        _move(effects.evicted, self.tally.evicted)
        self.held.tidy()


def _move(source: Counter[Any], into: Counter[Any]) -> None:
    if source:
        into.update(source)
        source.clear()

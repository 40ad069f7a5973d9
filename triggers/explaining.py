"""Explain: one user's inputs decided again, with everything that was looked at on the way.

A `Watch` hands the inputs to the functions of `triggers.decide`, one at a time, and compares the
state before and after with the effects in between. So there is no second evaluator: whatever a
trigger did is told by what the core did, and an addition to the core (a pattern, a check, a reason)
is explained at least by its code. Only two things are asked beside it, of the very closures and
functions that decided: what each clause of a filter said, and what each check said.
"""

from collections import deque
from collections.abc import Iterable
from enum import StrEnum
from typing import NamedTuple

from schemas.decisions import Decision
from schemas.events import Event, event_name, occurred_at_ms
from schemas.outcomes import Reaction
from schemas.reasons import REACTIONS, Outcome, Reason, Unevaluated
from schemas.records import OutcomeRecord
from triggers.admission import Candidate
from triggers.check_values import Weighed, named, weigh
from triggers.conditions import ClauseResult, Fields
from triggers.consenting import CHANGED
from triggers.decide import (
    apply_at_once,
    apply_event,
    apply_merge,
    apply_merged,
    apply_outcome,
    ended_at_once,
    fire_before,
)
from triggers.effects import Admitted, Effects, Journal, Merge
from triggers.names import outcome_name
from triggers.paths import MISSING
from triggers.program import Program, Role
from triggers.settling import closes_at
from triggers.state import (
    Bundle,
    Held,
    Instance,
    Settling,
    UserState,
    decode_state,
    encode_state,
)

_REACTIONS = frozenset(Reaction)
#: The newest entries are kept; `Watch.dropped` counts the others.
ENTRIES_MAX = 5_000


class What(StrEnum):
    """What became of a trigger at one moment. The first six end or begin nothing. RECORDED: a line
    of the stored journal that deciding again did not give. MERGED, FORWARDED and CONSENT are of the
    profile, not of a trigger: it became one with another, its records go to that one since, or its
    consent changed (`activation` says to what).
    """

    NOT_MATCHED = "NOT_MATCHED"
    NOT_EVALUATED = "NOT_EVALUATED"
    NOT_CANCELLED = "NOT_CANCELLED"
    IGNORED = "IGNORED"
    COUNTED = "COUNTED"
    NOTED = "NOTED"
    ARMED = "ARMED"
    RESTARTED = "RESTARTED"
    NEXT_STEP = "NEXT_STEP"
    COLLECTED = "COLLECTED"
    SETTLING = "SETTLING"
    HELD = "HELD"
    DEFERRED = "DEFERRED"
    CALLED_BACK = "CALLED_BACK"
    OUTCOME = "OUTCOME"
    ADMITTED = "ADMITTED"
    SUPPRESSED = "SUPPRESSED"
    CANCELLED = "CANCELLED"
    EXPIRED = "EXPIRED"
    BUNDLED = "BUNDLED"
    RECORDED = "RECORDED"
    MERGED = "MERGED"
    FORWARDED = "FORWARDED"
    CONSENT = "CONSENT"


class Note(StrEnum):
    """What `what` and `reason` leave open. REMEMBERED: a cancel that came before the start.
    OVERFLOW: too many instances. WITHDRAWN: by an apply. AGAIN: an outcome that was not the first.
    """

    REMEMBERED = "REMEMBERED"
    OVERFLOW = "OVERFLOW"
    WITHDRAWN = "WITHDRAWN"
    AGAIN = "AGAIN"


class Seen(NamedTuple):
    """The event behind an entry. `occurred_at`: client time, ms."""

    name: str
    message_id: str
    occurred_at: int


class Entry(NamedTuple):
    """One moment of one trigger ("": of the profile). `at`: log time, ms; `due_at`: when what waits
    is due.

    `event` None: a timer. `delivery_id` of what was admitted, or ended so.
    """

    at: int
    trigger: str
    what: What
    reason: str | None = None
    note: Note | None = None
    event: Seen | None = None
    activation: str | None = None
    per: str = ""
    due_at: int | None = None
    delivery_id: str | None = None
    clauses: tuple[ClauseResult, ...] = ()
    checks: tuple[Weighed, ...] = ()


class Watch:
    """One user. Call `event`, `outcome` and `activate` in log order, with monotone append times.

    `accepts`: every send is accepted at once, as a backtest has it. `said` maps decision times to
    the trigger that was admitted then: a state knows the times only. `merges` are those its events
    asked for, `journal` the lines of the user's journal.
    """

    def __init__(
        self, program: Program, user: str, state: UserState | None = None, *, accepts: bool = False
    ) -> None:
        self.program = program.for_user(user)
        self.user = user
        self.state = UserState() if state is None else state
        self.entries: deque[Entry] = deque(maxlen=ENTRIES_MAX)
        self.dropped = 0
        self.decisions: deque[Decision] = deque(maxlen=ENTRIES_MAX)
        self.journal: deque[Journal] = deque(maxlen=ENTRIES_MAX)
        self.said: dict[int, str] = {}
        self.merges: list[Merge] = []
        self._accepts = accepts
        self._admitted: list[Admitted] = []
        # In their order: two messages of one activation, of a series or of two profiles that are
        # one by now, may come out of a hold or a settle window at the same moment.
        self._weighed: dict[tuple[str, str, int], list[tuple[Candidate, tuple[Weighed, ...]]]] = {}

    def activate(self, program: Program, a: int) -> None:
        """From here on this version decides; every timer with F < a fires first."""
        self.advance(a)
        self.program = program.for_user(self.user)

    def event(self, event: Event, a: int) -> None:
        """A client event appended at `a`."""
        if self.state.merged_into:
            seen = Seen(event_name(event) or event.type, event.message_id, occurred_at_ms(event, a))
            self._add([Entry(a, "", What.FORWARDED, event=seen)], Effects())
            return
        self.advance(a)
        hits = self.program.hits(event)
        before = _copy(self.state)
        out = self._effects()
        if hits is not None:
            apply_event(self.program, self.user, self.state, event, a, hits, out)
        seen = Seen(event_name(event) or event.type, event.message_id, occurred_at_ms(event, a))
        judged = [(role, _verdict(role, event)) for role in self.program.naming(event)]
        found = self._changes(before, out, a, seen)
        found = [self._with_clauses(entry, judged, before, event) for entry in found]
        found += self._unmoved(found, judged, before, out, event, a, seen)
        self._add(found, out, a)

    def outcome(self, record: OutcomeRecord, a: int) -> None:
        """How a delivery ended."""
        self.advance(a)
        before = _copy(self.state)
        out = self._effects()
        apply_outcome(self.program, self.user, self.state, record, a, out)
        if record.reason in REACTIONS and out.outcomes:
            self._add(self._changes(before, out, a, None), out)
            return
        ended = _ended(record, a, None if record.delivery_id in out.closed else Note.AGAIN)
        self._add([ended, *self._changes(before, out, a, None)], out)

    def merge(self, known: str, a: int) -> None:
        """This profile is a part of `known` from here on."""
        self.advance(a)
        apply_merge(self.program, self.user, self.state, known, a, out := self._effects())
        self._add([Entry(a, "", What.MERGED, activation=known)], out)

    def merged(self, moved: UserState, a: int, outcome: OutcomeRecord | None = None) -> None:
        """Another profile is a part of this one from here on; `moved` is what it held. `outcome`:
        what became of a delivery of one that already was."""
        self.advance(a)
        before = _copy(self.state)
        out = self._effects()
        apply_merged(self.program, self.user, self.state, moved, a, out, outcome)
        if outcome is None:
            found = self._changes(before, out, a, None, Note.REMEMBERED)
            self._add([Entry(a, "", What.MERGED), *found], out, a)
        else:
            told = [] if outcome.reason in REACTIONS else [_ended(outcome, a)]
            self._add([*told, *self._changes(before, out, a, None)], out)

    def advance(self, limit_ms: int) -> None:
        """Fire every timer with F < `limit_ms`, one after the other."""
        if self.program.withdrawn:
            before = _copy(self.state)
            out = self._effects()
            fire_before(self.program, self.user, self.state, 0, out)
            self._add(self._changes(before, out, limit_ms, None, Note.WITHDRAWN), out)
        while 0 < self.state.due < limit_ms:
            due = self.state.due
            before = _copy(self.state)
            out = self._effects()
            fire_before(self.program, self.user, self.state, due + 1, out)
            self._add(self._changes(before, out, due, None), out)

    def _effects(self) -> Effects:
        self._weighed = {}
        return Effects(on_admission=self._weigh)

    def _weigh(self, candidate: Candidate, state: UserState, at: int) -> None:
        weighed = named(weigh(candidate, state, at), self.said)
        key = (candidate.trigger.id, candidate.activation, at)
        self._weighed.setdefault(key, []).append((candidate, weighed))

    def _add(self, entries: list[Entry], out: Effects, a: int = 0) -> None:
        self.dropped += max(0, len(self.entries) + len(entries) - ENTRIES_MAX)
        self.entries.extend(entries)
        self.decisions += out.decisions
        self.journal += out.journal
        for decision in out.decisions:
            if decision.outcome is Outcome.ADMITTED or decision.reason is Reason.GLOBAL_CONTROL:
                self.said[decision.at_ms] = decision.trigger
        self.merges += out.merges
        self._admitted += out.deliveries
        if self._accepts:
            self._accept(a)

    def _accept(self, a: int) -> None:
        """Every send is accepted at once, as a backtest has it: nothing stays pending that could be
        called back, and patterns that wait for it are told. What a record of log time `a` made due
        before it is decided first: live, too, a poll comes before the next outcome."""
        self._accepts = False
        self.advance(a)
        while self._admitted:
            admitted, self._admitted = self._admitted, []
            for delivery in admitted:
                self.advance(a)
                self._end(ended_at_once(delivery))
        self._accepts = True

    def _end(self, record: OutcomeRecord) -> None:
        """What nobody waits for is not told."""
        if outcome_name(record.trigger, record.reason.lower()) not in self.program.by_event:
            apply_at_once(self.program, self.user, self.state, record, Effects())
            return
        before, a, out = _copy(self.state), record.at_ms, self._effects()
        apply_at_once(self.program, self.user, self.state, record, out)
        self._add([_ended(record, a), *self._changes(before, out, a, None)], out)

    def _changes(
        self,
        before: UserState,
        out: Effects,
        at: int,
        seen: Seen | None,
        note: Note | None = None,
    ) -> list[Entry]:
        """What the core did, told by its decisions and by the state it left. `note`: why, where it
        was no event and no timer."""
        found = [self._decided(decision, seen, note) for decision in out.decisions]
        for (trigger, activation, moment), weighed in self._weighed.items():
            found += [
                Entry(
                    moment,
                    trigger,
                    What.DEFERRED,
                    event=seen,
                    activation=activation,
                    per=candidate.per,
                    checks=checks,
                )
                for candidate, checks in weighed
            ]
        found += _armed(before, self.state, at, seen)
        found += _collected(before, self.state, at, seen)
        found += _settling(before, self.state, at, seen)
        found += _held(before, self.state, at, seen)
        found += _called_back(before, self.state, out, at, seen)
        found += _followed(out, seen)
        found += [
            Entry(line.at_ms, "", What.CONSENT, event=seen, activation=line.by)
            for line in out.journal
            if line.what == CHANGED and not line.trigger
        ]
        told = {entry.trigger for entry in found}
        for trigger, memory in self.state.patterns.items():
            if trigger not in told and before.patterns.get(trigger) != memory:
                found.append(Entry(at, trigger, What.COUNTED, event=seen))
        return found

    def _decided(self, decision: Decision, seen: Seen | None, note: Note | None) -> Entry:
        key = (decision.trigger, decision.activation, decision.at_ms)
        weighed = self._weighed.get(key)
        candidate, checks = weighed.pop(0) if weighed else (None, ())
        return Entry(
            at=decision.at_ms,
            trigger=decision.trigger,
            what=What(decision.outcome),
            reason=decision.reason,
            note=note,
            event=seen,
            activation=decision.activation,
            per=candidate.per if candidate else "",
            delivery_id=decision.delivery_id,
            checks=checks,
        )

    def _with_clauses(
        self, entry: Entry, judged: list[tuple[Role, bool | None]], before: UserState, event: Event
    ) -> Entry:
        """An entry that this event brought about: which conditions let it."""
        if entry.what is not What.CANCELLED:
            for role, verdict in judged:
                if role.clause < 0 and verdict and role.trigger.id == entry.trigger:
                    return entry._replace(clauses=_clauses(role, event))
            return entry
        instance = _instance(before, entry)
        if entry.reason is Reason.CONSENT:
            return entry._replace(per=instance.per if instance else "")
        if instance is None:
            collecting: list[Bundle | Settling | Held] = [
                *before.bundles,
                *before.settling,
                *before.held,
            ]
            waited = [w for b in collecting if b.trigger == entry.trigger for w in b.waiting]
            if any(waiting.activation == entry.activation for waiting in waited):
                return entry
            return entry._replace(note=Note.REMEMBERED)
        for role, verdict in judged:
            if role.clause >= 0 and verdict and role.trigger.id == entry.trigger:
                clauses = _clauses(role, event, instance.fields)
                return entry._replace(per=instance.per, clauses=clauses)
        return entry._replace(per=instance.per, note=Note.OVERFLOW)

    def _unmoved(
        self,
        found: list[Entry],
        judged: list[tuple[Role, bool | None]],
        before: UserState,
        out: Effects,
        event: Event,
        a: int,
        seen: Seen,
    ) -> list[Entry]:
        """The triggers that name the event and of which nothing was decided: why not."""
        told = {entry.trigger for entry in found}
        silent: dict[str, Entry] = {}
        for role, verdict in judged:
            name = role.trigger.id
            entry = Entry(a, name, What.NOT_MATCHED, event=seen, clauses=_clauses(role, event))
            if verdict is None:
                reason = Unevaluated.COULD_NOT_EVALUATE
                silent[f"{name}/{role.clause}"] = entry._replace(
                    what=What.NOT_EVALUATED, reason=reason
                )
            elif role.clause >= 0:
                for number, still in enumerate(self._not_cancelled(role, before, event, entry)):
                    silent[f"{name}/{role.clause}/{number}"] = still
                if verdict and name not in told and self._remembers(name, before):
                    silent.setdefault(f"{name}/{role.clause}/0", entry._replace(what=What.NOTED))
            elif name not in told:
                key = f"{name}/start"
                if verdict:
                    silent[key] = self._ignored(entry, before, out)
                else:
                    silent.setdefault(key, entry)
        return list(silent.values())

    def _ignored(self, entry: Entry, before: UserState, out: Effects) -> Entry:
        for name, reason in out.unevaluated:
            if name == entry.trigger and reason is not Unevaluated.COULD_NOT_EVALUATE:
                return entry._replace(what=What.NOT_EVALUATED, reason=reason)
        due = [i.fire_at for i in before.instances if i.trigger == entry.trigger]
        return entry._replace(what=What.IGNORED, due_at=min(due, default=None))

    def _not_cancelled(
        self, role: Role, before: UserState, event: Event, entry: Entry
    ) -> Iterable[Entry]:
        """What still waits although an event of `unless` came."""
        name = role.trigger.id
        still = {(i.trigger, i.per): i.activation for i in self.state.instances}
        for instance in before.instances:
            if instance.trigger == name and still.get((name, instance.per)) == instance.activation:
                yield entry._replace(
                    what=What.NOT_CANCELLED,
                    activation=instance.activation,
                    per=instance.per,
                    due_at=instance.fire_at,
                    clauses=_clauses(role, event, instance.fields),
                )

    def _remembers(self, trigger: str, before: UserState) -> bool:
        """A cancel is kept for starts that come late."""
        kept = self.state.memory.get(trigger)
        return kept is not None and kept != before.memory.get(trigger)


def _ended(record: OutcomeRecord, a: int, note: Note | None = None) -> Entry:
    return Entry(
        at=a,
        trigger=record.trigger,
        what=What.OUTCOME,
        reason=record.reason,
        note=note,
        delivery_id=record.delivery_id,
    )


def _copy(state: UserState) -> UserState:
    return decode_state(encode_state(state))


def _verdict(role: Role, event: Event) -> bool | None:
    static = role.filter.static
    return True if static is None else static(event)


def _clauses(role: Role, event: Event, kept: Fields | None = None) -> tuple[ClauseResult, ...]:
    """Without `kept` fields a clause with a reference is left out: it has nothing to compare."""
    found = role.filter.explain(event, {} if kept is None else kept)
    if kept is not None:
        return tuple(found)
    return tuple(clause for clause in found if clause.compared is not MISSING)


def _instance(state: UserState, entry: Entry) -> Instance | None:
    for instance in state.instances:
        if instance.trigger == entry.trigger and instance.activation == entry.activation:
            return instance
    return None


def _armed(before: UserState, after: UserState, at: int, seen: Seen | None) -> Iterable[Entry]:
    known = {(instance.trigger, instance.per): instance for instance in before.instances}
    for instance in after.instances:
        was = known.get((instance.trigger, instance.per))
        if was is None:
            what = What.ARMED
        elif was.activation != instance.activation:
            what = What.RESTARTED
        elif was.fire_at != instance.fire_at:
            what = What.NEXT_STEP
        else:
            continue
        yield Entry(
            at,
            instance.trigger,
            what,
            event=seen,
            activation=instance.activation,
            per=instance.per,
            due_at=instance.fire_at,
        )


def _collected(before: UserState, after: UserState, at: int, seen: Seen | None) -> Iterable[Entry]:
    def waiting_in(state: UserState) -> dict[tuple[str, str, str], int]:
        return {
            (bundle.trigger, waiting.activation, waiting.per): bundle.close_at
            for bundle in state.bundles
            for waiting in bundle.waiting
        }

    known = waiting_in(before)
    for (trigger, activation, per), close_at in waiting_in(after).items():
        if (trigger, activation, per) not in known:
            yield Entry(
                at,
                trigger,
                What.COLLECTED,
                event=seen,
                activation=activation,
                per=per,
                due_at=close_at,
            )


def _held(before: UserState, after: UserState, at: int, seen: Seen | None) -> Iterable[Entry]:
    """Candidates whose hours are closed."""
    for held in after.held:
        if held not in before.held:
            first = held.waiting[0]
            yield Entry(
                at,
                held.trigger,
                What.HELD,
                reason=Reason.QUIET_HOURS,
                event=seen,
                activation=first.activation,
                per=first.per,
                due_at=held.release_at,
            )


def _settling(before: UserState, after: UserState, at: int, seen: Seen | None) -> Iterable[Entry]:
    """Who joined a settle window."""
    for settling in after.settling:
        if settling not in before.settling:
            first = settling.waiting[0]
            yield Entry(
                at,
                settling.trigger,
                What.SETTLING,
                event=seen,
                activation=first.activation,
                per=first.per,
                due_at=closes_at(after),
            )


def _followed(out: Effects, seen: Seen | None) -> Iterable[Entry]:
    """What became of messages sent before: opened, converted."""
    for row in out.outcomes:
        if row.kind in _REACTIONS:
            yield Entry(
                row.at_ms,
                row.trigger,
                What.OUTCOME,
                reason=row.kind.upper(),
                event=seen,
                delivery_id=row.delivery_id,
            )


def _called_back(
    before: UserState, after: UserState, out: Effects, at: int, seen: Seen | None
) -> Iterable[Entry]:
    called = {pending.delivery for pending in before.pending if pending.cancelled}
    reasons = {recall.delivery_id: recall.reason for recall in out.cancelled}
    for pending in after.pending:
        if pending.cancelled and pending.delivery not in called:
            delivery = pending.delivery.hex()
            yield Entry(
                at,
                pending.trigger,
                What.CALLED_BACK,
                reason=reasons.get(delivery),
                event=seen,
                per=pending.per,
                delivery_id=delivery,
            )

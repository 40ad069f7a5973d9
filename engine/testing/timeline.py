"""Virtual time: the events of one test through `triggers.decide`, and what came of them.

Time goes on after the last event until nothing is pending, or up to `until`. What repeats for ever
(a yearly date, a schedule) is stopped `AFTER_MAX_MS` behind the last thing the test names.
"""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from msgspec.structs import replace

from engine.delivery.render import Renderer
from engine.testing.cases import Case
from engine.testing.waiting import Waits, waiting_of
from schemas.decisions import Decision
from schemas.deliveries import Delivery
from schemas.events import Event
from schemas.reasons import Outcome, Reason, Unevaluated
from schemas.records import OutcomeRecord, PreferenceRecord, outcome_event, preference_event
from triggers.decide import (
    apply_at_once,
    apply_event,
    apply_merge,
    apply_merged,
    apply_outcome,
    ended_at_once,
    fire_before,
    next_due,
    per_value,
)
from triggers.definition import TriggerDefinition
from triggers.effects import Admitted, Effects
from triggers.lengths import Renders
from triggers.packing import pack_token
from triggers.program import NO_HITS, Hits
from triggers.state import DAY_MS, Device, Instance, UserState
from triggers.testcases import TEST_USER, GivenEvent
from triggers.texts import MessageAborted, RenderError

AFTER_MAX_MS = 366 * DAY_MS
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
#: How names of triggers tell pages and screens from other events.
_VIEWS = {"Page: ": "page", "Screen: ": "screen"}
#: An event that matches and was not evaluated has started nothing.
_NOT_STARTED = (Unevaluated.NOT_ACTIVE, Unevaluated.PER_MISSING, Unevaluated.LATE_EVENT)


@dataclass(frozen=True, slots=True)
class Got:
    """One outcome. `title`, `body` and `link` of an admitted message, `error` when they fail to
    render; `variant`: the arm of an experiment."""

    at_ms: int
    trigger: str
    user: str
    outcome: str
    reason: str | None
    per: str | None
    title: str | None = None
    body: str | None = None
    link: str | None = None
    error: str | None = None
    variant: str | None = None


@dataclass(frozen=True, slots=True)
class Step:
    """An event that was applied: the roles it had, the instances that outlived it. `unsent`: the
    trigger of which there was no message that an outcome could be told of."""

    given: GivenEvent
    event: Event
    hits: Hits
    unevaluated: tuple[tuple[str, Unevaluated], ...]
    pending: tuple[Instance, ...]
    unsent: str = ""


@dataclass(slots=True)
class Timeline:
    """Plays one case. `renders` counts the messages that are too long. `started`: the trigger's
    pattern has begun to match, or waits for silence."""

    case: Case
    renders: Renders | None = None
    got: list[Got] = field(default_factory=list)
    steps: list[Step] = field(default_factory=list)
    started: bool = False
    #: Candidates that were not decided at once.
    waited: Waits = field(default_factory=dict)
    _states: dict[str, UserState] = field(default_factory=dict)
    _events: dict[str, Event] = field(default_factory=dict)
    #: (user, trigger) -> the last delivery.
    _sent: dict[tuple[str, str], str] = field(default_factory=dict)

    def play(self) -> None:
        """Apply the events and everything that falls due between and after them."""
        test = self.case.test
        for number, given in enumerate(test.events, start=1):
            a = test.now_ms + given.at_ms
            self._advance(a)
            if given.outcome is None:
                self._apply(given, self._event(given, number), a)
            else:
                self._tell(given, given.outcome, a)
        offsets_ms = [given.at_ms for given in test.events]
        offsets_ms += [expected.at_ms for expected in test.expect]
        last_ms = max(offsets_ms, default=0)
        end_ms = last_ms + AFTER_MAX_MS if test.until_ms is None else test.until_ms
        self._advance(test.now_ms + end_ms + 1)

    @property
    def waiting(self) -> Waits:
        """Who waits at the end."""
        found: Waits = {}
        for state in self._states.values():
            found |= waiting_of(state)
        return found

    def _event(self, given: GivenEvent, number: int) -> Event:
        test = self.case.test
        properties = dict(given.properties)
        kind = "track" if given.signal is None else "signal"
        kind, name = given.type or kind, given.event or given.signal
        for prefix, view in _VIEWS.items():
            if given.event is not None and given.event.startswith(prefix):
                kind, properties["name"], name = view, given.event.removeprefix(prefix), None
        occurred_ms = given.at_ms if given.occurred_at_ms is None else given.occurred_at_ms
        user = given.user
        if user is None and given.anonymous is None:
            user = TEST_USER
        return Event(
            type=kind,  # type: ignore[arg-type]
            message_id=given.id or f"event-{number}",
            event=name,
            user_id=user,
            anonymous_id=given.anonymous,
            previous_id=given.previous,
            timestamp=_EPOCH + timedelta(milliseconds=test.now_ms + occurred_ms),
            properties=properties,
            context=None if given.signal else {"timezone": test.zone, **given.context},
            traits=given.traits or None,
        )

    def _apply(self, given: GivenEvent, event: Event, a: int) -> None:
        program = self.case.program
        self._events.setdefault(event.message_id, event)
        user = event.profile
        while into := self._state(user).merged_into:
            # A profile that is a part of another one: its records go there.
            user = into
        state = self._state(user)
        hits = program.hits(event) or NO_HITS
        effects = Effects()
        apply_event(program, user, state, event, a, hits, effects)
        own = self.case.trigger.id
        unevaluated = tuple(effects.unevaluated)
        if not any((own, why) in effects.unevaluated for why in _NOT_STARTED):
            self.started |= any(role.trigger.id == own for role in hits.starts)
        self.steps.append(Step(given, event, hits, unevaluated, tuple(state.instances)))
        # What it says to the user is accepted before the profiles are one, as in a backtest.
        self._collect(user, state, effects, a)
        self._merge(effects)

    def _tell(self, given: GivenEvent, outcome: str, a: int) -> None:
        """What became of the last message of a trigger, as the engine's own record says it."""
        user = given.user or TEST_USER
        trigger = given.trigger or self.case.trigger.id
        # What was admitted for a guest stays theirs, also when they are a part of another one.
        while (user, trigger) not in self._sent and (into := self._state(user).merged_into):
            user = into
        at_ms = given.at_ms if given.occurred_at_ms is None else given.occurred_at_ms
        at_ms += self.case.test.now_ms
        delivery = self._sent.get((user, trigger))
        record = OutcomeRecord(delivery or "", user, trigger, Reason(outcome.upper()), at_ms)
        state, effects = self._state(user), Effects()
        if delivery is not None:
            apply_outcome(self.case.program, user, state, record, a, effects)
        self._merge(effects)
        event, unsent = outcome_event(record, a), "" if delivery else trigger
        unevaluated = tuple(effects.unevaluated)
        self.steps.append(Step(given, event, NO_HITS, unevaluated, tuple(state.instances), unsent))
        self._collect(user, state, effects, a)

    def _merge(self, effects: Effects) -> None:
        """What the shards of two profiles tell each other, at once."""
        program = self.case.program
        merges, effects.merges = effects.merges, []
        for merge in merges:
            user, out = merge.anonymous if merge.moved is None else merge.known, Effects()
            while merge.moved is not None and (into := self._state(user).merged_into):
                user = into
            state, a = self._state(user), merge.a
            if merge.moved is None:
                apply_merge(program, user, state, merge.known, a, out)
            else:
                apply_merged(program, user, state, merge.moved, a, out, merge.outcome)
            self._collect(user, state, out, a)
            self._merge(out)

    def _state(self, user: str) -> UserState:
        """A user is met with the devices, consent and traits the test gives them."""
        state = self._states.get(user)
        if state is not None:
            return state
        test = self.case.test
        state = self._states[user] = UserState()
        state.devices = [
            Device(pack_token(f"{platform}-{number}"), platform, test.now_ms)
            for number, platform in enumerate(test.devices, start=1)
        ]
        self._consent(user, state)
        if test.traits:
            said = Event(type="identify", message_id="given", user_id=user, traits=test.traits)
            # Known before the test begins: no trigger is asked about it, and it is no activity.
            apply_event(self.case.program, user, state, said, test.now_ms, NO_HITS, Effects())
            state.seen = 0
            state.due = next_due(self.case.program, state)
        return state

    def _consent(self, user: str, state: UserState) -> None:
        """What they said the moment before the test begins."""
        test = self.case.test
        if test.consent is not None:
            said = test.consent.model_dump(exclude_none=True)
            record = PreferenceRecord(user=user, id="given", at_ms=test.now_ms - 1, **said)
            event = preference_event(record)
            hits = self.case.program.hits(event) or NO_HITS
            apply_event(self.case.program, user, state, event, test.now_ms, hits, Effects())

    def _advance(self, limit_ms: int) -> None:
        """Fire what is due before `limit_ms`, everybody's in order of (time, user)."""
        while True:
            due, user = min(
                ((state.due, user) for user, state in self._states.items() if state.due),
                default=(limit_ms, ""),
            )
            if due >= limit_ms:
                return
            state, effects = self._states[user], Effects()
            fire_before(self.case.program, user, state, due + 1, effects)
            self._collect(user, state, effects)

    def _collect(self, user: str, state: UserState, effects: Effects, a: int = 0) -> None:
        """Every send is accepted at once, as in a backtest, and what is sent because of that has
        its turn next. What the record of log time `a` made due before it is decided first."""
        fire_before(self.case.program, user, state, a, effects)
        self.waited |= waiting_of(state)
        deliveries = {admitted.delivery_id: admitted for admitted in effects.deliveries}
        aborted: set[str] = set()
        for decision in effects.decisions:
            # What was bundled names the delivery of the one that was admitted.
            said = decision.outcome is Outcome.ADMITTED
            found = deliveries.get(decision.delivery_id or "") if said else None
            got = self._outcome(decision, found)
            self.got.append(got)
            if found is not None and got.reason == Reason.TEMPLATE_ABORT:
                aborted.add(found.delivery_id)
        following = Effects()
        for name, admitted in deliveries.items():
            record = ended_at_once(admitted)
            if name in aborted:
                # The text did not want to be sent: what the message took is given back.
                record = replace(record, reason=Reason.TEMPLATE_ABORT)
            elif not admitted.ghost:
                self._sent[admitted.user, admitted.trigger.id] = name
            fire_before(self.case.program, user, state, a, following)
            apply_at_once(self.case.program, user, state, record, following)
        if deliveries:
            self._collect(user, state, following, a)
        pattern = self.case.program.triggers[self.case.trigger.id].pattern
        self.started |= any(got.trigger == self.case.trigger.id for got in self.got)
        self.started |= pattern.due(state) > 0

    def _outcome(self, decision: Decision, admitted: Admitted | None) -> Got:
        title = body = link = error = None
        reason = decision.reason
        if admitted is not None and self.case.definitions[decision.trigger].all_messages:
            try:
                said = Renderer(self._definition).render(_delivery(admitted))
                title, body, link = said.title, said.body, said.link
            except MessageAborted:
                reason = Reason.TEMPLATE_ABORT
            except RenderError as problem:
                error = str(problem)
            if self.renders is not None:
                self.renders.look(admitted)
        return Got(
            decision.at_ms - self.case.test.now_ms,
            decision.trigger,
            decision.user,
            decision.outcome.value,
            reason.value if reason else None,
            self._per(decision),
            title,
            body,
            link,
            error,
            decision.variant,
        )

    def _per(self, decision: Decision) -> str | None:
        event = self._events.get(decision.start or "")
        trigger = self.case.program.triggers[decision.trigger]
        return None if event is None or trigger.per is None else per_value(trigger, event)

    def _definition(self, trigger: str, revision: int) -> TriggerDefinition | None:
        return self.case.definitions.get(trigger)


def _delivery(admitted: Admitted) -> Delivery:
    return Delivery(
        delivery_id=admitted.delivery_id,
        user=admitted.user,
        trigger=admitted.trigger.id,
        revision=admitted.trigger.revision,
        activation=admitted.activation,
        shard=0,
        registry=1,
        decided_at_ms=admitted.decided_at_ms,
        expires_at_ms=admitted.expires_at_ms,
        appended_at_ms=admitted.caused_at_ms,
        marketing=admitted.trigger.marketing,
        devices=[],
        fields={"start": admitted.start_fields, "event": admitted.event_fields},
        items=[{"start": start, "event": event} for start, event in admitted.items],
        text=admitted.text,
        variant=admitted.variant,
        zone=admitted.reader_zone,
    )

"""Three profiles of one log, driven through the core, and what was sent to them.

`Shards` applies records as workers do. `World` makes the records out of steps and notes of each
message what the scan wants to know, from the records alone. `replayed` applies the same records
again in another rhythm.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from schemas.events import Event
from schemas.reasons import Reason
from schemas.records import OutcomeRecord
from tests.reference.admitting import GIVEN_BACK
from tests.reference.limits import Merged, Sent, arm_of
from tests.reference.setups import BUNDLE, DAY, HOUR, PEOPLE, Setup
from triggers.compile import RegisteredTrigger, compile_program
from triggers.decide import apply_event, apply_merge, apply_merged, apply_outcome, fire_before
from triggers.effects import Admitted, Effects
from triggers.program import NO_HITS, Program
from triggers.state import Device, UserState, decode_state, encode_state, is_blank
from triggers.workspace import load_documents

TOKEN = "token"


class Record(NamedTuple):
    """One record of the log. `value`: an Event, an OutcomeRecord, for a merge the profile it
    becomes a part of, for what that one held ("moved") the profile it comes from, for an edit
    ("apply", of no profile) what is registered by it."""

    a: int
    profile: str
    kind: str
    value: Any


def compiled(setup: Setup) -> Program:
    """Registered when the setup says; the canary beside."""
    loaded = load_documents([*setup.documents()], setup.policies())
    revision = setup.revision
    triggers = [
        RegisteredTrigger(t, revision, t.state, setup.start) for t in loaded.triggers.values()
    ]
    if setup.values["canary"]:
        again = load_documents([setup.canary()], setup.policies()).triggers["quick"]
        beside = RegisteredTrigger(again, revision + 1, again.state, setup.start)
        triggers = [
            one._replace(canary=beside, canary_share=setup.values["canary"])
            if one.definition.id == "quick"
            else one
            for one in triggers
        ]
    return compile_program(setup.edits + 1, triggers, loaded.policies)


class Shards:
    """The states of all profiles, and what is on its way between them."""

    def __init__(self, setup: Setup) -> None:
        self.program = compiled(setup)
        self.states = {
            setup.name(person): UserState(devices=[Device(TOKEN, "ios", setup.start)])
            for person in PEOPLE
        }
        self.moving: list[tuple[str, UserState, OutcomeRecord | None]] = []

    def poll(self, name: str, now: int) -> Effects:
        out = Effects()
        fire_before(self.program, name, self.states[name], now, out)
        return self.kept(out)

    def apply(self, record: Record) -> Effects:
        out, a, name = Effects(), record.a, record.profile
        if record.kind == "apply":
            for each, state in self.states.items():
                fire_before(self.program, each, state, a, out)
            self.program = compiled(record.value)
            return self.kept(out)
        state = self.states[name]
        if record.kind == "event":
            hits = self.program.hits(record.value) or NO_HITS
            apply_event(self.program, name, state, record.value, a, hits, out)
        elif record.kind == "outcome":
            apply_outcome(self.program, name, state, record.value, a, out)
        elif record.kind == "merge":
            apply_merge(self.program, name, state, record.value, a, out)
        else:
            place = [source for source, *_ in self.moving].index(record.value)
            _, moved, outcome = self.moving.pop(place)
            apply_merged(self.program, name, state, moved, a, out, outcome)
        return self.kept(out)

    def kept(self, out: Effects) -> Effects:
        for merge in out.merges:
            assert merge.moved is not None
            moved = decode_state(encode_state(merge.moved))
            self.moving.append((merge.anonymous, moved, merge.outcome))
        return out

    def restart(self) -> None:
        """Another worker takes over: all it has is what was stored."""
        for name, state in self.states.items():
            blank = is_blank(state)
            self.states[name] = UserState() if blank else decode_state(encode_state(state))


@dataclass
class Known:
    """What the records tell of a profile: zone, devices by when they were seen, and since when
    (client time) a category, or everything (None), is refused."""

    zone: str = ""
    seen: dict[str, int] = field(default_factory=dict)
    refused: dict[str | None, int] = field(default_factory=dict)

    def learn(self, event: Event, e: int, a: int) -> None:
        context, category = event.context or {}, (event.properties or {}).get("category")
        self.zone = context.get("timezone", self.zone)
        if event.event == "Application Uninstalled":
            self.seen = {token: seen for token, seen in self.seen.items() if seen > e}
        elif "device" in context:
            self.seen[context["device"]["token"]] = a
        if event.event == "Unsubscribed":
            self.refused[category] = max(e, self.refused.get(category, 0))
        if event.event == "Subscribed" and e > self.refused.get(category, e):
            del self.refused[category]

    def unite(self, other: "Known") -> None:
        self.zone = self.zone or other.zone
        self.seen = {**other.seen, **self.seen}
        for category, e in other.refused.items():
            self.refused[category] = max(e, self.refused.get(category, 0))


class Began(NamedTuple):
    """An event of `profile`, appended at `a` and of client time `e`, and the revision in force."""

    a: int
    e: int
    item: str
    profile: str
    revision: int


@dataclass
class Delivered:
    """A message, or a ghost, and the first word on how it ended."""

    sent: Sent
    admitted: Admitted
    reason: str = ""


class World:
    """`log` and `deliveries` are in the order of things; `merges` are those that have arrived."""

    def __init__(self, setup: Setup) -> None:
        self.setups = [setup]
        self.rules = setup.rules()
        self.shards = Shards(setup)
        self.now = setup.start
        self.log: list[Record] = []
        self.deliveries: list[Delivered] = []
        self.merges: list[Merged] = []
        self.parts: dict[str, str] = {}
        self.known = {name: Known(seen={TOKEN: setup.start}) for name in self.shards.states}
        self.moving: list[tuple[str, Known]] = []
        self.events: dict[str, Began] = {}

    @property
    def setup(self) -> Setup:
        """What is in force."""
        return self.setups[-1]

    def event(
        self, gap: int, person: str, lag: int, name: str, item: str, zone: str | None
    ) -> None:
        context = {"timezone": zone} if zone else {}
        self._client(gap, person, lag, name, {"item": item}, context)

    def device(self, gap: int, person: str, lag: int, name: str) -> None:
        """An app is opened or uninstalled."""
        self._client(gap, person, lag, name, {}, {"device": {"token": TOKEN, "type": "ios"}})

    def consent(self, gap: int, person: str, lag: int, name: str, category: str | None) -> None:
        self._client(gap, person, lag, name, {"category": category} if category else {}, {})

    def _client(
        self, gap: int, person: str, lag: int, name: str, properties: Any, context: Any
    ) -> None:
        self.now += gap
        profile = self.whole(self.setup.name(person))
        e = self.now - lag
        event = Event(
            type="track",
            message_id=f"m{len(self.log)}",
            event=name,
            user_id=profile,
            timestamp=datetime.fromtimestamp(e // 1000, UTC).replace(microsecond=e % 1000 * 1000),
            properties=properties,
            context=context,
        )
        began = Began(self.now, e, properties.get("item", ""), profile, self.setup.revision)
        self.events[event.message_id] = began
        self.put(profile, "event", event)

    def outcome(self, gap: int, back: int, reason: str) -> None:
        """Of any delivery, also one that has ended; the first one in time counts."""
        self.wait(gap)
        if not self.deliveries:
            return
        delivered = self.deliveries[-1 - back % len(self.deliveries)]
        admitted = delivered.admitted
        if admitted.ghost and reason not in GIVEN_BACK:
            reason = admitted.ghost
        dropped = max(admitted.expires_at_ms, admitted.decided_at_ms) + DAY
        if not delivered.reason and self.now < dropped:
            delivered.reason = reason
        ended = OutcomeRecord(
            admitted.delivery_id, admitted.user, admitted.trigger.id, Reason(reason), self.now
        )
        self.put(admitted.user, "outcome", ended)

    def merge(self, gap: int, pair: tuple[str, str]) -> None:
        self.now += gap
        guest, known = (self.setup.name(person) for person in pair)
        if guest not in self.parts and self.whole(known) != guest:
            self.parts[guest] = known
            self.put(guest, "merge", known)

    def apply(self, gap: int, values: Mapping[str, Any]) -> None:
        """An edit of everything: what is due before it is decided as things were."""
        self.wait(gap)
        setup = self.setup.edited(self.now, values)
        record = Record(self.now, "", "apply", setup)
        self.log.append(record)
        self.shards.apply(record)
        self.setups.append(setup)
        self.rules = {**self.rules, **setup.rules()}

    def moved(self, gap: int) -> None:
        """What is on its way for longest arrives."""
        self.now += gap
        if self.shards.moving:
            source, *_ = self.shards.moving[0]
            self.put(self.whole(source), "moved", source)

    def store(self, gap: int) -> None:
        self.wait(gap)
        self.shards.restart()

    def wait(self, gap: int) -> None:
        """Time passes: what is due fires."""
        self.now += gap
        for name in self.shards.states:
            self.note(name, self.shards.poll(name, self.now))

    def whole(self, name: str) -> str:
        """The profile that this one is a part of by now."""
        while name in self.parts:
            name = self.parts[name]
        return name

    def put(self, profile: str, kind: str, value: Any) -> None:
        self.wait(0)
        record = Record(self.now, profile, kind, value)
        self.log.append(record)
        if kind == "event":
            self.known[profile].learn(value, self.events[value.message_id].e, self.now)
        elif kind == "merge":
            self.moving.append((profile, self.known[profile]))
            self.known[profile] = Known()
        elif kind == "moved":
            self._arrives(value, profile)
        self.note(profile, self.shards.apply(record))

    def _arrives(self, source: str, profile: str) -> None:
        """What a profile held, or later what became of its deliveries: only the former makes it a
        part, and it may be on its way to another one when the latter arrives."""
        for number, (name, known) in enumerate(self.moving):
            if name == source:
                self.merges.append(Merged(self.now, len(self.log), source, profile))
                self.known[profile].unite(known)
                del self.moving[number]
                return

    def note(self, profile: str, out: Effects) -> None:
        for admitted in out.deliveries:
            self.deliveries.append(Delivered(self.sent(profile, admitted), admitted))

    def sent(self, profile: str, admitted: Admitted) -> Sent:
        trigger, known = admitted.trigger, self.known[profile]
        policy, message = self.setup.policy(trigger.id), admitted.activation
        category = self.rules[trigger.id, trigger.revision].category
        made = Sent(
            at=admitted.decided_at_ms,
            after=len(self.log),
            profile=profile,
            trigger=trigger.id,
            revision=trigger.revision,
            variant=admitted.variant,
            activation=message,
            text=admitted.text if trigger.id == "first" else "",
            zone=known.zone if exists(known.zone) else policy["zone"],
            reachable=bool(known.seen),
            refused=None in known.refused or category in known.refused,
            ready=admitted.decided_at_ms,
        )
        if message not in self.events or trigger.id == "left":
            return made
        began = self.events[message]
        items = [start.get("properties.item") for start, _ in admitted.items]
        waits = HOUR * (1 + admitted.step) if trigger.id in ("cart", "welcome") else 0
        # It waits as the arm of the profile has it that it began in, and the revision of then.
        first = replace(made, profile=began.profile, begun=began.e)
        if trigger.id == "cart" and arm_of(first, self.rules["cart", began.revision]) == "b":
            waits = 3 * HOUR
        ready = max(began.a, began.e + waits) + admitted.step + policy["settle"]
        ready += BUNDLE if trigger.id == "bundled" else 0
        pers = tuple(map(str, items or [began.item]))
        return replace(made, begun=began.e, ready=ready, pers=pers)

    def went(self) -> Iterator[Sent]:
        """What reached the user, or may have."""
        for delivered in self.deliveries:
            if not delivered.admitted.ghost and delivered.reason not in GIVEN_BACK:
                yield delivered.sent


def exists(zone: str) -> bool:
    try:
        return bool(zone) and ZoneInfo(zone) is not None
    except ZoneInfoNotFoundError:
        return False


Line = tuple[int, str, str, str, int, str, str, str]


def lines(admitted: list[Admitted]) -> list[Line]:
    """What was decided, whenever it was noticed."""
    return sorted(
        (
            *(one.decided_at_ms, one.user, one.trigger.id, one.activation, one.step),
            *(one.text, one.variant, one.ghost),
        )
        for one in admitted
    )


def replayed(
    world: World, *, polls: Callable[[], bool], restarts: Callable[[], bool]
) -> list[Line]:
    """What the same log gives to a worker who asks for timers and restarts when told."""
    shards = Shards(world.setups[0])
    found: list[Admitted] = []
    for record in world.log:
        found += shards.apply(record).deliveries
        if polls():
            for name in shards.states:
                found += shards.poll(name, record.a).deliveries
        if restarts():
            shards.restart()
    for name in shards.states:
        found += shards.poll(name, world.now).deliveries
    return lines(found)

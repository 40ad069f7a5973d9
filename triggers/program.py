"""A program: one version of the registry, compiled once, indexed by event name.

- `CompiledTrigger`: a live, shadow or paused trigger with its pattern, `unless` clauses and policy.
- `Role`: what an event may mean to a trigger: start it (a want of its pattern) or cancel it.
- `Program.hits`: which roles an event plays, without looking at any state.

An event touches only the triggers that name it. Triggers of the same event that differ in one
equality (`properties.category: shoes`) are told apart by a dictionary look-up, so a thousand of
them cost about as much as ten.
"""

from collections.abc import Callable, Container, Hashable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

import msgspec
from msgspec import structs

from schemas.events import Event
from schemas.outcomes import Reaction
from triggers.answers import (
    LEAVING_EVENTS,
    STAGE_EVENTS,
    Answer,
    Asked,
    CompiledGoal,
    delivery_named,
)
from triggers.arms import Experiment, GlobalControl
from triggers.buckets import BUCKETS, bucket
from triggers.conditions import Filter, index_key
from triggers.consent import SUBSCRIBED, UNSUBSCRIBED
from triggers.devices import PUSH_DISABLED, PUSH_ENABLED, UNINSTALLED, device_of
from triggers.features import Feature
from triggers.membership import Membership
from triggers.names import ANY, IDENTIFY, RESERVED, is_merging, outcome_name, role_name
from triggers.notes import Note, NoteRole
from triggers.opening import Hours
from triggers.paths import Reader, compile_path, is_wild, property_name
from triggers.patterns.base import Pattern
from triggers.policy import Cap, CompiledPolicy
from triggers.relations import Relation
from triggers.state import DAY_MS
from triggers.windows import cap_reach_ms

Withdrawals = tuple[tuple[int, int], ...]
"""(revision, time) of each, oldest first: instances that were armed under this revision or an
earlier one are cancelled at that append time."""


class Unless(NamedTuple):
    """One clause of `unless`: the event names, the filter, and the reader of the fields that it
    compares with `$start`."""

    names: tuple[str, ...]
    filter: Filter
    project: Callable[[Event], dict[str, Any]]


class Step(NamedTuple):
    """A message of an instance: due `after_ms` after its event and a grace, by `text` ("" is the
    only one), sendable for `expires_ms`."""

    after_ms: int
    grace_ms: int
    expires_ms: int
    text: str = ""


class Rotation(NamedTuple):
    """The names of the texts that take turns, and how long none of them comes again."""

    texts: tuple[str, ...]
    no_repeat_ms: int


@dataclass(slots=True, eq=False)
class CompiledTrigger:
    """One trigger, ready to decide. Times are milliseconds. Without `steps` it says something at
    once; with some a match becomes a pending instance. `bundle_ms` 0: every candidate by itself.

    `one_event`: `$start` and `$event` are the same. `traits` are the traits it asks for, by path
    below `traits`; `zoned`: it asks for the user's time zone; `notes`: the features and relations
    it asks for; `silence_ms`: the shortest silence, 0 for none. `active`: it starts and admits from
    the first time until before the second. `rollout`: the first bucket left out. `category`: "" for
    none. `rotation`: the texts that take turns, if any. `arm_steps` and
    `arm_hours`: those of the arms that have others. `goal`: what its messages are for.
    """

    id: str
    revision: int
    state: str
    marketing: bool
    lane: str
    priority: int
    pattern: Pattern
    per: Callable[[Event], Any] | None
    per_event: bool
    policy: CompiledPolicy
    cooldown_user_ms: int
    cooldown_per_ms: int
    expires_ms: int
    one_event: bool = True
    unless: tuple[Unless, ...] = ()
    steps: tuple[Step, ...] = ()
    bundle_ms: int = 0
    bundle_max: int = 0
    restart: bool = True
    restart_at_most_ms: int = 0
    traits: tuple[str, ...] = ()
    zoned: bool = False
    active: tuple[int, int] | None = None
    rollout: int = BUCKETS
    audience: Membership | None = None
    still: Membership | None = None
    notes: tuple[Note, ...] = ()
    silence_ms: int = 0
    category: str = ""
    rotation: Rotation | None = None
    hours: Hours | None = None
    experiment: Experiment | None = None
    global_control: GlobalControl | None = None
    arm_steps: Mapping[str, tuple[Step, ...]] = field(default_factory=dict)
    arm_hours: Mapping[str, Hours | None] = field(default_factory=dict)
    goal: CompiledGoal | None = None
    #: A text of it says a date or a time, for which it depends on the user's zone.
    tells_time: bool = False
    #: A message of it needs the user's zone: for a cap by the calendar, or for its text.
    asks_zone: bool = field(init=False)
    #: The checks that can refuse a candidate of it: made by `triggers.admission`, on demand.
    checks: tuple[Callable[..., Any], ...] | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        self.asks_zone = self.policy.zoned or self.tells_time

    def arm_of(self, user: str, start_e: int, at: int) -> str:
        """The arm of a candidate decided at `at`, whose instance waits since `start_e`; "" where no
        experiment runs."""
        experiment = self.experiment
        if experiment is None:
            return ""
        return experiment.arm(user, start_e if experiment.from_start else at)

    def steps_for(self, arm: str) -> tuple[Step, ...]:
        """The steps of an instance whose user is in this arm ("": no experiment runs)."""
        return self.arm_steps.get(arm, self.steps)

    @property
    def all_hours(self) -> tuple[Hours | None, ...]:
        """Those of every arm."""
        return (self.hours, *self.arm_hours.values())

    def hours_for(self, user: str, start_e: int, at: int) -> Hours | None:
        """When a candidate of the user may be sent; None: at any time."""
        if not self.arm_hours:
            return self.hours
        return self.arm_hours.get(self.arm_of(user, start_e, at), self.hours)

    def reaches(self, user: str) -> bool:
        """Whether the user is one of the share it is rolled out to."""
        return self.rollout >= BUCKETS or bucket(f"rollout:{self.id}", user) < self.rollout

    def is_active(self, at_ms: int) -> bool:
        """Whether `at_ms` lies within the days it is active on."""
        return self.active is None or self.active[0] <= at_ms < self.active[1]

    @property
    def order(self) -> tuple[int, str]:
        """Candidates of one moment or one settle window compete by priority, then id."""
        return (-self.priority, self.id)


class Role(NamedTuple):
    """`clause` < 0: want number -1 - clause of the pattern; else that clause of `unless`."""

    trigger: CompiledTrigger
    clause: int
    filter: Filter


class _Filtered(Protocol):
    @property
    def filter(self) -> Filter: ...


R = TypeVar("R", bound=_Filtered)
_Static = Callable[[Event], bool | None] | None


@dataclass(slots=True)
class _Table(Generic[R]):
    """`name`: what the path reads right below `properties`, "" for another path."""

    name: str
    read: Reader
    roles: dict[Hashable, list[tuple[_Static, R]]]


@dataclass(slots=True)
class _EventIndex(Generic[R]):
    """The roles of one event name, each behind its condition on the event alone: by a
    discriminating equality, and the rest."""

    tables: list[_Table[R]] = field(default_factory=list)
    rest: list[tuple[_Static, R]] = field(default_factory=list)
    _by_path: dict[str, _Table[R]] = field(default_factory=dict)

    def add(self, role: R) -> None:
        entry = (role.filter.static, role)
        for path, values in role.filter.discriminators:
            if is_wild(path):
                continue
            table = self._by_path.get(path)
            if table is None:
                table = self._by_path[path] = _Table(property_name(path), compile_path(path), {})
                self.tables.append(table)
            for key in {index_key(value) for value in values}:
                table.roles.setdefault(key, []).append(entry)
            return
        self.rest.append(entry)

    def all(self) -> tuple[R, ...]:
        """Every entry, whatever the event holds."""
        listed = (entries for table in self.tables for entries in table.roles.values())
        found = {id(role): role for entries in (self.rest, *listed) for _, role in entries}
        return tuple(found.values())

    def candidates(self, event: Event) -> list[tuple[_Static, R]]:
        found = self.rest
        for table in self.tables:
            if table.name:
                properties = event.properties
                value = None if properties is None else properties.get(table.name)
            else:
                value = table.read(event)
            more = table.roles.get(value if type(value) is str else index_key(value))
            if more:
                found = found + more
        return found


class Hits(msgspec.Struct, frozen=True, gc=False):
    """What an event means: cancels first, then starts in admission order; which triggers it could
    not be evaluated against; what is noted of it; what it says about messages sent before; and
    whether it tells consent or permission."""

    cancels: tuple[Role, ...]
    starts: tuple[Role, ...]
    errors: tuple[CompiledTrigger, ...]
    notes: tuple[NoteRole, ...] = ()
    answer: Answer | None = None
    consent: bool = False


NO_HITS = Hits((), (), ())
_CONSENT_ALONE = Hits((), (), (), consent=True)


@dataclass(slots=True)
class Program:
    """Version `number` of the registry. `granule_ms` rounds last activity; 0: nobody watches it.

    Of all policies `sends_max` is the largest cap, `sends_window_ms` how far back a cap or a
    spacing looks; `categories` are those with caps of their own, and the largest of each.
    `watching` are the triggers whose pattern wakes up by itself. `traits` and `zoned` say what is
    kept of every user, `features` and `relations` what is noted; `notes` finds by event name what
    an event is noted for. `cancelled_to`: trigger -> the revision up to which pending instances
    were ever cancelled by an apply; `withdrawn` says when a shard met that, each fills in its own.
    `outcome_within_ms`: how long after its expiry the outcome of a delivery is waited for.
    `habits`: the hours of every user's activity are counted, by the clock of this time zone where
    the user's own is unknown; "" for nobody asks.
    `canaries`: what decides for the users below each share, the smallest first (`triggers.canary`).
    `follows`: trigger -> how long something may be credited to its messages, and `asked` what an
    event's name may say about them.
    """

    number: int
    triggers: dict[str, CompiledTrigger]
    by_event: dict[str, _EventIndex[Role]]
    watching: tuple[CompiledTrigger, ...]
    granule_ms: int
    sends_max: int
    sends_window_ms: int
    traits: tuple[str, ...] = ()
    zoned: bool = False
    categories: Mapping[str, int] = field(default_factory=dict)
    notes: dict[str, _EventIndex[NoteRole]] = field(default_factory=dict)
    features: dict[str, Feature] = field(default_factory=dict)
    relations: dict[str, Relation] = field(default_factory=dict)
    follows: Mapping[str, int] = field(default_factory=dict)
    asked: Mapping[str, Asked] = field(default_factory=dict)
    cancelled_to: Mapping[str, int] = field(default_factory=dict)
    withdrawn: Mapping[str, Withdrawals] = field(default_factory=dict)
    outcome_within_ms: int = DAY_MS
    habits: str = ""
    canaries: tuple[tuple[int, "Program"], ...] = ()
    #: Nothing that wakes up by itself does so sooner after the user's last activity.
    calm_ms: int = field(init=False)
    #: What decides for who refuses profiling: made by `triggers.consenting`, on demand.
    narrowed: "Program | None" = field(init=False, default=None)
    #: What finds the hits of a track event by its name; of a name that is not here there are none.
    #: None where the name does not tell.
    by_name: dict[str | None, Callable[[Event], Hits]] | None = field(init=False)
    _matchers: dict[str, Callable[[Event], Hits]] = field(init=False)
    #: What an event means that reaches these goals by its name alone.
    _plain: dict[tuple[str, ...], Hits] = field(init=False)

    def __post_init__(self) -> None:
        self._matchers = {name: _matcher(index) for name, index in self.by_event.items()}
        self.calm_ms = min((trigger.pattern.calm_ms for trigger in self.watching), default=0)
        self.by_name = None
        if ANY not in self.by_event and IDENTIFY not in self.by_event:
            # An emitter's own event may not have one of our names.
            self.by_name = {n: m for n, m in self._matchers.items() if n[0] != RESERVED}
            for name in (*self.asked, *self.notes, *CONSENT_EVENTS):
                self.by_name[name] = self.roles
        every = {asked.goals for asked in self.asked.values()}
        self._plain = {
            goals: Hits((), (), (), (), Answer(goals))
            for goals in every
            if all(_is_unfiltered(self.triggers[name].goal) for name in goals)
        }

    def for_user(self, user: str) -> "Program":
        """The program that decides for the user."""
        if self.canaries:
            drawn = canary_bucket(user)
            for share, canary in self.canaries:
                if drawn < share:
                    return canary
        return self

    def of_shard(
        self, withdrawn: Mapping[str, Withdrawals], outcome_within_ms: int = DAY_MS
    ) -> "Program":
        """The same, of a shard that has met these withdrawals and waits so long for outcomes."""
        return replace(
            self,
            withdrawn=withdrawn,
            outcome_within_ms=outcome_within_ms,
            canaries=tuple(
                (share, canary.of_shard(withdrawn, outcome_within_ms))
                for share, canary in self.canaries
            ),
        )

    @property
    def recurs(self) -> bool:
        """Something wakes up again and again: draining it would take forever."""
        return any(trigger.pattern.recurs for trigger in self.watching)

    def hits(self, event: Event) -> Hits | None:
        """The roles of a client event; None when it leaves every user's state as it is."""
        if event.type == "track" and self.by_name is not None:
            match = self.by_name.get(event.event)
            hits = NO_HITS if match is None else match(event)
        else:
            hits = self.roles(event)
        if hits is not NO_HITS:
            return hits
        if event.type == "signal":
            # Not something the user did: neither activity nor a lesson.
            return None
        if self.granule_ms or self.teaches(event) or is_merging(event):
            return NO_HITS
        return None

    def roles(self, event: Event) -> Hits:
        """The roles of a client event, `NO_HITS` for most; `by_name` tells a track's sooner."""
        if event.type == "preference":
            return _CONSENT_ALONE
        name = event.event if event.type == "track" else role_name(event)
        hits = NO_HITS if name is None else self.match(name, event)
        if hits is not NO_HITS and event.type == "track" and name and name[0] == RESERVED:
            # An emitter's own name, not one of ours: asked only where something was found.
            hits = NO_HITS
        if event.type == "signal":
            return hits
        if ANY in self.by_event:
            hits = _together(hits, self.match(ANY, event))
        if IDENTIFY in self.by_event and name != IDENTIFY and _tells_traits(event):
            hits = _together(hits, self.match(IDENTIFY, event))
        if name in self.notes:
            hits = self._noted(hits, self.notes[name], event)
        asked = self.asked.get(name) if name is not None else None
        if asked is not None:
            hits = self._answered(hits, asked, event)
        if name in CONSENT_EVENTS and event.type == "track":
            return msgspec.structs.replace(hits, consent=True)
        return hits

    def _answered(self, hits: Hits, asked: Asked, event: Event) -> Hits:
        plain = self._plain.get(asked.goals) if not (asked.stages or asked.leaves) else None
        if plain is not None:
            return plain if hits is NO_HITS else structs.replace(hits, answer=plain.answer)
        goals: list[str] = []
        errors: list[CompiledTrigger] = []
        for name in asked.goals:
            goal = self.triggers[name].goal
            static = None if goal is None else goal.filter.static
            verdict = True if static is None else static(event)
            if verdict:
                goals.append(name)
            elif verdict is None:
                errors.append(self.triggers[name])
        delivery = delivery_named(event)
        stages = asked.stages if delivery is not None else ()
        if not (goals or errors or stages or asked.leaves):
            return hits
        answer = Answer(tuple(goals), stages, asked.leaves, delivery)
        return Hits(hits.cancels, hits.starts, (*hits.errors, *errors), hits.notes, answer)

    def _noted(self, hits: Hits, index: _EventIndex[NoteRole], event: Event) -> Hits:
        notes: list[NoteRole] = []
        errors: list[CompiledTrigger] = []
        for static, role in index.candidates(event):
            verdict = True if static is None else static(event)
            if verdict is None:
                errors += [self.triggers[name] for name in role.triggers]
            elif verdict:
                notes.append(role)
        if not (notes or errors):
            return hits
        return Hits(hits.cancels, hits.starts, (*hits.errors, *errors), tuple(notes))

    def teaches(self, event: Event) -> bool:
        """Something of the user may be learnt: a device, a declared trait, the time zone."""
        if self.habits:
            return True
        context = event.context
        if context is None:
            return bool(self.traits) and event.traits is not None
        if device_of(event) is not None or (self.zoned and "timezone" in context):
            return True
        return bool(self.traits) and (event.traits is not None or "traits" in context)

    def naming(self, event: Event) -> tuple[Role, ...]:
        """Every role that names the event, whether its conditions hold or not: for `explain`."""
        index = self.by_event.get(role_name(event) or "")
        return () if index is None else index.all()

    def match(self, name: str, event: Event) -> Hits:
        """The roles whose own conditions (those without `$start`) hold for this event."""
        match = self._matchers.get(name)
        return NO_HITS if match is None else match(event)


def _matcher(index: _EventIndex[Role]) -> Callable[[Event], Hits]:
    """One function for each name: most events of most names end in it."""
    rest, name, candidates = index.rest, "", index.candidates if index.tables else None
    found: dict[Hashable, list[tuple[_Static, Role]]] = {}
    if len(index.tables) == 1 and index.tables[0].name:
        name = index.tables[0].name
        found = {key: rest + more for key, more in index.tables[0].roles.items()}

    def match(event: Event) -> Hits:
        if name:
            value = None if event.properties is None else event.properties.get(name)
            entries = found.get(value if type(value) is str else index_key(value), rest)
        else:
            entries = rest if candidates is None else candidates(event)
        if not entries:
            return NO_HITS
        held: list[Role] = []
        errors: list[CompiledTrigger] = []
        for static, role in entries:
            if static is None or (verdict := static(event)):
                held.append(role)
            elif verdict is None:
                errors.append(role.trigger)
        return _hits(held, errors) if held or errors else NO_HITS

    return match


def _hits(held: list[Role], errors: list[CompiledTrigger]) -> Hits:
    cancels = tuple([role for role in held if role.clause >= 0])
    starts = [role for role in held if role.clause < 0]
    if len(starts) > 1:
        starts.sort(key=lambda role: role.trigger.order)
    return Hits(cancels, tuple(starts), tuple(errors))


def _is_unfiltered(goal: CompiledGoal | None) -> bool:
    return goal is not None and goal.filter.static is None


#: Track events that mean something to the engine itself, whether a trigger names them or not.
CONSENT_EVENTS = frozenset({SUBSCRIBED, UNSUBSCRIBED, PUSH_ENABLED, PUSH_DISABLED, UNINSTALLED})


def _tells_traits(event: Event) -> bool:
    return event.context is not None and "traits" in event.context


def _together(one: Hits, other: Hits) -> Hits:
    if one is NO_HITS or other is NO_HITS:
        return other if one is NO_HITS else one
    starts = sorted(one.starts + other.starts, key=lambda role: role.trigger.order)
    return Hits(one.cancels + other.cancels, tuple(starts), one.errors + other.errors)


#: So many users' buckets are kept while a canary runs: a bucket costs several microseconds.
_DRAWN_MAX = 1 << 16


@lru_cache(maxsize=_DRAWN_MAX)
def canary_bucket(user: str) -> int:
    """Users below the share of a canary are in it; the same ones for all canaries."""
    return bucket("canary", user)


GRANULE_MAX_MS = 3_600_000
#: An idle trigger is late by at most 1/168 of its wait (an hour for a week).
GRANULE_PART = 168


def build_program(
    number: int, compiled: Iterable[CompiledTrigger], policies: Iterable[CompiledPolicy] = ()
) -> Program:
    """Index compiled triggers. Draft triggers are left out by the caller. `policies`: of the whole
    version. One that no trigger has here may be that of the other users of a canary, or of this one
    tomorrow: kept is what it counts."""
    triggers = {trigger.id: trigger for trigger in compiled}
    follows: dict[str, int] = {}
    by_event: dict[str, _EventIndex[Role]] = {}
    for trigger in triggers.values():
        for name, role in _roles(trigger):
            by_event.setdefault(name, _EventIndex()).add(role)
    for trigger in triggers.values():
        if window_ms := _follows(trigger, by_event):
            follows[trigger.id] = window_ms
    silences = [t.pattern.idle_ms for t in triggers.values() if t.pattern.idle_ms]
    silences += [t.silence_ms for t in triggers.values() if t.silence_ms]
    noted = _notes_of(triggers.values())
    granule_ms = max(1, min(min(silences) // GRANULE_PART, GRANULE_MAX_MS)) if silences else 0
    policies = [*policies, *(trigger.policy for trigger in triggers.values())]
    caps = [cap for policy in policies for cap in policy.caps]
    return Program(
        number=number,
        triggers=triggers,
        by_event=by_event,
        watching=tuple(t for t in triggers.values() if t.pattern.wakes),
        granule_ms=granule_ms,
        sends_max=max((cap.max_count for cap in caps), default=1),
        sends_window_ms=max(
            [cap_reach_ms(cap) for cap in caps] + [policy.spacing_ms for policy in policies],
            default=0,
        ),
        categories=_category_caps(caps),
        traits=tuple(dict.fromkeys(path for t in triggers.values() for path in t.traits)),
        zoned=any(t.zoned for t in triggers.values()),
        habits=min(
            (t.policy.zone for t in triggers.values() if any(h and h.usual for h in t.all_hours)),
            default="",
        ),
        notes=_note_index(noted),
        features={note.key: note for note, _ in noted if isinstance(note, Feature)},
        relations={note.key: note for note, _ in noted if isinstance(note, Relation)},
        follows=follows,
        asked=_asked(triggers.values(), follows),
    )


def _category_caps(caps: Iterable[Cap]) -> dict[str, int]:
    largest: dict[str, int] = {}
    for cap in caps:
        if cap.category is not None:
            largest[cap.category] = max(cap.max_count, largest.get(cap.category, 0))
    return largest


#: A message is followed at least so long, and longer where a pattern waits for what becomes of it.
FOLLOWED_MS = 7 * DAY_MS
REACTED_MS = 30 * DAY_MS


def _follows(trigger: CompiledTrigger, by_event: Container[str]) -> int:
    """How long something may be credited to a trigger's messages. A transactional one without a
    goal, which no pattern waits for, is not followed."""
    goal = trigger.goal
    window_ms = FOLLOWED_MS if trigger.marketing or goal is not None else 0
    if goal is not None:
        window_ms = max(window_ms, goal.within_ms)
    if any(outcome_name(trigger.id, kind.value) in by_event for kind in Reaction):
        window_ms = max(window_ms, REACTED_MS)
    return window_ms


def _asked(triggers: Iterable[CompiledTrigger], follows: Mapping[str, int]) -> Mapping[str, Asked]:
    if not follows:
        return {}
    found = dict.fromkeys(LEAVING_EVENTS, Asked(leaves=True))
    for stage, names in STAGE_EVENTS.items():
        for name in names:
            asked = found.get(name, Asked())
            found[name] = asked._replace(stages=(*asked.stages, stage))
    for trigger in triggers:
        for name in trigger.goal.names if trigger.goal is not None else ():
            asked = found.get(name, Asked())
            found[name] = asked._replace(goals=(*asked.goals, trigger.id))
    return found


def _notes_of(triggers: Iterable[CompiledTrigger]) -> list[tuple[Note, tuple[str, ...]]]:
    """Each note once, with the ids of the triggers that ask for it."""
    found: dict[int, tuple[Note, list[str]]] = {}
    for trigger in triggers:
        for note in trigger.notes:
            found.setdefault(id(note), (note, []))[1].append(trigger.id)
    return [(note, tuple(ids)) for note, ids in found.values()]


def _note_index(
    noted: Iterable[tuple[Note, tuple[str, ...]]],
) -> dict[str, _EventIndex[NoteRole]]:
    index: dict[str, _EventIndex[NoteRole]] = {}
    for note, ids in noted:
        for number, want in enumerate(note.wants):
            for name in want.names:
                role = NoteRole(note, number, want.filter, ids)
                index.setdefault(name, _EventIndex()).add(role)
    return index


def _roles(trigger: CompiledTrigger) -> Iterable[tuple[str, Role]]:
    for number, want in enumerate(trigger.pattern.wants):
        yield want.name, Role(trigger, -1 - number, want.filter)
    for number, clause in enumerate(trigger.unless):
        for name in clause.names:
            yield name, Role(trigger, number, clause.filter)

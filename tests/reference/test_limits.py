"""No sequence of what may happen exceeds a limit; the scan (`limits`) knows nothing of the core."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from random import Random
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.ports import Claim
from engine.store.ring import Claimed, Ring
from schemas.deliveries import Limits
from schemas.events import Event
from schemas.reasons import REFUNDED, Reason
from schemas.records import OutcomeRecord
from tests.reference.admitting import GIVEN_BACK
from tests.reference.limits import Merged, Sent, violations
from tests.unit.triggers.user import program_of
from triggers.decide import apply_event, apply_merge, apply_merged, apply_outcome, fire_before
from triggers.durations import format_duration
from triggers.effects import Admitted, Effects
from triggers.program import NO_HITS, Program
from triggers.state import Device, UserState, decode_state, encode_state, is_blank

#: Histories of the seeded test: denser than Hypothesis makes them.
DENSE = 500
MINUTE, HOUR, DAY = 60_000, 3_600_000, 86_400_000
#: Before a change of the clocks, and before the end of a month and a year.
STARTS = ("2025-03-29T20:00", "2025-10-24T20:00", "2025-12-30T20:00", "2024-02-28T20:00")
#: The clocks of Cairo and Nuuk change at midnight; the others lie far apart.
ZONES = ("UTC", "Africa/Cairo", "America/Nuuk", "Pacific/Kiritimati", "America/New_York")
GAPS = (0, 0, 1, MINUTE, 10 * MINUTE, HOUR, HOUR, 5 * HOUR, 23 * HOUR, DAY, 6 * DAY)
CAPS = (
    {"max": 1, "per": 3 * HOUR},
    {"max": 2, "per": DAY},
    {"max": 1, "calendar": "day"},
    {"max": 3, "calendar": "week"},
    {"max": 4, "calendar": "month"},
    {"max": 1, "per": 2 * DAY, "category": "news"},
    {"max": 1, "calendar": "day", "category": "news"},
    {"max": 2, "calendar": "week", "category": "offers"},
)
TRIGGERS: dict[str, dict[str, Any]] = {
    "quick": {"when": {"event": "Opened"}, "category": "news"},
    "first": {"when": {"event": "Opened"}, "priority": 80, "category": "offers", "rotate": {}},
    "cart": {
        "when": {"event": "Added"},
        "unless": {"event": "Ordered"},
        "wait": "1h",
        "per": "properties.item",
        "category": "news",
        # Only what a text names is kept.
        "message": {"push": {"title": "a", "body": "{{ start.properties.item }}"}},
    },
    "bundled": {"when": {"event": "Viewed"}, "bundle": {"window": "10m", "max": 3}},
    "receipt": {"when": {"event": "Ordered"}, "class": "transactional"},
}
TEXT = {"push": {"title": "a", "body": "b"}}

steps = st.one_of(
    st.tuples(
        st.just("event"),
        st.sampled_from(GAPS),
        st.sampled_from(("ann", "ann", "ann", "guest")),
        st.sampled_from(("Opened", "Opened", "Added", "Viewed", "Ordered")),
        st.sampled_from(("1", "2")),
        st.sampled_from((None, None, None, *ZONES)),
        st.sampled_from((0, 0, HOUR, 20 * HOUR)),
    ),
    st.tuples(
        st.just("outcome"),
        st.sampled_from(GAPS),
        st.integers(0, 5),
        st.sampled_from(sorted(Reason)),
    ),
    st.tuples(st.just("merge"), st.sampled_from(GAPS)),
    st.tuples(st.just("store"), st.sampled_from(GAPS)),
)
policies = st.fixed_dictionaries(
    {
        "spacing": st.sampled_from((0, 0, HOUR, 12 * HOUR)),
        "cooldown": st.sampled_from((0, 0, 2 * HOUR, 3 * DAY)),
        "per": st.sampled_from((0, DAY)),
        "no_repeat": st.sampled_from((0, 2 * DAY)),
        "settle": st.sampled_from((0, 0, MINUTE, 5 * MINUTE)),
        "caps": st.lists(st.sampled_from(CAPS), max_size=3, unique_by=str),
        "zone": st.sampled_from(ZONES),
    }
)


def compiled(policy: dict[str, Any]) -> Program:
    def text(ms: int) -> str:
        return format_duration(ms)

    documents = []
    for name, fields in TRIGGERS.items():
        document: dict[str, Any] = {**fields, "id": name, "state": "live"}
        if name == "first":
            document["messages"] = {"m1": TEXT, "m2": TEXT}
            document["rotate"] = {"texts": ["m1", "m2"], "no_repeat": text(policy["no_repeat"])}
        if name == "cart":
            document["cooldown"] = {
                "user": text(policy["cooldown"]),
                "per": text(policy["per"]),
            }
        documents.append(document)
    caps = [{**cap, "per": text(cap["per"])} if "per" in cap else cap for cap in policy["caps"]]
    return program_of(
        *documents,
        spacing=text(policy["spacing"]),
        cooldown=text(policy["cooldown"]),
        settle=text(policy["settle"]),
        caps=caps,
        zone=policy["zone"],
    )


@dataclass
class Delivered:
    """A delivery, and the first word on how it ended."""

    sent: Sent
    admitted: Admitted
    reason: Reason | None = None


class World:
    """Two profiles of one log, and everything that was sent."""

    def __init__(self, policy: dict[str, Any], start: str) -> None:
        self.policy = policy
        self.program = compiled(policy)
        self.now = int(datetime.fromisoformat(start).replace(tzinfo=UTC).timestamp() * 1000)
        device = [Device("token", "ios", self.now)]
        self.states = {name: UserState(devices=list(device)) for name in ("ann", "guest")}
        self.zones = dict.fromkeys(self.states, "")
        self.deliveries: list[Delivered] = []
        self.merges: list[Merged] = []
        self.count = 0

    def advance(self, gap: int) -> None:
        """Time passes: what is due fires."""
        self.now += gap
        for name, state in self.states.items():
            out = Effects()
            fire_before(self.program, name, state, self.now, out)
            self.record(name, out)

    def record(self, name: str, out: Effects) -> None:
        zone = self.zones[name] or self.policy["zone"]
        for admitted in out.deliveries:
            trigger = admitted.trigger
            per = str(admitted.start_fields.get("properties.item", ""))
            sent = Sent(
                at=admitted.decided_at_ms,
                profile=name,
                trigger=trigger.id,
                category=trigger.category,
                marketing=trigger.marketing,
                per=per if trigger.id == "cart" else f"{trigger.id} {self.count} {per}",
                zone=zone,
                text=admitted.text,
            )
            self.deliveries.append(Delivered(sent, admitted))

    def event(self, gap: int, name: str, event: str, item: str, zone: str | None, lag: int) -> None:
        self.advance(gap)
        if self.states[name].merged_into:
            name = "ann"
        self.count += 1
        made = Event(
            type="track",
            message_id=f"m{self.count}",
            event=event,
            user_id=name,
            timestamp=datetime.fromtimestamp((self.now - lag) / 1000, UTC),
            properties={"item": item},
            context={"timezone": zone} if zone else None,
        )
        out = Effects()
        hits = self.program.hits(made) or NO_HITS
        if zone and self.program.zoned:
            self.zones[name] = zone
        apply_event(self.program, name, self.states[name], made, self.now, hits, out)
        self.record(name, out)

    def outcome(self, gap: int, back: int, reason: Reason) -> None:
        """Of any delivery, also one that has ended; the first one in time counts."""
        self.advance(gap)
        if not self.deliveries:
            return
        delivered = self.deliveries[-1 - back % len(self.deliveries)]
        admitted = delivered.admitted
        dropped = max(admitted.expires_at_ms, admitted.decided_at_ms) + DAY
        if delivered.reason is None and self.now < dropped:
            delivered.reason = reason
        name, out = admitted.user, Effects()
        ended = OutcomeRecord(admitted.delivery_id, name, admitted.trigger.id, reason, self.now)
        apply_outcome(self.program, name, self.states[name], ended, self.now, out)
        self.record(name, out)

    def merge(self, gap: int) -> None:
        self.advance(gap)
        if self.merges:
            return
        out = Effects()
        apply_merge(self.program, "guest", self.states["guest"], "ann", self.now, out)
        self.record("guest", out)
        self.merges.append(Merged(self.now, "guest", "ann"))
        self.zones["ann"] = self.zones["ann"] or self.zones["guest"]
        for merge in out.merges:
            assert merge.moved is not None
            moved = decode_state(encode_state(merge.moved))
            out = Effects()
            apply_merged(self.program, "ann", self.states["ann"], moved, self.now, out)
            self.record("ann", out)

    def store(self, gap: int) -> None:
        """Another worker takes over: all it has is what was stored."""
        self.advance(gap)
        for name, state in self.states.items():
            self.states[name] = (
                UserState() if is_blank(state) else decode_state(encode_state(state))
            )

    def went(self) -> Iterator[Sent]:
        """What reached the user, or may have."""
        for delivered in self.deliveries:
            if delivered.reason is None or delivered.reason.value not in GIVEN_BACK:
                yield delivered.sent


def dense(seed: int) -> tuple[dict[str, Any], str, list[Any]]:
    """Long histories with few limits, in which the one that is there is met again and again."""
    choose = Random(seed).choice
    policy: dict[str, Any] = {"spacing": 0, "cooldown": 0, "per": 0, "no_repeat": 0, "settle": 0}
    policy |= {"caps": [], "zone": choose(ZONES)}
    for _ in range(choose((1, 1, 2))):
        what = choose(("spacing", "cooldown", "per", "no_repeat", "settle", "caps", "caps", "caps"))
        values = {"spacing": HOUR, "cooldown": DAY, "per": DAY, "no_repeat": 2 * DAY}
        if what == "caps":
            policy["caps"] = [choose(CAPS)]
        else:
            policy[what] = values.get(what, MINUTE)
    gaps = choose(((0, 1, MINUTE), (MINUTE, HOUR), (HOUR, 5 * HOUR, DAY), (DAY, 6 * DAY)))
    reasons = [Reason.ACCEPTED, Reason.ACCEPTED, Reason.UNKNOWN, Reason.REJECTED, Reason.EXPIRED]
    events = choose((("Opened",), ("Opened", "Added"), ("Added", "Viewed", "Opened", "Ordered")))
    happens: list[Any] = []
    for _ in range(60):
        gap, kind = choose(gaps), choose(("event",) * 5 + ("outcome", "outcome", "store", "merge"))
        if kind == "event":
            who = choose(("ann", "guest"))
            zone = choose((None,) * 9 + ZONES)
            happens.append((kind, gap, who, choose(events), choose("12"), zone, choose((0, HOUR))))
        elif kind == "outcome":
            happens.append((kind, gap, choose(range(6)), choose(reasons)))
        elif kind == "store" or len(happens) > 15:
            happens.append((kind, gap))
    return policy, choose(STARTS), happens


def check(policy: dict[str, Any], start: str, happens: list[Any]) -> None:
    world = World(policy, start)
    for kind, *values in happens:
        getattr(world, kind)(*values)
    world.advance(DAY)
    assert list(violations(list(world.went()), world.merges, policy)) == []


def test_no_dense_history_exceeds_a_limit() -> None:
    for seed in range(DENSE):
        check(*dense(seed))


@given(policy=policies, start=st.sampled_from(STARTS), happens=st.lists(steps, max_size=40))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_no_sequence_of_candidates_outcomes_merges_and_time_exceeds_a_limit(
    policy: dict[str, Any], start: str, happens: list[Any]
) -> None:
    check(policy, start, happens)


def test_the_scan_finds_what_it_is_for() -> None:
    policy = {"spacing": 10, "cooldown": 20, "per": 30, "no_repeat": 40, "caps": [CAPS[2]]}
    sends = [Sent(at, "ann", "t", "news", True, "1", "UTC", "m1") for at in (0, 5, 25, DAY)]
    found = Counter(line.split(":")[0].split(" {")[0] for line in violations(sends, [], policy))
    assert found == {"spacing": 1, "cooldown": 1, "cooldown per value": 2, "text": 2, "cap": 2}
    assert frozenset(GIVEN_BACK) == {reason.value for reason in REFUNDED}


# --- the gate: claim times ---


def claimed(seed: int) -> tuple[list[Any], Limits]:
    """A long row of claims, and the limits of all of them."""
    choose = Random(seed).choice
    gaps = choose(((0, 1, 1), (1, 2, 3), (0, 1, 10)))
    triggers = choose(("abc", "aaab", "abbbbbbbbbbbbbbb"))
    categories = choose((("",), ("news", "", "", "", "", "", ""), ("news", "offers", "")))
    made = [(choose(gaps), choose(triggers), choose(categories), choose("yxxx")) for _ in range(80)]
    one: dict[str, Any] = choose(
        (
            {"cooldown_ms": choose((5, 60))},
            {"spacing_ms": choose((1, 2))},
            {"caps": [(choose((1, 4)), choose((5, 30)))]},
            {"own_caps": [(choose((1, 2)), choose((20, 80)))]},
        )
    )
    return made, Limits(**one)


def test_no_sequence_of_claims_and_releases_exceeds_a_limit_at_the_provider() -> None:
    for seed in range(DENSE):
        judge_claims(*claimed(seed))


def judge_claims(made: list[Any], limit: Limits) -> None:
    ring, now, sends = Ring(), 0, []
    for number, (gap, trigger, category, released) in enumerate(made):
        now += gap
        mine = Limits(
            limit.cooldown_ms,
            limit.spacing_ms,
            limit.caps,
            category,
            limit.own_caps if category else [],
        )
        claim = Claim(7, f"d{number}", "ann", trigger, now, 100, mine)
        if ring.refusal(claim) is not None:
            continue
        ring.add(claim)
        assert ring.claims[-1] == Claimed(now, f"d{number}", trigger, category)
        if released == "y":
            ring.remove(claim.delivery_id)
        else:
            sends.append((now, trigger, category))
    for number, (at, trigger, category) in enumerate(sends):
        before = sends[:number]
        assert all(at - t >= limit.cooldown_ms for t, name, _ in before if name == trigger)
        assert all(at - t >= limit.spacing_ms for t, _, _ in before)
        for most, per in limit.caps:
            assert sum(at - t < per for t, _, _ in before) < most
        for most, per in limit.own_caps if category else []:
            assert sum(at - t < per for t, _, other in before if other == category) < most

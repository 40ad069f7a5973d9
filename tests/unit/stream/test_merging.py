"""Anonymous and known profiles across shards: records, states and timers end up in one place."""

from itertools import pairwise
from typing import Any

import msgspec
import pytest

from engine.ports import Claim, GateAnswer, Verdict
from engine.store.memory import MemoryStore
from engine.stream.shard import Shard
from schemas.deliveries import Delivery, decode_delivery
from schemas.kinds import Kind, header
from schemas.partitioner import partition_of
from schemas.reasons import Reason
from schemas.records import OutcomeRecord, SignalRecord, encode
from schemas.topics import Topics
from tests.unit.stream.builders import PARTITIONS, T0, FixedPrograms, Log, Outlet, iso, make_shard
from triggers.effects import Reached
from triggers.state import UserState, decode_state

CART: dict[str, Any] = {
    "id": "cart",
    "state": "live",
    "when": {"event": "Added"},
    "unless": {"event": "Ordered"},
    "wait": "10s",
}
HELLO: dict[str, Any] = {
    "id": "hello",
    "state": "live",
    "when": {"event": "Opened"},
    "cooldown": "1h",
}


class Town:
    """All shards of a log, each with its records; what they publish to the log is delivered."""

    def __init__(self, *documents: dict[str, Any], copies: int = 1, **policy: Any) -> None:
        self.programs = FixedPrograms(list(documents), policy={"grace": "0s", **policy})
        self.copies = copies
        self.store = MemoryStore()
        self.shards: dict[int, tuple[Shard, Outlet]] = {}
        self.logs = {number: Log(number) for number in range(PARTITIONS)}
        self.delivered = dict.fromkeys(self.logs, 0)
        self.now = 0
        for log in self.logs.values():
            log.activate(1)

    async def say(self, at: int, type_: str, **message: Any) -> None:
        self.append(at, type_, **message)
        await self.settle(at)

    def append(self, at: int, type_: str, **message: Any) -> None:
        user = message.get("userId") or message["anonymousId"]
        log = self.logs[partition_of(user, PARTITIONS)]
        name = message.pop("id", f"m{at}")
        body = {"type": type_, "messageId": name, "timestamp": iso(T0 + at), **message}
        log.raw(msgspec.json.encode(body), at, user)

    async def cross(self, at: int, *events: tuple[str, dict[str, Any]]) -> None:
        """Events whose shards have not heard of each other when they decide."""
        for type_, message in events:
            self.append(at, type_, **message)
        for number, log in self.logs.items():
            shard, _ = await self.shard(number)
            await shard.apply(log.records)
        await self.settle(at)

    async def settle(self, at: int) -> None:
        """Until nobody publishes to the log any more; then time passes everywhere."""
        self.now = at
        moving, rounds = True, 0
        while moving:
            moving, rounds = False, rounds + 1
            assert rounds < 100, "records go round and round"
            for number, log in self.logs.items():
                shard, _ = await self.shard(number)
                await shard.apply(log.records)
                moving |= self.carry(number)
        for number, log in self.logs.items():
            log.tick(at)
            shard, _ = await self.shard(number)
            await shard.apply(log.records)
            await shard.drain_due()

    def carry(self, number: int) -> bool:
        """What the shard has published to the log stands there; True when there was something."""
        new = self.shards[number][1].on("events")[self.delivered[number] :]
        self.delivered[number] += len(new)
        for message in new:
            for _ in range(self.copies):
                there = self.logs[message.partition]
                there.raw(message.value, self.now, "", message.headers).key = message.key
        return bool(new)

    async def shard(self, number: int) -> tuple[Shard, Outlet]:
        if number not in self.shards:
            self.shards[number] = make_shard(self.programs, self.store, number=number)
            await self.shards[number][0].open()
        return self.shards[number]

    async def state(self, user: str) -> UserState:
        number = partition_of(user, PARTITIONS)
        (blob,) = await self.shards[number][0]._store.load_states(number, [user])
        return UserState() if blob is None else decode_state(blob)

    async def claim(self, delivery: Delivery, at: int) -> Verdict:
        """Ask the gate for it at this moment."""
        shard = partition_of(delivery.user, PARTITIONS)
        counted = delivery.marketing
        claim = Claim(
            shard,
            delivery.delivery_id,
            delivery.user,
            delivery.trigger,
            T0 + at,
            100,
            delivery.limits,
            counted,
        )
        (verdict,) = await self.store.claim([claim])
        return verdict

    def deliveries(self) -> list[Delivery]:
        found = [
            decode_delivery(message.value)
            for _, outlet in self.shards.values()
            for topic in Topics().lanes.values()
            for message in outlet.on(topic)
        ]
        return sorted(found, key=lambda one: one.decided_at_ms)

    @property
    def rows(self) -> list[tuple[str, str, str]]:
        found = []
        for _, outlet in self.shards.values():
            found += [msgspec.json.decode(message.value) for message in outlet.on("decisions")]
        found.sort(key=lambda row: (row["at"], row["user"], row["trigger"]))
        return [(row["trigger"], row["user"], row["reason"] or row["outcome"]) for row in found]


PHONE = {"context": {"device": {"token": "t", "type": "ios"}}}


@pytest.mark.parametrize("copies", [1, 2])
async def test_what_an_anonymous_user_started_is_decided_for_the_known_one(copies: int) -> None:
    town = Town(CART, copies=copies)
    await town.say(1, "track", anonymousId="anon", event="Added", **PHONE)
    await town.say(2, "identify", anonymousId="anon", userId="ann")
    await town.settle(60_000)
    assert town.rows == [("cart", "ann", "ADMITTED")]
    assert [device.token for device in (await town.state("ann")).devices] == ["t"]
    assert (await town.state("anon")).merged_into == "ann"


async def test_a_purchase_of_the_known_user_cancels_what_the_anonymous_one_started() -> None:
    town = Town(CART)
    await town.say(1, "track", anonymousId="anon", event="Added", **PHONE)
    await town.say(2, "identify", anonymousId="anon", userId="ann")
    await town.say(3, "track", userId="ann", event="Ordered")
    await town.settle(60_000)
    assert town.rows == [("cart", "ann", "CANCELLED")]


async def test_a_purchase_before_the_profiles_became_one_cancels_as_well() -> None:
    town = Town(CART)
    await town.say(1, "track", anonymousId="anon", event="Added", **PHONE)
    await town.say(2, "track", userId="ann", event="Ordered")
    await town.say(3, "identify", anonymousId="anon", userId="ann")
    await town.settle(60_000)
    assert town.rows == [("cart", "ann", "CANCELLED")]


async def test_later_records_of_the_anonymous_profile_go_to_the_known_one() -> None:
    town = Town(CART)
    await town.say(1, "identify", anonymousId="anon", userId="ann", **PHONE)
    await town.say(2, "track", anonymousId="anon", event="Added")
    await town.say(3, "track", anonymousId="anon", event="Ordered")
    await town.settle(60_000)
    assert town.rows == [("cart", "ann", "CANCELLED")]


async def test_an_alias_merges_as_an_identify_does() -> None:
    town = Town(CART)
    await town.say(1, "track", anonymousId="anon", event="Added", **PHONE)
    await town.say(2, "alias", previousId="anon", userId="ann")
    await town.settle(60_000)
    assert town.rows == [("cart", "ann", "ADMITTED")]


async def test_caps_and_cooldowns_of_both_profiles_count_together() -> None:
    town = Town(HELLO, caps=[{"max": 2, "per": "7d"}])
    await town.say(1, "track", anonymousId="anon", event="Opened", **PHONE)
    await town.say(2, "track", userId="ann", event="Opened", **PHONE)
    await town.say(3, "identify", anonymousId="anon", userId="ann")
    await town.say(4, "track", userId="ann", event="Opened")
    await town.say(7_300_000, "track", userId="ann", event="Opened")
    assert [row[2] for row in town.rows] == ["ADMITTED", "ADMITTED", "COOLDOWN", "FREQUENCY_CAP"]
    assert len((await town.state("ann")).sends) == 2


async def test_the_device_of_the_next_user_follows_them() -> None:
    town = Town(CART)
    await town.say(1, "identify", anonymousId="anon", userId="ann", **PHONE)
    await town.say(2, "identify", anonymousId="anon", userId="bob", **PHONE)
    await town.say(3, "track", anonymousId="anon", event="Added")
    await town.settle(60_000)
    assert town.rows == [("cart", "bob", "ADMITTED")]


async def test_profiles_that_name_each_other_do_not_pass_records_round_and_round() -> None:
    town = Town(CART)
    await town.say(1, "alias", previousId="a", userId="b", **PHONE)
    await town.say(2, "alias", previousId="b", userId="a", **PHONE)
    await town.say(3, "track", userId="a", event="Added")
    await town.settle(60_000)
    assert town.rows == [("cart", "b", "ADMITTED")]
    published = sum(len(outlet.on("events")) for _, outlet in town.shards.values())
    assert published < 10


async def test_identifying_again_and_again_changes_nothing() -> None:
    town = Town(CART)
    for at in (1, 2, 3):
        await town.say(at, "identify", anonymousId="anon", userId="ann", **PHONE)
    await town.say(4, "track", anonymousId="anon", event="Added")
    await town.settle(60_000)
    assert town.rows == [("cart", "ann", "ADMITTED")]


async def test_profiles_that_name_each_other_at_once_do_not_pass_records_round_and_round() -> None:
    town = Town(CART)
    await town.cross(
        1,
        ("alias", {"previousId": "a", "userId": "b", **PHONE}),
        ("alias", {"previousId": "b", "userId": "a", **PHONE}),
    )
    await town.say(2, "track", userId="a", event="Added", **PHONE)
    await town.settle(60_000)
    assert [row[2] for row in town.rows] == ["ADMITTED"]


async def test_profiles_in_a_ring_without_any_state_become_whole_again() -> None:
    town = Town(CART)
    pairs = (("a", "b"), ("b", "c"), ("c", "a"))
    await town.cross(1, *(("alias", {"previousId": old, "userId": new}) for old, new in pairs))
    await town.say(2, "track", userId="a", event="Added", **PHONE)
    await town.say(3, "track", userId="a", event="Ordered")
    await town.settle(60_000)
    assert [row[2] for row in town.rows] == ["CANCELLED"]


async def test_what_is_moved_follows_a_profile_that_was_merged_meanwhile() -> None:
    town = Town(CART)
    await town.say(1, "track", anonymousId="anon", event="Added", **PHONE)
    await town.cross(
        2,
        ("identify", {"anonymousId": "anon", "userId": "b"}),
        ("alias", {"previousId": "b", "userId": "c", "id": "second"}),
    )
    assert (await town.state("b")).merged_into == "c"
    await town.say(3, "track", userId="b", event="Ordered")
    await town.settle(60_000)
    assert town.rows == [("cart", "c", "CANCELLED")]


async def test_a_guest_who_identifies_as_a_merged_profile_becomes_a_part_of_the_one_it_is() -> None:
    town = Town(CART)
    await town.say(1, "alias", previousId="b", userId="c")
    await town.say(2, "track", anonymousId="anon", event="Added", **PHONE)
    await town.say(3, "identify", anonymousId="anon", userId="b")
    await town.say(4, "track", userId="b", event="Ordered")
    await town.settle(60_000)
    assert town.rows == [("cart", "c", "CANCELLED")]


async def test_a_signal_for_a_merged_profile_reaches_the_one_it_is_a_part_of() -> None:
    town = Town({**HELLO, "when": {"signal": "greet"}})
    await town.say(1, "track", anonymousId="anon", event="Opened", **PHONE)
    await town.say(2, "identify", anonymousId="anon", userId="ann", **PHONE)
    log = town.logs[partition_of("anon", PARTITIONS)]
    log.engine(Kind.SIGNAL, encode(SignalRecord("anon", "greet", "s1", T0 + 3)), 3, b"anon")
    await town.settle(4)
    assert town.rows == [("hello", "ann", "ADMITTED")]


async def test_a_followed_record_that_is_published_twice_is_applied_once() -> None:
    town = Town(HELLO, copies=2)
    await town.say(1, "alias", previousId="a", userId="b", **PHONE)
    await town.say(2, "alias", previousId="b", userId="c", **PHONE)
    await town.say(3, "track", userId="a", event="Opened")
    await town.say(4, "track", userId="a", event="Opened")
    followed = [
        message
        for message in (await town.shard(partition_of("b", PARTITIONS)))[1].on("events")
        if message.key == b"c" and header(message.headers, "kind") == Kind.FORWARD.encode()
    ]
    assert len(followed) == 2


async def test_a_profile_too_large_for_a_record_is_moved_without_what_could_lead_to_a_message() -> (
    None
):
    carts = [
        {
            **CART,
            "id": f"cart-{number}",
            "per": "event",
            "on_repeat": "keep",
            "wait": "1h",
            "unless": {"event": "Ordered", "where": {"properties.x": "$start.properties.x"}},
        }
        for number in range(32)
    ]
    town = Town(*carts, HELLO)
    await town.say(1, "track", anonymousId="anon", event="Opened", **PHONE)
    for at in range(2, 34):
        town.append(
            at, "track", anonymousId="anon", event="Added", properties={"x": f"{at}" * 1000}
        )
    await town.say(34, "identify", anonymousId="anon", userId="ann")
    state = await town.state("ann")
    assert [device.token for device in state.devices] == ["t"]
    assert (len(state.instances), len(state.cooled)) == (0, 1)
    published = [m for _, outlet in town.shards.values() for m in outlet.on("events")]
    assert 0 < max(len(message.value) for message in published) < 1 << 20


async def test_what_is_under_way_to_a_profile_is_called_back_when_it_is_merged() -> None:
    town = Town(HELLO, {**HELLO, "id": "receipt", "class": "transactional"}, spacing="2s")
    await town.say(1, "track", anonymousId="anon", event="Opened", **PHONE)
    hello, receipt = sorted(town.deliveries(), key=lambda one: one.trigger)
    await town.say(3, "identify", anonymousId="anon", userId="ann")
    assert (await town.claim(hello, 4)).answer is GateAnswer.CANCELLED
    assert (await town.claim(receipt, 4)).answer is GateAnswer.SEND


async def test_what_a_profile_was_sent_late_keeps_the_one_it_became_a_part_of_from_being_sent() -> (
    None
):
    town = Town(HELLO, {**HELLO, "id": "offer", "when": {"event": "Viewed"}}, spacing="2s")
    await town.say(1, "track", anonymousId="anon", event="Opened", **PHONE)
    (hello,) = town.deliveries()
    assert (await town.claim(hello, 5_000)).answer is GateAnswer.SEND
    await town.say(3, "identify", anonymousId="anon", userId="ann")
    await town.say(2_004, "track", userId="ann", event="Viewed")
    offer = town.deliveries()[-1]
    assert (offer.user, offer.trigger) == ("ann", "offer")
    refused = await town.claim(offer, 6_999)
    assert (refused.reason, refused.until_ms) == (Reason.SPACING, T0 + 7_000)
    assert (await town.claim(offer, 7_000)).answer is GateAnswer.SEND


async def test_the_end_of_a_guests_delivery_goes_through_the_log_to_the_known_profile() -> None:
    town = Town(HELLO)
    await town.say(1, "track", anonymousId="anon", event="Opened", **PHONE)
    await town.say(2, "identify", anonymousId="anon", userId="ann")
    assert len((await town.state("ann")).sends) == 1
    number = partition_of("anon", PARTITIONS)
    [sent] = [decode_delivery(m.value) for m in town.shards[number][1].on("deliveries.normal")]
    ended = OutcomeRecord(sent.delivery_id, "anon", "hello", Reason.REJECTED, T0 + 3)
    town.logs[number].engine(Kind.OUTCOME, encode(ended), 3, b"anon")
    await town.settle(4)
    state = await town.state("ann")
    assert (state.sends, state.cooled, state.guests) == ([], [], {})


HI: dict[str, Any] = {**HELLO, "cooldown": "1ms"}
OFFER: dict[str, Any] = {**HELLO, "id": "offer", "when": {"event": "Viewed"}}


async def sent_late(town: Town, *names: str) -> Delivery:
    """`names[0]` is sent a message and becomes a part of the next one, and so on."""
    await town.say(1, "track", anonymousId=names[0], event="Opened", **PHONE)
    (hello,) = town.deliveries()
    assert (await town.claim(hello, 5_000)).answer is GateAnswer.SEND
    for at, (guest, known) in enumerate(pairwise(names), start=3):
        await town.say(at, "alias", previousId=guest, userId=known)
    return hello


async def end(town: Town, sent: Delivery, reason: Reason, at: int) -> None:
    number = partition_of(sent.user, PARTITIONS)
    ended = OutcomeRecord(sent.delivery_id, sent.user, sent.trigger, reason, T0 + at)
    town.logs[number].engine(Kind.OUTCOME, encode(ended), at, sent.user.encode())
    await town.settle(at)


@pytest.mark.parametrize("names", [("anon", "ann"), ("anon", "ann", "eve", "zoe")])
async def test_a_guests_message_given_back_counts_at_the_gate_of_the_known_profile_no_more(
    names: tuple[str, ...],
) -> None:
    town = Town(HI, OFFER, caps=[{"max": 1, "per": "1d"}])
    hello = await sent_late(town, *names)
    await end(town, hello, Reason.REJECTED, 5_001)
    await town.say(5_002, "track", userId=names[-1], event="Viewed")
    offer = town.deliveries()[-1]
    assert (offer.user, offer.trigger) == (names[-1], "offer")
    assert (await town.claim(offer, 5_003)).answer is GateAnswer.SEND


async def test_a_guests_message_that_ends_in_the_batch_of_its_merge_is_given_back_at_the_gate() -> (
    None
):
    town = Town(HI, OFFER, caps=[{"max": 1, "per": "1d"}])
    await town.say(1, "track", anonymousId="anon", event="Opened", **PHONE)
    (hello,) = town.deliveries()
    assert (await town.claim(hello, 2)).answer is GateAnswer.SEND
    town.append(3, "identify", anonymousId="anon", userId="ann")
    known, guest = (partition_of(name, PARTITIONS) for name in ("ann", "anon"))
    assert known != guest
    shard, _ = await town.shard(known)
    await shard.apply(town.logs[known].records)
    town.carry(known)
    # The guest's shard reads of the merge and of the end together, and the known one's does, too.
    await end(town, hello, Reason.REJECTED, 4)
    rings = town.store._shards[known].rings
    assert hello.delivery_id not in [claim.delivery_id for claim in rings["ann"].claims]


async def test_a_guests_message_that_arrived_counts_at_the_gate_of_the_known_profile() -> None:
    town = Town(HI, OFFER, spacing="10s")
    hello = await sent_late(town, "anon", "ann")
    # As a store that was rolled back would have it.
    town.store._shards[partition_of("ann", PARTITIONS)].rings.clear()
    await end(town, hello, Reason.ACCEPTED, 5_001)
    claims = await town.store.claims(partition_of("ann", PARTITIONS), "ann")
    assert [(c.delivery_id, c.claimed_at_ms) for c in claims] == [(hello.delivery_id, T0 + 5_001)]


async def test_claims_are_asked_for_once_of_each_profile_that_was_moved_and_for_no_outcome() -> (
    None
):
    town = Town(HI)
    asked: list[str] = []
    claims = town.store.claims

    async def noted(shard: int, user: str) -> list[Reached]:
        asked.append(user)
        return await claims(shard, user)

    town.store.claims = noted  # type: ignore[method-assign]
    hello = await sent_late(town, "anon", "ann")
    assert asked == ["anon"]
    await end(town, hello, Reason.ACCEPTED, 5_001)
    assert asked == ["anon"]

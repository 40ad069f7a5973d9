"""Anonymous and known profiles across shards: records, states and timers end up in one place."""

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
                shard, outlet = await self.shard(number)
                await shard.apply(log.records)
                for message in outlet.on("events")[self.delivered[number] :]:
                    moving = True
                    self.delivered[number] += 1
                    for _ in range(self.copies):
                        there = self.logs[message.partition]
                        there.raw(message.value, self.now, "", message.headers).key = message.key
        for number, log in self.logs.items():
            log.tick(at)
            shard, _ = await self.shard(number)
            await shard.apply(log.records)
            await shard.drain_due()

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

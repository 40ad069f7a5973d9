"""A store that was rolled back: nothing goes before claims and limits are known again."""

from engine.ports import GateAnswer, Verdict
from schemas.deliveries import Limits
from schemas.reasons import Reason
from tests.contract.store.shards import AnyStore, Shard
from triggers.effects import Reached

SEND = Verdict(GateAnswer.SEND)
BEHIND = Verdict(GateAnswer.BEHIND)


async def test_nothing_is_claimed_before_the_store_has_applied_what_the_asker_knows_of(
    store: AnyStore, shard: Shard
) -> None:
    await shard.open("d1")
    before = await store.dump(7)
    assert before["offset"] == 0
    assert await shard.claim("d1", 1, after=1) == BEHIND
    assert await store.dump(7) == before
    await shard.write()
    assert await shard.claim("d1", 1, after=1) == SEND


async def test_nothing_is_claimed_while_deliveries_are_withheld(
    store: AnyStore, shard: Shard
) -> None:
    await shard.open("d1")
    await shard.write(withhold_until=3)
    before = await store.dump(7)
    assert await shard.claim("d1", 1, after=0) == BEHIND
    assert await store.dump(7) == before
    await shard.write(withhold_until=0)
    assert await shard.claim("d1", 1, after=0) == SEND


async def test_what_has_ended_is_said_also_when_the_store_is_behind(shard: Shard) -> None:
    for delivery_id in ("closed", "claimed", "cancelled"):
        await shard.open(delivery_id)
    await shard.open("expired", expires_at_ms=5)
    assert await shard.claim("claimed", 10) == SEND
    await shard.write(closed=["closed"], cancelled=[("cancelled", 1)])
    answers = {
        name: (await shard.claim(name, 20, after=99)).answer.value
        for name in ("closed", "claimed", "cancelled", "expired")
    }
    assert answers == {
        "closed": "GONE",
        "claimed": "WAIT",
        "cancelled": "CANCELLED",
        "expired": "EXPIRED",
    }


async def test_a_forgotten_claim_is_entered_in_its_place_and_limits_hold_again(
    store: AnyStore, shard: Shard
) -> None:
    assert await shard.sent("d1", 100) == SEND
    assert await shard.sent("d3", 300) == SEND
    await shard.write(reached=[Reached("ann", "d2", "cart", 200)], ring_keep=9)
    claims = [(100, "d1", "cart", ""), (200, "d2", "cart", ""), (300, "d3", "cart", "")]
    assert (await store.dump(7))["rings"] == {"ann": [9, *claims]}
    limits = Limits(caps=[(3, 500)])
    refused = Verdict(GateAnswer.REFUSED, 600, Reason.FREQUENCY_CAP)
    assert await shard.sent("d4", 599, limits=limits) == refused
    assert await shard.claim("d4", 600, limits=limits) == SEND


async def test_a_claim_that_the_ring_has_keeps_its_time(store: AnyStore, shard: Shard) -> None:
    assert await shard.sent("d1", 100) == SEND
    before = (await store.dump(7))["rings"]
    await shard.write(reached=[Reached("ann", "d1", "cart", 130)], ring_keep=30)
    assert (await store.dump(7))["rings"] == before


async def test_a_forgotten_claim_makes_a_ring_that_keeps_as_many_as_are_asked_for(
    store: AnyStore, shard: Shard
) -> None:
    reached = [Reached("ann", f"d{n}", "cart", 100 - n) for n in range(4)]
    await shard.write(reached=reached, ring_keep=3)
    claims = [(98, "d2", "cart", ""), (99, "d1", "cart", ""), (100, "d0", "cart", "")]
    assert (await store.dump(7))["rings"] == {"ann": [3, *claims]}


async def test_a_claim_that_is_given_back_goes_from_the_ring_also_when_it_was_just_entered(
    store: AnyStore, shard: Shard
) -> None:
    assert await shard.sent("d1", 100) == SEND
    await shard.write(
        reached=[Reached("ann", "d2", "cart", 200)],
        ring_keep=9,
        given_back=[("ann", "d1"), ("ann", "d2"), ("ann", "d3"), ("bob", "d1")],
    )
    assert (await store.dump(7))["rings"] == {"ann": [9]}
    assert await shard.sent("d4", 201, limits=Limits(spacing_ms=500, caps=[(1, 500)])) == SEND


async def test_claims_of_a_user_forgotten_in_the_same_commit_stay_forgotten(
    store: AnyStore, shard: Shard
) -> None:
    await shard.write(reached=[Reached("ann", "d1", "cart", 1)], ring_keep=9, forgotten=["ann"])
    assert (await store.dump(7))["rings"] == {}


async def test_claims_of_a_user_who_is_known_again_in_the_commit_that_forgets_them_are_kept(
    store: AnyStore, shard: Shard
) -> None:
    await shard.write(
        states={"ann": b"state"},
        journal={"ann": [b"new"]},
        reached=[Reached("ann", "d1", "cart", 1)],
        ring_keep=9,
        forgotten=["ann"],
    )
    found = await store.dump(7)
    assert found["rings"] == {"ann": [9, (1, "d1", "cart", "")]}
    assert found["journal"] == {"ann": [b"new"]}


async def test_pending_instances_are_counted_and_none_left_is_no_entry(
    store: AnyStore, shard: Shard
) -> None:
    await shard.write(pending={"cart|1": 2, "idle|3": 1})
    assert await store.pending(7) == {"cart|1": 2, "idle|3": 1}
    await shard.write(pending={"cart|1": -2, "cart|2": 1, "idle|3": 1})
    assert await store.pending(7) == {"cart|2": 1, "idle|3": 2}
    assert await store.pending(8) == {}


async def test_withdrawals_of_a_trigger_are_replaced_and_read_by_the_next_owner(
    store: AnyStore, shard: Shard
) -> None:
    await shard.write(withdrawn={"cart": ((1, 500),), "x": ((2, 600),)}, forwarded={3: 4})
    await shard.write(withdrawn={"cart": ((1, 500), (4, 900))})
    meta = await store.load_shard(7)
    assert meta is not None
    assert meta.withdrawn == {"cart": ((1, 500), (4, 900)), "x": ((2, 600),)}
    assert meta.forwarded == {3: 4}

"""The last look: open, claimed, cancelled, expired, gone."""

from engine.ports import GateAnswer, LedgerEntry, Verdict
from tests.contract.store.shards import AnyStore, Shard
from triggers.effects import Reached

SEND = Verdict(GateAnswer.SEND)
GONE = Verdict(GateAnswer.GONE)
UNKNOWN = Verdict(GateAnswer.UNKNOWN)
CANCELLED = Verdict(GateAnswer.CANCELLED)
NO_LONGER_TRUE = Verdict(GateAnswer.NO_LONGER_TRUE)
CONSENT = Verdict(GateAnswer.CONSENT)
EXPIRED = Verdict(GateAnswer.EXPIRED)


async def test_a_delivery_nobody_opened_is_gone(store: AnyStore, shard: Shard) -> None:
    assert await shard.claim("d1", 1) == GONE
    assert (await store.dump(7))["rings"] == {}


async def test_an_open_delivery_is_sent_once(shard: Shard) -> None:
    await shard.open("d1")
    assert await shard.claim("d1", 1_000) == SEND
    assert await shard.claim("d1", 1_000) == Verdict(GateAnswer.WAIT, 1_100)


async def test_a_claimed_delivery_waits_for_the_lease_of_its_claim_and_is_unknown_then(
    shard: Shard,
) -> None:
    await shard.open("d1")
    assert await shard.claim("d1", 1_000, lease_ms=100) == SEND
    assert await shard.claim("d1", 999, lease_ms=1) == Verdict(GateAnswer.WAIT, 1_100)
    assert await shard.claim("d1", 1_099, lease_ms=1) == Verdict(GateAnswer.WAIT, 1_100)
    assert await shard.claim("d1", 1_100, lease_ms=9_999) == UNKNOWN
    assert await shard.claim("d1", 1_101, lease_ms=9_999) == UNKNOWN


async def test_a_claimed_delivery_stays_claimed_when_it_is_cancelled_or_expires(
    shard: Shard,
) -> None:
    await shard.open("d1", expires_at_ms=1_050)
    assert await shard.claim("d1", 1_000) == SEND
    await shard.write(cancelled=[("d1", 1_010)])
    assert await shard.claim("d1", 1_060) == Verdict(GateAnswer.WAIT, 1_100)
    assert await shard.claim("d1", 1_100) == UNKNOWN


async def test_a_closed_delivery_is_gone(store: AnyStore, shard: Shard) -> None:
    await shard.open("d1")
    await shard.open("d2")
    assert await shard.claim("d1", 1) == SEND
    await shard.write(closed=["d1", "never opened"])
    assert await shard.claim("d1", 2) == GONE
    assert (await store.dump(7))["ledger_user"] == {"d2": "ann"}


async def test_a_delivery_may_be_sent_at_its_expiry_and_not_after(shard: Shard) -> None:
    await shard.open("d1", expires_at_ms=500)
    await shard.open("d2", expires_at_ms=500)
    assert await shard.claim("d1", 501) == EXPIRED
    assert await shard.claim("d1", 501) == EXPIRED
    assert await shard.claim("d2", 500) == SEND


async def test_a_cancel_counts_from_its_time_on(shard: Shard) -> None:
    for delivery_id in ("d1", "d2"):
        await shard.open(delivery_id)
    await shard.write(cancelled=[("d1", 300), ("d2", 300)])
    assert await shard.claim("d1", 300) == CANCELLED
    assert await shard.claim("d2", 299) == SEND


async def test_of_several_cancels_the_earliest_counts(store: AnyStore, shard: Shard) -> None:
    await shard.open("d1")
    for at_ms in (300, 200, 400):
        await shard.write(cancelled=[("d1", at_ms)])
    assert (await store.dump(7))["ledger_cancelled_ms"] == {"d1": 200}


async def test_what_is_no_longer_true_says_so_from_its_time_on(
    store: AnyStore, shard: Shard
) -> None:
    for delivery_id in ("d1", "d2", "d3"):
        await shard.open(delivery_id)
    for at_ms in (300, 200, 400):
        await shard.write(untrue=[("d1", at_ms), ("d2", at_ms), ("d3", at_ms), ("d4", at_ms)])
    await shard.write(cancelled=[("d3", 250)])
    assert (await store.dump(7))["ledger_untrue_ms"] == {"d1": 200, "d2": 200, "d3": 200}
    assert await shard.claim("d1", 200) == NO_LONGER_TRUE
    assert await shard.claim("d2", 199) == SEND
    assert await shard.claim("d3", 249) == NO_LONGER_TRUE
    assert await shard.claim("d3", 250) == CANCELLED
    assert await shard.claim("d4", 300) == GONE


async def test_what_consent_forbids_says_so_from_its_time_on(store: AnyStore, shard: Shard) -> None:
    for delivery_id in ("d1", "d2", "d3"):
        await shard.open(delivery_id)
    for at_ms in (300, 200, 400):
        await shard.write(refused=[("d1", at_ms), ("d2", at_ms), ("d3", at_ms), ("d4", at_ms)])
    await shard.write(cancelled=[("d3", 150)])
    assert (await store.dump(7))["ledger_refused_ms"] == {"d1": 200, "d2": 200, "d3": 200}
    assert await shard.claim("d1", 200) == CONSENT
    assert await shard.claim("d2", 199) == SEND
    assert await shard.claim("d3", 150) == CANCELLED
    assert await shard.claim("d3", 200) == CONSENT
    assert await shard.claim("d4", 300) == GONE


async def test_a_cancelled_delivery_that_also_expired_is_cancelled(shard: Shard) -> None:
    await shard.open("d1", expires_at_ms=500)
    await shard.write(cancelled=[("d1", 300)])
    assert await shard.claim("d1", 900) == CANCELLED


async def test_cancelling_what_is_not_open_opens_nothing(store: AnyStore, shard: Shard) -> None:
    await shard.write(cancelled=[("d1", 300)])
    assert await shard.claim("d1", 400) == GONE
    await shard.open("d1")
    assert await shard.claim("d1", 400) == SEND


async def test_opening_again_keeps_the_entry_as_it_is(store: AnyStore, shard: Shard) -> None:
    await shard.open("d1", expires_at_ms=500)
    await shard.write(cancelled=[("d1", 300)])
    await shard.open("d1", "bob", expires_at_ms=9_000)
    dump = await store.dump(7)
    assert dump["ledger_user"] == {"d1": "ann"}
    assert dump["ledger_expires_ms"] == {"d1": 500}
    assert dump["ledger_cancelled_ms"] == {"d1": 300}


async def test_one_commit_opens_cancels_and_closes_in_this_order(
    store: AnyStore, shard: Shard
) -> None:
    await shard.write(
        opened=[LedgerEntry("d1", "ann", 900), LedgerEntry("d2", "ann", 900)],
        cancelled=[("d1", 300), ("d2", 300)],
        closed=["d2"],
    )
    dump = await store.dump(7)
    assert dump["ledger_user"] == {"d1": "ann"}
    assert dump["ledger_cancelled_ms"] == {"d1": 300}


async def test_a_released_delivery_is_open_again_and_leaves_the_ring(
    store: AnyStore, shard: Shard
) -> None:
    before = await shard.sent("d0", 900)
    await shard.open("d1")
    assert [before, await shard.claim("d1", 1_000)] == [SEND, SEND]
    await store.release([shard.ask("d1", 1_000)])
    dump = await store.dump(7)
    assert dump["rings"] == {"ann": [8, (900, "d0", "cart", "")]}
    assert list(dump["ledger_claimed_ms"]) == ["d0"]
    assert await shard.claim("d1", 1_001) == SEND


async def test_what_a_ring_holds_can_be_read(store: AnyStore, shard: Shard) -> None:
    await shard.sent("d1", 900)
    await shard.sent("d2", 1_000)
    times = {"d1": 900, "d2": 1_000}
    found = [Reached("ann", name, "cart", at_ms, "") for name, at_ms in times.items()]
    assert await store.claims(7, "ann") == found
    assert await store.claims(7, "nobody") == []


async def test_releasing_what_is_not_claimed_or_gone_is_nothing(
    store: AnyStore, shard: Shard
) -> None:
    await shard.open("d1")
    before = await store.dump(7)
    await store.release([shard.ask("d1", 1), shard.ask("never opened", 1)])
    await store.release([])
    assert await store.dump(7) == before


async def test_a_claim_on_a_closed_delivery_cannot_be_released(
    store: AnyStore, shard: Shard
) -> None:
    assert await shard.sent("d1", 1) == SEND
    await shard.write(closed=["d1"])
    await store.release([shard.ask("d1", 1)])
    dump = await store.dump(7)
    assert dump["ledger_user"] == {}
    assert dump["rings"] == {"ann": [8, (1, "d1", "cart", "")]}


async def test_a_batch_of_claims_is_answered_in_order_and_over_shards(
    store: AnyStore, shard: Shard
) -> None:
    shards = [Shard(store, number) for number in range(20)]
    for each in shards:
        await each.open("d1")
    asked = [each.ask("d1", 1) for each in shards] + [shards[4].ask("d1", 2), shard.ask("no", 3)]
    asked.insert(5, shards[3].ask("d1", 50))
    answers = await store.claim(asked)
    assert answers[:5] == [SEND] * 5
    assert answers[5] == Verdict(GateAnswer.WAIT, 101)
    assert answers[6:21] == [SEND] * 15
    assert answers[21:] == [Verdict(GateAnswer.WAIT, 101), GONE]
    assert await store.claim([]) == []


async def test_an_answer_other_than_send_changes_nothing(store: AnyStore, shard: Shard) -> None:
    await shard.open("late", expires_at_ms=5)
    await shard.open("claimed")
    await shard.claim("claimed", 1)
    before = await store.dump(7)
    answers = [await shard.claim(d, 20) for d in ("claimed", "late", "unknown")]
    assert [verdict.answer for verdict in answers] == ["WAIT", "EXPIRED", "GONE"]
    assert await store.dump(7) == before

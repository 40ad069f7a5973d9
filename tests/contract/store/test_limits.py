"""The limits the gate checks in sending time: at t0 something blocks until t - t0 >= period."""

from itertools import count

import pytest

from engine.ports import GateAnswer, Verdict
from engine.store.keys import RING_MAX, RING_SPARE
from schemas.deliveries import CalendarCap, Limits
from schemas.reasons import Reason
from tests.contract.store.shards import AnyStore, Shard

SEND = Verdict(GateAnswer.SEND)


def refused(reason: Reason, until_ms: int) -> Verdict:
    return Verdict(GateAnswer.REFUSED, until_ms, reason)


async def test_cooldown_blocks_the_same_trigger_until_the_period_has_passed(shard: Shard) -> None:
    limits = Limits(cooldown_ms=50)
    assert await shard.sent("d0", 100) == SEND
    assert await shard.sent("d1", 100, limits=limits) == refused(Reason.COOLDOWN, 150)
    assert await shard.claim("d1", 149, limits=limits) == refused(Reason.COOLDOWN, 150)
    assert await shard.sent("d2", 149, limits=limits, trigger="idle") == SEND
    assert await shard.claim("d1", 150, limits=limits) == SEND


async def test_spacing_blocks_every_trigger_until_the_period_has_passed(shard: Shard) -> None:
    limits = Limits(spacing_ms=50)
    assert await shard.sent("d0", 100) == SEND
    for trigger in ("cart", "idle"):
        answer = await shard.sent(f"d-{trigger}", 149, limits=limits, trigger=trigger)
        assert answer == refused(Reason.SPACING, 150)
    assert await shard.claim("d-idle", 150, limits=limits, trigger="idle") == SEND


async def test_a_transactional_claim_blocks_no_marketing_and_is_blocked_by_none(
    shard: Shard,
) -> None:
    limits = Limits(spacing_ms=50)
    assert await shard.sent("d0", 100, counted=False) == SEND
    assert await shard.sent("d1", 100, limits=limits) == SEND
    assert await shard.sent("d2", 101, counted=False) == SEND


async def test_the_ghost_of_a_control_group_blocks_its_own_trigger_and_no_other(
    shard: Shard,
) -> None:
    limits = Limits(cooldown_ms=50, spacing_ms=50, caps=[(1, 50)])
    assert await shard.sent("d0", 100, counted=False, own=True) == SEND
    assert await shard.sent("d1", 100, limits=limits) == refused(Reason.COOLDOWN, 150)
    assert await shard.sent("d2", 101, limits=limits, trigger="idle") == SEND
    assert await shard.sent("d3", 102, own=True, limits=limits, trigger="x") == refused(
        Reason.SPACING, 151
    )


async def test_ghosts_never_push_a_message_out_of_the_ring(shard: Shard) -> None:
    cap = Limits(caps=[(1, 1_000_000)])
    assert await shard.sent("sent", 100) == SEND
    for number in range(RING_SPARE + 5):
        answer = await shard.sent(f"d{number}", 101, counted=False, own=True, trigger=f"t{number}")
        assert answer == SEND
    assert await shard.sent("last", 102, limits=cap) == refused(Reason.FREQUENCY_CAP, 1_000_100)


async def test_a_released_ghost_blocks_nothing(shard: Shard) -> None:
    limits = Limits(cooldown_ms=50)
    assert await shard.sent("d0", 100, counted=False, own=True) == SEND
    await shard.store.release([shard.ask("d0", 100)])
    assert await shard.sent("d1", 101, limits=limits) == SEND


async def test_a_cap_blocks_while_the_window_holds_its_maximum(shard: Shard) -> None:
    limits = Limits(caps=[(2, 100)])
    assert await shard.sent("d0", 100, limits=limits) == SEND
    assert await shard.sent("d1", 130, limits=limits, trigger="idle") == SEND
    assert await shard.sent("d2", 199, limits=limits) == refused(Reason.FREQUENCY_CAP, 200)
    assert await shard.claim("d2", 200, limits=limits) == SEND
    assert await shard.sent("d3", 201, limits=limits) == refused(Reason.FREQUENCY_CAP, 230)


async def test_a_cap_of_a_category_counts_the_messages_of_that_category_alone(shard: Shard) -> None:
    news = Limits(category="news", own_caps=[(1, 100)])
    assert (
        await shard.sent("d0", 100, limits=Limits(category="offers", own_caps=[(1, 100)])) == SEND
    )
    assert await shard.sent("d1", 110, limits=news) == SEND
    assert await shard.sent("d2", 120) == SEND
    assert await shard.sent("d3", 209, limits=news) == refused(Reason.FREQUENCY_CAP, 210)
    assert await shard.sent("d4", 209) == SEND
    assert await shard.claim("d3", 210, limits=news) == SEND


async def test_a_calendar_cap_blocks_until_the_window_around_the_claim_ends(shard: Shard) -> None:
    limits = Limits(calendars=[CalendarCap(1, False, [100, 200, 300])])
    assert await shard.sent("d0", 99) == SEND
    assert await shard.sent("d1", 199, limits=limits) == SEND
    assert await shard.sent("d2", 199, limits=limits) == refused(Reason.FREQUENCY_CAP, 200)
    assert await shard.claim("d2", 200, limits=limits) == SEND
    assert await shard.sent("d3", 299, limits=limits) == refused(Reason.FREQUENCY_CAP, 300)
    assert await shard.claim("d3", 301, limits=limits) == SEND
    # Behind the last start nobody knows when the window ends.
    later = refused(Reason.FREQUENCY_CAP, 900 + 86_400_000)
    assert await shard.sent("d4", 900, limits=limits) == later


async def test_a_calendar_cap_of_a_category_leaves_the_others_alone(shard: Shard) -> None:
    calendars = [CalendarCap(1, True, [100, 200])]
    news = Limits(category="news", calendars=calendars)
    assert await shard.sent("d0", 100, limits=news) == SEND
    offers = Limits(category="offers", calendars=calendars)
    assert await shard.sent("d1", 110, limits=offers) == SEND
    assert await shard.sent("d2", 120, limits=news) == refused(Reason.FREQUENCY_CAP, 200)


async def test_a_clock_behind_the_decision_is_taken_to_be_in_its_window(shard: Shard) -> None:
    limits = Limits(calendars=[CalendarCap(1, False, [100, 200])])
    assert await shard.sent("d0", 110, limits=limits) == SEND
    assert await shard.sent("d1", 90, limits=limits) == refused(Reason.FREQUENCY_CAP, 200)


async def test_claims_of_a_category_outlive_those_of_others(store: AnyStore, shard: Shard) -> None:
    news = Limits(category="news", own_caps=[(1, 1_000)])
    assert await shard.sent("d0", 100, limits=news) == SEND
    for number in range(1, 30):
        assert await shard.sent(f"d{number}", 100 + number) == SEND
    assert await shard.sent("last", 200, limits=news) == refused(Reason.FREQUENCY_CAP, 1_100)
    made = (await store.dump(7))["rings"]["ann"][1:]
    assert [one[1] for one in made] == ["d0", *(f"d{number}" for number in range(21, 30))]


async def test_of_several_caps_the_one_that_is_free_last_says_until_when(shard: Shard) -> None:
    assert await shard.sent("d0", 100) == SEND
    assert await shard.sent("d1", 110) == SEND
    answer = await shard.sent("d2", 120, limits=Limits(caps=[(2, 1_000), (1, 50), (3, 9_999)]))
    assert answer == refused(Reason.FREQUENCY_CAP, 1_100)


async def test_a_window_with_more_than_the_cap_is_free_when_fewer_than_the_cap_are_left(
    shard: Shard,
) -> None:
    # Claimed out of order, by clocks that differ.
    for number, now_ms in enumerate((140, 100, 130, 110, 120)):
        assert await shard.sent(f"d{number}", now_ms) == SEND
    limits = Limits(caps=[(2, 100)])
    assert await shard.sent("last", 150, limits=limits) == refused(Reason.FREQUENCY_CAP, 230)
    assert await shard.claim("last", 229, limits=limits) == refused(Reason.FREQUENCY_CAP, 230)
    assert await shard.claim("last", 230, limits=limits) == SEND


async def test_the_reason_is_cooldown_then_spacing_then_cap_and_until_is_when_all_are_free(
    shard: Shard,
) -> None:
    assert await shard.sent("d0", 100) == SEND
    every = Limits(cooldown_ms=10, spacing_ms=20, caps=[(1, 30)])
    assert await shard.sent("d1", 105, limits=every) == refused(Reason.COOLDOWN, 130)
    assert await shard.claim("d1", 110, limits=every) == refused(Reason.SPACING, 130)
    assert await shard.claim("d1", 120, limits=every) == refused(Reason.FREQUENCY_CAP, 130)
    assert await shard.claim("d1", 130, limits=every) == SEND


async def test_a_cap_of_nothing_never_allows(shard: Shard) -> None:
    answer = await shard.sent("d0", 100, limits=Limits(caps=[(0, 50)]))
    assert answer == refused(Reason.FREQUENCY_CAP, 150)


async def test_limits_are_per_user(shard: Shard) -> None:
    limits = Limits(cooldown_ms=50, spacing_ms=50, caps=[(1, 50)])
    for user in ("ann", "bob"):
        assert await shard.sent(f"to-{user}", 100, user=user, limits=limits) == SEND


async def test_a_claim_by_a_slower_clock_is_blocked_by_a_later_one(shard: Shard) -> None:
    assert await shard.sent("d0", 1_000) == SEND
    answer = await shard.sent("d1", 900, limits=Limits(spacing_ms=50))
    assert answer == refused(Reason.SPACING, 1_050)


async def test_a_refused_delivery_takes_nothing(store: AnyStore, shard: Shard) -> None:
    limits = Limits(caps=[(1, 100)])
    assert await shard.sent("d0", 100, limits=limits) == SEND
    await shard.sent("d1", 150, limits=limits)
    dump = await store.dump(7)
    assert dump["rings"] == {"ann": [9, (100, "d0", "cart", "")]}
    assert dump["ledger_claimed_ms"] == {"d0": 100}


async def test_a_released_claim_blocks_nobody(store: AnyStore, shard: Shard) -> None:
    limits = Limits(cooldown_ms=50, spacing_ms=50, caps=[(1, 50)])
    assert await shard.sent("d0", 100, limits=limits) == SEND
    await store.release([shard.ask("d0", 100)])
    assert await shard.sent("d1", 101, limits=limits) == SEND


async def test_a_delivery_that_reached_nobody_in_time_does_not_enter_the_ring_twice(
    store: AnyStore, shard: Shard
) -> None:
    assert await shard.sent("d0", 100, lease_ms=10) == SEND
    assert (await shard.claim("d0", 200)).answer is GateAnswer.UNKNOWN
    assert (await store.dump(7))["rings"] == {"ann": [8, (100, "d0", "cart", "")]}


@pytest.mark.parametrize("maximum", [1, 3, 20])
async def test_a_ring_keeps_the_largest_cap_and_a_few_more(
    store: AnyStore, shard: Shard, maximum: int
) -> None:
    times = count(1)
    keep = maximum + RING_SPARE
    for number in range(keep + 5):
        limits = Limits(caps=[(maximum, 1)] if number == 0 else [])
        assert await shard.sent(f"d{number}", next(times), limits=limits) == SEND
    ring = (await store.dump(7))["rings"]["ann"]
    assert ring[0] == keep
    assert [made[1] for made in ring[1:]] == [f"d{number}" for number in range(5, keep + 5)]
    refusal = await shard.sent("last", 40, limits=Limits(caps=[(maximum, 1_000)]))
    assert refusal.reason is Reason.FREQUENCY_CAP


async def test_no_ring_grows_beyond_the_bound(store: AnyStore, shard: Shard) -> None:
    limits = Limits(caps=[(100_000, 1)])
    for number in range(RING_MAX + 3):
        assert await shard.sent(f"d{number}", number, limits=limits) == SEND
    keep, *made = (await store.dump(7))["rings"]["ann"]
    assert (keep, len(made)) == (RING_MAX, RING_MAX)
    assert made[0] == (3, "d3", "cart", "")


async def test_a_limit_of_zero_blocks_nothing_even_after_a_later_claim(shard: Shard) -> None:
    assert await shard.sent("d0", 1_000) == SEND
    assert await shard.sent("d1", 900, limits=Limits(caps=[(1, 0)])) == SEND

"""No sequence of claims exceeds a limit at the gate: its ring, judged without one."""

from random import Random
from typing import Any

from engine.ports import Claim
from engine.store.ring import Claimed, Ring
from schemas.deliveries import Limits

#: Seeded histories.
DENSE = 500


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

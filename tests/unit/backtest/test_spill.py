from collections.abc import Iterable

from hypothesis import given
from hypothesis import strategies as st

from engine.backtest.spill import Spill, row_line
from schemas.decisions import Decision, decision_order, decision_row
from schemas.reasons import Outcome, Reason


def decision(at_ms: int, user: str, trigger: str, reason: Reason | None = None) -> Decision:
    return Decision(
        trigger=trigger,
        user=user,
        activation=f"{user}-{at_ms}",
        at_ms=at_ms,
        outcome=Outcome.SUPPRESSED if reason else Outcome.ADMITTED,
        reason=reason,
        start=f"{user}-{at_ms}",
    )


made = st.lists(
    st.builds(
        decision,
        st.integers(0, 4),
        st.sampled_from(("ann", "bob", "ё")),
        st.sampled_from(("a", "b")),
        st.sampled_from((None, Reason.SPACING)),
    ),
    max_size=40,
)


def rows(found: Iterable[Decision], buffered_max: int) -> list[bytes]:
    spill = Spill(buffered_max=buffered_max)
    for one in found:
        spill.add(one)
    return [row_line(row) for row in spill.rows()]


@given(made, st.integers(1, 7), st.randoms())
def test_decisions_are_sorted_whatever_fits_in_memory_and_whatever_their_order(
    found: list[Decision], buffered_max: int, random: "object"
) -> None:
    shuffled = list(found)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert rows(shuffled, buffered_max) == rows(found, 1_000)


def test_a_line_has_the_nine_fields_of_a_decision_in_their_order() -> None:
    import msgspec

    one = decision(1_767_607_200_001, "ann", "cart", Reason.COOLDOWN)
    (line,) = rows([one], 10)
    assert line == msgspec.json.encode(decision_row(one)) + b"\n"
    assert b'"at":"2026-01-05T10:00:00.001Z"' in line


def test_the_order_is_by_time_user_trigger_and_activation() -> None:
    found = [decision(2, "a", "t"), decision(1, "b", "t"), decision(1, "a", "u")]
    spill = Spill()
    for one in found:
        spill.add(one)
    keys = [row[:4] for row in spill.rows()]
    assert keys == [decision_order(one) for one in sorted(found, key=decision_order)]

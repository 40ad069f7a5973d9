"""The global control group: who is in it, how it moves on, and what its ghosts take."""

from datetime import UTC, datetime
from typing import Any

from schemas.events import to_ms
from schemas.reasons import Reason
from tests.unit.triggers.user import HELLO, User, program_of
from triggers.arms import GlobalControl
from triggers.buckets import BUCKETS, bucket
from triggers.definition import Policy
from triggers.program import Program
from triggers.state import DAY_MS

GROUP: dict[str, Any] = {"global_control": {"size": "10%", "rotate": "2%"}}
NAMES = [f"user-{number}" for number in range(3_000)]


def month(year: int, number: int, day: int = 1) -> int:
    return to_ms(datetime(year, number, day, tzinfo=UTC))


def members(group: GlobalControl, at_ms: int) -> set[str]:
    return {name for name in NAMES if group.holds(name, at_ms)}


def withheld_user(program: Program) -> User:
    group = program.triggers["hello"].global_control
    assert group is not None
    at = 1_736_121_600_000
    return User(program, name=next(name for name in NAMES if group.holds(name, at)))


def test_a_policy_without_the_field_withholds_from_nobody_and_an_empty_one_from_a_tenth() -> None:
    assert program_of(HELLO).triggers["hello"].global_control is None
    said = program_of(HELLO, global_control={}).triggers["hello"].global_control
    assert said == GlobalControl(1_000, 200)
    nobody = Policy.model_validate({"global_control": {"size": "0%"}})
    assert nobody.to_document()["global_control"] == {"size": "0%", "rotate": "2%"}
    off = program_of(HELLO, global_control={"size": "0%"})
    assert off.triggers["hello"].global_control is None


def test_the_group_is_a_tenth_of_the_users_in_every_month() -> None:
    group = GlobalControl(1_000, 200)
    for number in range(1, 13):
        assert 240 < len(members(group, month(2026, number))) < 360


def test_each_month_a_fifth_of_the_group_is_replaced_and_within_a_month_nobody() -> None:
    group = GlobalControl(1_000, 200)
    january, february = members(group, month(2026, 1)), members(group, month(2026, 2))
    assert members(group, month(2026, 2) - 1) == january
    assert members(group, month(2026, 1, 17)) == january
    start = group.starts(month(2026, 1))
    for name in january - february:
        assert (bucket("global_control", name) - start) % BUCKETS < 200
    for name in february - january:
        assert 1_000 <= (bucket("global_control", name) - start) % BUCKETS < 1_200
    assert 30 < len(january - february) < 95


def test_a_month_ends_at_midnight_utc() -> None:
    group = GlobalControl(1_000, 200)
    end = month(2026, 3)
    assert group.starts(end) == (group.starts(end - 1) + 200) % BUCKETS


def test_after_five_months_nobody_of_the_group_is_left() -> None:
    group = GlobalControl(1_000, 200)
    assert not members(group, month(2026, 1)) & members(group, month(2026, 6))


def test_over_all_months_the_window_goes_round() -> None:
    group = GlobalControl(1_000, 200)
    start = group.starts(month(2026, 1))
    assert group.starts(month(2030, 3)) == start


def test_a_ghost_of_the_group_takes_cooldown_spacing_and_caps_like_a_message() -> None:
    program = program_of(
        {**HELLO, "cooldown": "1d"},
        {"id": "other", "state": "live", "when": {"event": "Bought"}},
        spacing="1h",
        caps=[{"max": 1, "per": "1d"}],
        **GROUP,
    )
    user = withheld_user(program)
    user.event("0s", "Opened")
    user.event("1m", "Bought")
    user.event("2h", "Bought")
    user.event("3h", "Opened")
    assert [line.split()[-1] for line in user.lines] == [
        "GLOBAL_CONTROL",
        "SPACING",
        "FREQUENCY_CAP",
        "COOLDOWN",
    ]
    (ghost,) = user.effects.deliveries
    assert (ghost.ghost, ghost.variant) == ("GLOBAL_CONTROL", "")
    assert user.effects.decisions[0].variant is None


def test_a_ghost_of_the_group_that_expires_gives_all_of_it_back() -> None:
    program = program_of(HELLO, spacing="1h", **GROUP)
    user = withheld_user(program)
    user.event("0s", "Opened")
    user.outcome("1s", Reason.EXPIRED)
    assert user.state.sends == []
    user.event("1m", "Opened")
    assert user.lines[-1].endswith("GLOBAL_CONTROL")


def test_a_transactional_message_is_withheld_from_nobody() -> None:
    program = program_of(
        HELLO,
        {"id": "receipt", "state": "live", "class": "transactional", "when": {"event": "Bought"}},
        **GROUP,
    )
    user = withheld_user(program)
    user.event("0s", "Bought")
    assert user.lines == ["0s receipt m0 ADMITTED"]


def test_the_group_comes_before_a_triggers_own_control() -> None:
    only = {"control": "99%", "variants": {"a": "1%"}}
    user = withheld_user(program_of({**HELLO, "experiment": only}, **GROUP))
    user.event("0s", "Opened")
    assert user.lines == ["0s hello m0 GLOBAL_CONTROL"]
    assert user.state.exposed["hello"].arm == "global_control"


def test_both_arms_of_the_group_are_exposed_by_their_first_candidate() -> None:
    program = program_of(HELLO, **GROUP)
    treated = User(program, name=next(n for n in NAMES if n != withheld_user(program).name))
    for user, arm in ((withheld_user(program), "global_control"), (treated, "")):
        user.event("0s", "Opened")
        user.event("1h", "Opened")
        users = {key: n for key, n in user.effects.funnel.items() if key.stage == "USERS"}
        assert [(key.variant, n) for key, n in users.items()] == [(arm, 1)]


def test_a_user_counts_once_under_a_revision_however_long_it_runs() -> None:
    user = withheld_user(program_of(HELLO, **GROUP))
    for at in ("0s", "27d", "29d", "300d"):
        user.event(at, "Opened")
    users = [key for key in user.effects.funnel if key.stage == "USERS"]
    assert len(users) == 1
    assert user.state.exposed["hello"].at // DAY_MS == 1_736_121_600_000 // DAY_MS


def test_a_trigger_without_either_remembers_no_exposure() -> None:
    user = User(program_of(HELLO))
    user.event("0s", "Opened")
    assert not user.state.exposed

"""Experiments: who is in which arm, ghosts, exposure, and that nothing differs before it."""

from collections import Counter
from itertools import pairwise
from typing import Any

import pytest
from pydantic import ValidationError

from schemas.reasons import Reason
from tests.unit.triggers.user import CART, HELLO, T0, User, ms, program_of
from triggers.arms import Experiment, bucket_ranges
from triggers.buckets import BUCKETS, bucket
from triggers.decide import apply_merged
from triggers.definition import TriggerDefinition
from triggers.effects import FunnelKey
from triggers.exposure import EXPOSED_MAX
from triggers.model import problems_of
from triggers.program import Program
from triggers.state import DAY_MS, decode_state, encode_state

SPLIT: dict[str, Any] = {"control": "20%", "variants": {"a": "40%", "b": "40%"}}
MESSAGE = {"link": "app://x", "push": {"title": "t", "body": "b"}}


def hello(**changes: Any) -> dict[str, Any]:
    return {**HELLO, "experiment": SPLIT, "message": MESSAGE, **changes}


def user_in(program: Program, arm: str, trigger: str = "hello", *, but: str = "") -> User:
    """The first user whom the experiment draws this arm for."""
    experiment = program.triggers[trigger].experiment
    assert experiment is not None
    names = (f"user-{number}" for number in range(1_000))
    name = next(one for one in names if experiment.arm(one, T0) == arm and one != but)
    return User(program, name=name)


def counted(user: User, stage: str) -> dict[str, int]:
    """How often a stage was counted, by variant."""
    found: Counter[str] = Counter()
    for key, number in user.effects.funnel.items():
        if key.stage == stage:
            found[key.variant] += number
    return dict(found)


# --- arms ---

#: `getBucketRanges` of the cases that GrowthBook's SDKs share: weights and the ranges they give.
PUBLISHED_RANGES = [
    ([5_000, 5_000], [(0, 5_000), (5_000, 10_000)]),
    ([2_000, 8_000], [(0, 2_000), (2_000, 10_000)]),
    ([4_000, 4_000, 2_000], [(0, 4_000), (4_000, 8_000), (8_000, 10_000)]),
    ([3_300, 3_300, 3_400], [(0, 3_300), (3_300, 6_600), (6_600, 10_000)]),
]


@pytest.mark.parametrize(("weights", "ranges"), PUBLISHED_RANGES)
def test_bucket_ranges_are_those_of_the_published_vectors(
    weights: list[int], ranges: list[tuple[int, int]]
) -> None:
    made = bucket_ranges((f"v{number}", weight) for number, weight in enumerate(weights))
    bounds = [0, *(beyond for beyond, _ in made)]
    assert list(pairwise(bounds)) == ranges


def test_an_arm_is_the_range_that_holds_the_users_bucket() -> None:
    # Buckets 505, 2,696, 2,019 by the published vectors of the hash.
    ranges = bucket_ranges([("control", 506), ("a", 2_190), ("b", 7_304)])
    seeded = Experiment("seed", ranges, 0, 1)
    assert (seeded.arm("a", 0), seeded.arm("b", 0)) == ("control", "b")
    assert Experiment("foo", ranges, 0, 1).arm("def", 0) == "a"


def test_control_comes_first_and_variants_by_name_whatever_their_order_in_the_file() -> None:
    one = program_of(hello(experiment={"variants": {"b": "30%", "a": "50%"}, "control": "20%"}))
    experiment = one.triggers["hello"].experiment
    assert experiment is not None
    assert experiment.ranges == ((2_000, "control"), (7_000, "a"), (10_000, "b"))


def test_every_user_has_an_arm_and_the_shares_are_kept() -> None:
    experiment = program_of(hello()).triggers["hello"].experiment
    assert experiment is not None
    arms = Counter(experiment.arm(f"user-{number}", T0) for number in range(5_000))
    assert arms.keys() == {"control", "a", "b"}
    assert 900 < arms["control"] < 1_100
    assert 1_880 < arms["a"] < 2_120


def test_other_weights_move_only_users_between_the_bounds() -> None:
    before = program_of(hello()).triggers["hello"].experiment
    weights = {"control": "20%", "variants": {"a": "50%", "b": "30%"}}
    after = program_of(hello(experiment=weights)).triggers["hello"].experiment
    assert before is not None
    assert after is not None
    names = [f"user-{number}" for number in range(2_000)]
    moved = {
        (before.arm(n, T0), after.arm(n, T0))
        for n in names
        if before.arm(n, T0) != after.arm(n, T0)
    }
    assert moved == {("b", "a")}
    for name in names:
        if before.arm(name, T0) != after.arm(name, T0):
            assert 6_000 <= bucket("experiment:hello", name) < 7_000


def test_two_experiments_draw_independently() -> None:
    program = program_of(hello(), hello(id="other"))
    first, second = (program.triggers[name].experiment for name in ("hello", "other"))
    assert first is not None
    assert second is not None
    names = [f"user-{number}" for number in range(4_000)]
    inside = [name for name in names if first.arm(name, T0) == "control"]
    share = sum(second.arm(name, T0) == "control" for name in inside) / len(inside)
    assert 0.15 < share < 0.25


# --- what an arm gets ---


def test_a_variant_is_admitted_and_named_and_control_is_a_ghost() -> None:
    program = program_of(hello())
    for arm, ends in (("a", "ADMITTED"), ("b", "ADMITTED"), ("control", "CONTROL")):
        user = user_in(program, arm)
        user.event("0s", "Opened")
        assert user.lines == [f"0s hello m0 {ends}"]
        (decision,), (delivery,) = user.effects.decisions, user.effects.deliveries
        assert decision.variant == delivery.variant == arm
        assert decision.delivery_id == delivery.delivery_id
        assert delivery.ghost == ("CONTROL" if arm == "control" else "")


def test_a_control_ghost_takes_its_own_triggers_cooldown_and_nothing_else() -> None:
    program = program_of(
        hello(cooldown="1h"),
        {"id": "other", "state": "live", "when": {"event": "Bought"}},
        spacing="1h",
        caps=[{"max": 1, "per": "1d"}],
    )
    user = user_in(program, "control")
    user.event("0s", "Opened")
    user.event("1m", "Opened")
    user.event("2m", "Bought")
    assert user.lines == ["0s hello m0 CONTROL", "1m hello m1 COOLDOWN", "2m other m2 ADMITTED"]


def test_a_control_ghost_wins_no_settle_window() -> None:
    program = program_of(
        hello(priority=90),
        {"id": "other", "state": "live", "when": {"event": "Opened"}},
        settle="1m",
    )
    for arm, ends in (("control", ["CONTROL", "ADMITTED"]), ("a", ["ADMITTED", "LOWER_PRIORITY"])):
        user = user_in(program, arm)
        user.event("0s", "Opened")
        user.fire("1h")
        assert [line.split()[-1] for line in user.lines] == ends


def test_a_ghost_is_held_for_quiet_hours_like_a_message() -> None:
    program = program_of(hello(hold={"for": ["quiet_hours"]}), quiet=["22:00", "09:00"])
    for arm, ends in (("control", "9h hello m0 CONTROL"), ("a", "9h hello m0 ADMITTED")):
        user = user_in(program, arm)
        user.event("1h", "Opened")
        assert user.lines == []
        assert not user.state.exposed
        user.fire("1d")
        assert user.lines == [ends]


def test_a_ghost_that_expires_gives_its_cooldown_back_and_one_that_was_withheld_does_not() -> None:
    for reason, ends in ((Reason.EXPIRED, "CONTROL"), (Reason.CONTROL, "COOLDOWN")):
        user = user_in(program_of(hello(cooldown="1d")), "control")
        user.event("0s", "Opened")
        user.outcome("1s", reason)
        assert not user.state.pending
        user.event("1m", "Opened")
        assert user.lines == ["0s hello m0 CONTROL", f"1m hello m1 {ends}"]


def test_a_ghost_is_called_back_by_a_cancel_like_a_message() -> None:
    program = program_of({**CART, "experiment": SPLIT})
    for arm in ("control", "a"):
        user = user_in(program, arm, "cart")
        user.event("0s", "Added")
        user.fire("3h")
        user.event("3h", "Ordered")
        assert [recall.reason for recall in user.effects.cancelled] == [Reason.CANCELLED]


def test_the_messages_of_a_series_are_all_withheld_from_control() -> None:
    series = {
        "id": "hello",
        "state": "live",
        "when": {"event": "Opened"},
        "series": [{"after": "1h", "message": "m1"}, {"after": "2h", "message": "m2"}],
        "messages": {"m1": MESSAGE, "m2": MESSAGE},
        "cooldown": "1d",
        "experiment": SPLIT,
    }
    user = user_in(program_of(series), "control")
    user.event("0s", "Opened")
    user.fire("1d")
    assert user.lines == ["1h hello m0 CONTROL", "2h hello m0 CONTROL"]
    assert counted(user, "USERS") == {"control": 1}


def test_all_of_a_bundle_end_as_control() -> None:
    program = program_of(hello(bundle={"window": "1h"}))
    user = user_in(program, "control")
    for at in ("0s", "1m"):
        user.event(at, "Opened")
    user.fire("2h")
    assert user.lines == ["1h hello m0 CONTROL", "1h hello m1 CONTROL"]
    assert [decision.variant for decision in user.effects.decisions] == ["control"] * 2


# --- nothing differs before the exposure ---


ONLY: dict[str, dict[str, Any]] = {
    "control": {"control": "99%", "variants": {"a": "1%"}},
    "a": {"variants": {"a": "99%", "b": "1%"}},
    "b": {"variants": {"b": "100%"}},
}


def test_users_who_differ_only_in_their_arm_are_the_same_up_to_the_exposure() -> None:
    """Decisions, stored state and counters, over every refusal before the control check."""

    def played(arm: str) -> list[Any]:
        program = program_of(
            {**CART, "cooldown": "1d", "experiment": ONLY[arm], "audience": {"traits.plan": "pro"}},
            {"id": "first", "state": "live", "when": {"event": "Bought"}},
            spacing="1h",
        )
        user = User(program)
        seen: list[Any] = []

        def look() -> None:
            seen.append((user.lines, encode_state(user.state), dict(user.effects.funnel)))

        user.event("0s", "Added")
        look()
        user.fire("3h")
        look()
        user.identify("4h", plan="pro")
        user.event("4h", "Added")
        user.event("5h30m", "Bought")
        look()
        user.fire("6h30m")
        look()
        user.event("7h", "Added")
        look()
        user.fire("9h30m")
        assert user.effects.decisions[-1].variant == arm
        assert user.lines[-1].endswith("CONTROL" if arm == "control" else "ADMITTED")
        return seen

    streams = [played(arm) for arm in ONLY]
    assert [line.split()[-1] for line in streams[0][-1][0]] == ["AUDIENCE", "ADMITTED", "SPACING"]
    assert streams[0] == streams[1] == streams[2]


def test_arms_are_exposed_alike_and_once() -> None:
    program = program_of(hello())
    for arm in ("control", "a"):
        user = user_in(program, arm)
        for at in ("0s", "1h", "1d"):
            user.event(at, "Opened")
        assert counted(user, "USERS") == {arm: 1}
        exposed = user.state.exposed["hello"]
        assert (exposed.arm, exposed.at, exposed.revision) == (arm, T0, 1)
    assert counted(user, "ADMITTED") == {"a": 3}


def test_control_is_counted_where_it_is_decided_and_its_end_at_the_gate_apart() -> None:
    user = user_in(program_of(hello()), "control")
    user.event("0s", "Opened")
    user.outcome("1s", Reason.CONTROL)
    stages = {key.stage: (key.variant, number) for key, number in user.effects.funnel.items()}
    assert stages == {
        "MATCHED": ("", 1),
        "CONTROL": ("control", 1),
        "GHOST": ("control", 1),
        "USERS": ("control", 1),
        "WITHHELD": ("control", 1),
    }


def test_an_outcome_is_counted_for_the_variant_and_revision_it_was_decided_under() -> None:
    user = user_in(program_of(hello()), "b")
    user.event("0s", "Opened")
    user.program = program_of(hello(), revision=2)
    user.outcome("1s", Reason.ACCEPTED)
    day = T0 // DAY_MS
    assert user.effects.funnel[FunnelKey("hello", 1, "b", day, "ACCEPTED")] == 1


def test_a_new_revision_exposes_anew() -> None:
    user = user_in(program_of(hello()), "a")
    user.event("0s", "Opened")
    user.program = program_of(hello(), revision=2)
    user.event("1h", "Opened")
    revisions = sorted(key.revision for key in user.effects.funnel if key.stage == "USERS")
    assert revisions == [1, 2]


def test_a_merged_profile_is_counted_in_the_arm_of_the_known_one() -> None:
    program = program_of(hello())
    known = user_in(program, "a")
    guest = user_in(program, "control")
    for user in (known, guest):
        user.event("0s", "Opened")
    apply_merged(program, known.name, known.state, guest.state, ms("1h"), known.effects)
    assert known.state.exposed["hello"].arm == "a"


def test_exposures_are_bounded_and_the_oldest_goes() -> None:
    count = EXPOSED_MAX + 1
    triggers = [hello(id=f"t{n:02}", when={"event": f"E{n}"}) for n in range(count)]
    user = User(program_of(*triggers))
    for number in range(count):
        user.event(f"{number}m", f"E{number}")
    assert "t00" not in user.state.exposed
    assert len(user.state.exposed) == EXPOSED_MAX
    assert user.effects.evicted["exposures"] == 1


def test_an_exposure_is_known_for_a_year_so_that_nobody_is_counted_twice() -> None:
    program = program_of(hello(goal={"event": "Bought", "within": "2d"}), registered=T0 - 1_000)
    user = user_in(program, "a")
    user.event("0s", "Opened")
    assert decode_state(encode_state(user.state)) == user.state
    user.fire("360d")
    assert user.state.exposed
    user.fire("368d")
    assert not user.state.exposed


# --- its end ---


def test_after_its_end_everyone_gets_the_trigger_as_it_is_written() -> None:
    program = program_of(hello(experiment={**SPLIT, "until": "7d"}), registered=T0)
    user = user_in(program, "control")
    user.event("6d23h", "Opened")
    user.event("7d", "Opened")
    assert user.lines == ["6d23h hello m0 CONTROL", "7d hello m1 ADMITTED"]
    assert [d.variant for d in user.effects.decisions] == ["control", None]


def test_an_experiment_lasts_four_weeks_unless_it_says_otherwise() -> None:
    program = program_of(hello(), registered=T0)
    user = user_in(program, "control")
    user.event("27d23h", "Opened")
    user.event("28d", "Opened")
    assert [line.split()[-1] for line in user.lines] == ["CONTROL", "ADMITTED"]


def test_without_a_registration_it_runs_throughout() -> None:
    user = user_in(program_of(hello()), "control")
    user.event("400d", "Opened")
    assert user.lines == ["400d hello m0 CONTROL"]


# --- another wait ---

LONGER = {"control": "20%", "variants": {"a": "40%", "b": {"weight": "40%", "set": {"wait": "4h"}}}}


def test_a_variant_waits_for_its_own_time_and_all_arms_are_exposed_by_the_start() -> None:
    program = program_of({**CART, "experiment": LONGER})
    for arm, ends in (
        ("control", "2h cart m0 CONTROL"),
        ("a", "2h cart m0 ADMITTED"),
        ("b", "4h cart m0 ADMITTED"),
    ):
        user = user_in(program, arm, "cart")
        user.event("0s", "Added")
        assert counted(user, "USERS") == {arm: 1}
        assert user.state.exposed["cart"].at == T0
        user.fire("1d")
        assert user.lines == [ends]
        assert counted(user, "USERS") == {arm: 1}


def test_with_another_wait_the_time_a_message_may_still_be_sent_is_another() -> None:
    program = program_of({**CART, "experiment": LONGER})
    user = user_in(program, "b", "cart")
    user.event("0s", "Added")
    user.fire("1d")
    (delivery,) = user.effects.deliveries
    assert delivery.expires_at_ms == ms("6h")


def test_an_instance_that_started_before_the_end_keeps_its_arm() -> None:
    program = program_of({**CART, "experiment": {**LONGER, "until": "7d"}}, registered=T0)
    user = user_in(program, "b", "cart")
    user.event("6d23h", "Added")
    user.fire("9d")
    assert user.lines == ["7d3h cart m0 ADMITTED"]
    assert user.effects.decisions[0].variant == "b"


def test_a_start_that_is_dead_at_once_exposes_nobody() -> None:
    user = user_in(program_of({**CART, "experiment": LONGER}), "b", "cart")
    user.event("1m", "Ordered")
    user.event("2m", "Added", e="0s")
    assert user.lines == ["2m cart m1 CANCELLED"]
    assert not user.state.exposed


# --- shadow ---


def test_a_shadow_trigger_takes_and_sends_nothing_and_records_what_it_would_have_done() -> None:
    program = program_of(hello(id="shade", state="shadow", cooldown="1d"), HELLO, spacing="1h")
    user = User(program)
    user.event("0s", "Opened")
    user.event("1m", "Opened")
    user.state.devices.clear()
    user.event("2m", "Opened")
    shades = [d for d in user.effects.decisions if d.trigger == "shade"]
    assert {d.reason for d in shades} == {Reason.SHADOW}
    # Nothing was taken: its own cooldown never refuses, what the live trigger took does.
    assert [d.would for d in shades][1:] == ["SPACING", "NO_DEVICE"]
    assert {d.trigger.id for d in user.effects.deliveries} == {"hello"}
    assert not user.state.exposed


# --- unsound definitions ---


@pytest.mark.parametrize(
    ("document", "location", "message"),
    [
        (
            hello(experiment={"control": "10%", "variants": {"a": "45%", "b": "44.9%"}}),
            ("experiment",),
            "sum to 100%, not 99.9%",
        ),
        (hello(experiment={"control": "10%", "variants": {}}), ("experiment", "variants"), "empty"),
        (
            hello(experiment={"variants": {"control": "50%", "a": "50%"}}),
            ("experiment", "variants", "control"),
            "another name",
        ),
        (
            hello(experiment={"variants": {"A b": "100%"}}),
            ("experiment", "variants", "A b", "[key]"),
            "is not an id",
        ),
        (
            hello(experiment={"variants": {"a": {"weight": "100%", "set": {}}}}),
            ("experiment", "variants", "a", "set"),
            "what the variant changes",
        ),
        (
            hello(experiment={"variants": {"a": {"weight": "100%", "set": {"cooldown": "1d"}}}}),
            ("experiment", "variants", "a", "set", "cooldown"),
            "unknown field",
        ),
        (
            hello(experiment={"variants": {"a": {"weight": "100%", "set": {"wait": "1h"}}}}),
            ("experiment", "variants", "a", "set", "wait"),
            "has no `wait`",
        ),
        (
            hello(
                experiment={
                    "variants": {"a": {"weight": "100%", "set": {"channels": {"order": ["email"]}}}}
                }
            ),
            ("experiment", "variants", "a", "set", "channels", "order", 0),
            "`email` is not available",
        ),
        (
            hello(**{"class": "transactional"}),
            ("experiment", "control"),
            "withheld from nobody",
        ),
        (
            {
                **CART,
                "restart_at_most": "3h",
                "experiment": {"variants": {"a": {"weight": "100%", "set": {"wait": "4h"}}}},
            },
            ("experiment", "variants", "a", "set", "wait"),
            "`restart_at_most`",
        ),
        (
            {
                **HELLO,
                "experiment": {"variants": {"a": {"weight": "100%", "set": {"link": "app://y"}}}},
            },
            ("experiment", "variants", "a", "set", "link"),
            "no message",
        ),
        (
            {
                **HELLO,
                "series": [{"after": "1h", "message": "m1"}],
                "messages": {"m1": MESSAGE},
                "experiment": {
                    "variants": {"a": {"weight": "100%", "set": {"wait": "1h", "message": MESSAGE}}}
                },
            },
            ("experiment", "variants", "a", "set", "message"),
            "stand in `messages`",
        ),
    ],
)
def test_an_unsound_experiment_is_refused_at_its_place(
    document: dict[str, Any], location: tuple[Any, ...], message: str
) -> None:
    with pytest.raises(ValidationError) as caught:
        TriggerDefinition.model_validate(document)
    problems = problems_of(caught.value)
    assert problems[0].location == location
    assert message in problems[0].message


def test_a_transactional_trigger_may_have_variants() -> None:
    document = hello(
        experiment={"variants": {"a": "50%", "b": "50%"}}, **{"class": "transactional"}
    )
    assert TriggerDefinition.model_validate(document).to_document()["experiment"]["variants"]


def test_a_share_of_nothing_gets_nobody() -> None:
    made = program_of(hello(experiment={"control": "0%", "variants": {"a": "100%", "b": "0%"}}))
    experiment = made.triggers["hello"].experiment
    assert experiment is not None
    assert experiment.ranges == ((BUCKETS, "a"),)


# --- another time of the day ---

LATER = {"weight": "50%", "set": {"send_at": {"between": ["14:00", "20:00"]}}}


def test_a_variant_may_be_sent_at_another_time_and_both_count_from_the_start() -> None:
    program = program_of(hello(experiment={"variants": {"a": "50%", "b": LATER}}), registered=T0)
    lines = {"a": ["10h hello m0 ADMITTED"], "b": ["14h hello m0 ADMITTED"]}
    for arm, expected in lines.items():
        user = user_in(program, arm)
        user.event("10h", "Opened")
        users = [key for key in user.effects.funnel if key.stage == "USERS"]
        assert [key.variant for key in users] == [arm]
        user.fire("1d")
        assert user.lines == expected
        assert user.effects.decisions[0].variant == arm
        assert user.state.exposed["hello"].at == T0 + 10 * 3_600_000
        assert sum(user.effects.funnel[key] for key in users) == 1


# --- what a ghost, an aborted canary and a merge leave ---


def test_what_a_ghost_is_credited_with_is_counted_and_starts_nothing() -> None:
    goal = {"event": "Ordered", "within": "7d"}
    reaction = {
        **HELLO,
        "id": "after",
        "class": "transactional",
        "when": {"outcome": "converted", "trigger": "hello"},
    }
    program = program_of(hello(goal=goal), reaction)
    lines = {}
    for arm in ("a", "control"):
        user = user_in(program, arm)
        user.event("0s", "Opened")
        user.outcome("1s", Reason.CONTROL if arm == "control" else Reason.ACCEPTED)
        user.event("1h", "Ordered")
        assert sum(counted(user, "CONVERTED").values()) == 1
        lines[arm] = user.lines[1:]
    assert lines == {"a": ["1h after m1 ADMITTED"], "control": []}


def test_a_canary_that_was_taken_back_leaves_its_users_counted_once() -> None:
    before, canary = (program_of(hello(), revision=revision) for revision in (3, 4))
    user = user_in(before, "a")
    for at, program in (("0s", canary), ("2d", before), ("4d", before)):
        user.program = program
        user.event(at, "Opened")
    assert sum(counted(user, "USERS").values()) == 1


def test_a_merge_keeps_the_exposure_of_the_later_revision() -> None:
    older, later = (program_of(hello(), revision=revision) for revision in (1, 2))
    known, other = user_in(older, "a"), user_in(later, "a", but="")
    for user in (known, other):
        user.event("0s", "Opened")
    known.program = later
    apply_merged(later, known.name, known.state, other.state, ms("1h"), known.effects)
    assert known.state.exposed["hello"].revision == 2


def test_whoever_it_is_not_rolled_out_to_is_not_exposed_at_the_start() -> None:
    later = {"weight": "50%", "set": {"send_at": {"between": ["14:00", "20:00"]}}}
    program = program_of(hello(experiment={"variants": {"a": "50%", "b": later}}, rollout="5%"))
    exposed = 0
    for number in range(100):
        user = User(program, name=f"user-{number}")
        user.event("10h", "Opened")
        user.fire("2d")
        exposed += bool(user.state.exposed)
        assert bool(user.state.exposed) == (not user.lines[0].endswith("NOT_ROLLED_OUT"))
    assert 0 < exposed < 20


def test_an_exposure_does_not_keep_a_delivery_without_an_outcome_waiting() -> None:
    user = user_in(program_of(hello(expires="1h")), "a")
    user.event("0s", "Opened")
    user.fire("3d")
    assert user.state.pending == []
    assert counted(user, "UNKNOWN") == {"a": 1}
    assert user.state.exposed

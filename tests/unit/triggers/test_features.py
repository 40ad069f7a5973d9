"""Computed features: equal to a naive recount, bounded, and forgotten in time."""

from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.events import Event
from tests.unit.triggers.user import HELLO, User, ms, program_of
from triggers.decide import apply_event, fire_before
from triggers.features import COUNT_MAX, KEEP_MIN, TOP_MAX, Feature, FeatureDefinition, make_feature
from triggers.merging import absorb
from triggers.notes import MESSAGES, MESSAGES_MAX
from triggers.paths import MISSING
from triggers.state import MEMORY_MS, decode_state, encode_state, is_blank

DAY = 86_400_000
OF = "properties.x"


def feature_file(**feature: Any) -> dict[str, Any]:
    return {"segments": {"features": {"f": {"event": "Noted", **feature}}}}


def asking(condition: Any = None, **feature: Any) -> User:
    """A user of a trigger that asks for the feature `f`."""
    asked = {"features.f": condition or {"gte": 1}}
    return User(program_of({**HELLO, "audience": asked}, files=feature_file(**feature)))


def value(user: User, at: str) -> Any:
    (feature,) = user.program.features.values()
    return feature.value(user.state, ms(at))


# against a naive recount

WITHIN_S = 100
NOTED = st.lists(
    st.tuples(
        st.integers(0, 12),  # messageId
        st.integers(0, 300),  # seconds since the one before
        st.integers(0, 200),  # how late it is, in seconds
        st.sampled_from(["a", "b", "c", 1, 1.0, True]),
    ),
    max_size=40,
)


def recount(compute: str, kept: list[tuple[int, Any]], at_s: int, within_s: int | None) -> Any:
    """The definition, word for word, over every event that counts, in log order."""
    inside = [(e, x) for e, x in kept if within_s is None or at_s - e < within_s]
    if compute == "count":
        return len(inside)
    if compute == "distinct":
        return len({_same(x) for _, x in inside})
    if not inside:
        return MISSING
    ordered = sorted(range(len(inside)), key=lambda number: (inside[number][0], number))
    if compute == "last":
        return inside[ordered[-1]][1]
    same = {number: _same(inside[number][1]) for number in ordered}
    counts = {name: list(same.values()).count(name) for name in same.values()}
    best = max(ordered, key=lambda number: (counts[same[number]], ordered.index(number)))
    return inside[best][1]


def _same(x: Any) -> str:
    return f"{type(x) is bool} {type(x) is str} {x if type(x) is str else float(x)}"


@settings(max_examples=80)
@given(
    noted=NOTED,
    compute=st.sampled_from(["count", "distinct", "last", "top"]),
    windowed=st.booleans(),
    ask=st.integers(0, 400),
)
def test_a_feature_equals_a_naive_recount_under_duplicates_and_reorder(
    noted: list[tuple[int, int, int, Any]], compute: str, windowed: bool, ask: int
) -> None:
    within = {"within": f"{WITHIN_S}s"} if windowed else {}
    of = {} if compute == "count" else {"of": OF}
    user = asking(compute=compute, **within, **of)
    a_s, seen, kept = 0, set[int](), list[tuple[int, Any]]()
    for message, gap_s, late_s, x in noted:
        a_s += gap_s
        e_s = a_s - late_s
        offset = f"{e_s}s" if e_s >= 0 else f"-{-e_s}s"
        user.event(f"{a_s}s", "Noted", e=offset, id=f"n{message}", x=x)
        if message not in seen:
            seen.add(message)
            kept.append((e_s, x))
    found = value(user, f"{a_s + ask}s")
    expected = recount(compute, kept, a_s + ask, WITHIN_S if windowed else None)
    assert (found, type(found) is bool) == (expected, type(expected) is bool)
    stored = decode_state(encode_state(user.state))
    assert stored == user.state


@settings(max_examples=40)
@given(
    times=st.lists(st.integers(0, 200), min_size=20, max_size=80),
    compute=st.sampled_from(["count", "distinct"]),
    ask=st.integers(0, 100),
)
def test_a_bounded_count_is_exact_up_to_its_bound(times: list[int], compute: str, ask: int) -> None:
    of = {} if compute == "count" else {"of": OF}
    document = {"compute": compute, "event": "Noted", "within": "100s", **of}
    feature = make_feature(FeatureDefinition.model_validate(document))
    feature.keep = 5
    user = User(program_of(HELLO))
    for number, at_s in enumerate(times):
        event = event_of(number)
        feature.note(user.state, 0, event, ms(f"{at_s}s"), ms("200s"), user.effects.evicted)
    at_s = 200 + ask
    inside = sum(1 for t in times if at_s - t < 100)
    assert feature.value(user.state, ms(f"{at_s}s")) == min(inside, 5)


def event_of(number: int) -> Event:
    return Event("track", f"m{number}", "Noted", "u", properties={"x": f"x{number}"})


# rules


def test_equal_features_share_one_memory() -> None:
    did = {"did": {"event": "Noted", "within": "1h", "count": {"gte": 3}}}
    files = feature_file(compute="count", within="1h")
    program = program_of(
        {**HELLO, "audience": did}, {**HELLO, "id": "b", "audience": {"features.f": 40}},
        files=files,
    )  # fmt: skip
    (feature,) = program.features.values()
    assert feature.keep == 41
    user = User(program)
    user.event("0s", "Noted")
    assert len(user.state.features) == 2  # the feature, and the messages


def test_a_feature_of_no_trigger_in_use_is_not_kept() -> None:
    files = feature_file(compute="count")
    files["segments"]["many"] = {"features.f": {"gte": 3}}
    unused = User(program_of(HELLO, files=files))
    unused.event("0s", "Noted")
    assert not unused.state.features
    used = User(program_of({**HELLO, "audience": {"not": {"segment": "many"}}}, files=files))
    used.event("0s", "Noted")
    assert value(used, "0s") == 1
    draft = program_of({**HELLO, "state": "draft", "audience": {"segment": "many"}}, files=files)
    assert not draft.features


def test_an_edited_feature_begins_anew_and_the_old_memory_goes_with_the_next_timer() -> None:
    user = asking(compute="count")
    user.event("0s", "Noted")
    edited = asking(compute="count", where={"properties.x": 1}).program
    user.program = edited
    user.event("1s", "Other")
    user.event("2s", "Noted", x=1)
    assert value(user, "3s") == 1
    user.fire("25h")
    (feature,) = edited.features.values()
    assert user.state.features == {feature.key: [1]}


def test_a_windowed_feature_is_forgotten_by_the_timer_index_and_leaves_nothing() -> None:
    user = asking(compute="last", of=OF, within="1h")
    user.state.devices.clear()
    user.event("0s", "Noted", x=1)
    assert user.state.due == ms("25h")
    user.fire("25h1ms")
    assert is_blank(user.state)
    assert user.state.due == 0


def test_a_feature_for_ever_is_not_forgotten() -> None:
    user = asking(compute="count")
    user.event("0s", "Noted")
    user.fire("1000d")
    assert value(user, "1000d") == 1
    assert user.state.due == 0


@pytest.mark.parametrize("compute", ["last", "distinct", "top"])
def test_a_value_that_cannot_be_kept_is_counted_and_a_missing_one_is_not(compute: str) -> None:
    user = asking(compute=compute, of=OF)
    user.event("0s", "Noted")
    user.event("0s", "Noted", x=None)
    assert not user.effects.unevaluated
    user.event("0s", "Noted", x={"a": 1})
    user.event("0s", "Noted", x="y" * 257)
    assert sum(user.effects.unevaluated.values()) == 2
    assert value(user, "0s") in (0, MISSING)


def test_distinct_values_are_taken_from_all_elements_of_a_list() -> None:
    user = asking(compute="distinct", of="properties.products.*.sku")
    user.event("0s", "Noted", products=[{"sku": "a"}, {"sku": "b"}, {"sku": "a"}])
    assert value(user, "0s") == 2


def test_the_top_value_of_equally_frequent_ones_is_the_one_seen_last() -> None:
    user = asking(compute="top", of=OF)
    for at, x in (("0s", "a"), ("1s", "b"), ("3s", "a"), ("2s", "b")):
        user.event("5s", "Noted", e=at, x=x)
    assert value(user, "5s") == "a"


# bounds


def test_memory_of_a_user_is_bounded_in_entries_and_bytes() -> None:
    sizes = {}
    for compute in ("count", "distinct", "top", "last"):
        of = {} if compute == "count" else {"of": OF}
        user = asking({"gte": COUNT_MAX}, compute=compute, within="30d", **of)
        for number in range(2 * COUNT_MAX):
            user.event(f"{number}s", "Noted", x=f"item-{number:06}")
        (feature,) = user.program.features.values()
        sizes[compute] = len(msgspec.msgpack.encode(user.state.features[feature.key]))
        assert len(user.state.features[MESSAGES][0]) == MESSAGES_MAX * 12
    assert user.effects.evicted["messages"] == 2 * COUNT_MAX - MESSAGES_MAX
    assert sizes["count"] <= 9 * (COUNT_MAX + 1) + 3
    assert sizes["distinct"] <= 18 * (COUNT_MAX + 1) + 4
    assert sizes["top"] <= 23 * TOP_MAX + 3
    assert sizes["last"] <= 23


def test_a_count_keeps_little_more_than_it_is_compared_with() -> None:
    user = asking({"gte": 40}, compute="count", within="30d")
    (feature,) = user.program.features.values()
    assert feature.keep == 41
    assert isinstance(feature, Feature)
    assert asking({"gte": 2}, compute="count").program.features.popitem()[1].keep == KEEP_MIN


def test_a_message_is_remembered_for_a_day() -> None:
    user = asking(compute="count")
    user.event("0s", "Noted", id="one")
    user.event("24h", "Noted", id="one")
    assert value(user, "24h") == 1
    user.event("24h2s", "Noted", id="one")
    assert value(user, "25h") == 2


# two profiles of one user


@pytest.mark.parametrize(
    ("feature", "expected"),
    [
        ({"compute": "count"}, 4),
        ({"compute": "count", "within": "1h"}, 4),
        ({"compute": "last", "of": OF}, "d"),
        ({"compute": "distinct", "of": OF}, 3),
        ({"compute": "top", "of": OF}, "a"),
    ],
)
def test_a_merge_counts_what_both_profiles_did(feature: dict[str, Any], expected: Any) -> None:
    known = asking(**feature)
    anonymous = User(known.program, name="anonymous")
    anonymous.event("1s", "Noted", id="x1", x="a")
    anonymous.event("4s", "Noted", id="x2", x="d")
    known.event("2s", "Noted", id="y1", x="a")
    known.event("3s", "Noted", id="y2", x="b")
    absorb(known.program, "u", known.state, anonymous.state, ms("5s"), known.effects)
    assert value(known, "6s") == expected
    known.event("6s", "Noted", id="x1", x="z")
    assert value(known, "7s") == expected


def test_an_event_of_a_far_future_is_noted_and_forgotten_like_any_other() -> None:
    user = asking(compute="count", within="1h")
    far_ms = (2**32 + 5) * 1000
    moment = datetime.fromtimestamp(far_ms / 1000, UTC)
    event = Event(type="track", message_id="m", event="Noted", user_id="u", timestamp=moment)
    effects = user.effects
    apply_event(user.program, "u", user.state, event, far_ms, user.program.roles(event), effects)
    assert MESSAGES in user.state.features
    fire_before(user.program, "u", user.state, far_ms + 10 * MEMORY_MS, effects)
    assert not user.state.features

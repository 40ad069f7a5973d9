"""State: one value per user, small, versioned, the same after it was stored."""

from random import Random
from typing import Any

import msgspec
import pytest

from tests.reference.machines import World
from tests.reference.workloads import case
from triggers.packing import pack_id, pack_token
from triggers.state import (
    KEPT_CHARS_MAX,
    KEPT_DEPTH_MAX,
    STATE_VERSION,
    Cooled,
    Device,
    Exposure,
    Instance,
    NewerState,
    Touch,
    UserState,
    decode_state,
    encode_state,
    storable,
)

AT = 1_736_121_600_000
APNS_TOKEN_CHARS = 64
FCM_TOKEN = f"{'dT_x-9' * 4:.22}:APA91b{'Qz-_0aB7' * 17:.134}"
PRODUCT = "properties.product_id"
MESSAGE_ID = "022bb90c-bbac-11e4-8dfc-aa07a5b093db"


def shopper(token: str) -> UserState:
    """A device, two pending instances with one stored field each, 3 sends, 2 cooldowns."""
    instances = [
        Instance("abandoned-cart", sku, pack_id(MESSAGE_ID), AT, 0, AT, {PRODUCT: sku})
        for sku in ("SKU-1", "SKU-2")
    ]
    return UserState(
        decided_at=AT,
        due=AT,
        devices=[Device(pack_token(token), "android", AT)],
        instances=instances,
        sends=[AT, AT + 1, AT + 2],
        cooled=[Cooled(name, "", AT) for name in ("welcome", "price-drop")],
    )


def test_a_user_with_two_pending_instances_is_stored_in_less_than_350_bytes() -> None:
    assert len(encode_state(shopper("f" * APNS_TOKEN_CHARS))) < 350


def test_a_user_with_three_experiments_and_an_fcm_token_is_stored_in_531_bytes() -> None:
    names = ("abandoned-cart", "price-drop", "win-back")
    state = shopper(FCM_TOKEN)
    state.exposed = {name: Exposure("b", AT, 12, 1, 19_990_000) for name in names}
    assert len(FCM_TOKEN) == 163
    assert len(encode_state(state)) == 531


def test_a_state_with_every_part_and_two_devices_is_the_sum_of_its_parts() -> None:
    names = ("abandoned-cart", "price-drop", "win-back")
    state = shopper(FCM_TOKEN)
    alone = len(encode_state(state))
    state.devices.append(Device(pack_token("f" * APNS_TOKEN_CHARS), "ios", AT))
    state.exposed = {name: Exposure("b", AT, 12, 1, 19_990_000) for name in names}
    state.touches = [
        Touch(bytes(16), name, AT, 250, seen=4, revision=3, variant="a") for name in names
    ]
    state.sends += [AT] * 7
    assert len(encode_state(state)) - alone <= 49 + 3 * 35 + 3 * 51 + 7 * 9 + 24
    assert decode_state(encode_state(state)) == state


def test_states_of_random_histories_are_the_same_after_they_were_stored() -> None:
    stored = 0
    for seed in range(40):
        workspace, steps = case(Random(seed).choice, range(10, 40))
        world = World(workspace)
        for step in steps:
            getattr(world, step.kind)(**step.values)
            for state in world.states.values():
                blob = encode_state(state)
                assert decode_state(blob) == state
                assert encode_state(decode_state(blob)) == blob
                stored += 1
    assert stored > 500


def test_fields_added_later_have_defaults_in_states_written_before() -> None:
    assert decode_state(msgspec.msgpack.encode([1, 5, 6])) == UserState(decided_at=5, seen=6)


@pytest.mark.parametrize(
    "newer",
    [
        [STATE_VERSION + 1],
        [STATE_VERSION + 1, "a field", {"of": "another"}, ["type"]],
        [STATE_VERSION + 1, 0, 0, 0, [], [], {}, {}, [], [], {}, [], "one more"],
    ],
)
def test_a_state_of_a_newer_version_is_refused(newer: list[Any]) -> None:
    with pytest.raises(NewerState, match=f"version {STATE_VERSION + 1} is newer"):
        decode_state(msgspec.msgpack.encode(newer))


def test_a_damaged_state_is_an_error_of_its_own() -> None:
    with pytest.raises(msgspec.DecodeError):
        decode_state(b"\x91")
    with pytest.raises(msgspec.ValidationError):
        decode_state(msgspec.msgpack.encode([STATE_VERSION, "text"]))


@pytest.mark.parametrize(
    ("value", "kept"),
    [
        (2**64 - 1, 2**64 - 1),
        (-(2**63), -(2**63)),
        (2**64, float(2**64)),
        (-(2**63) - 1, float(-(2**63))),
        ({"a": [2**70, "text", None, True, 1.5]}, {"a": [2.0**70, "text", None, True, 1.5]}),
    ],
)
def test_an_integer_beyond_64_bits_is_kept_as_the_nearest_float(value: Any, kept: Any) -> None:
    found = storable(value)
    assert found == kept
    assert type(found) is type(kept)
    msgspec.msgpack.encode(found)


def test_an_integer_beyond_every_float_is_kept_too() -> None:
    assert storable(10**4000) == pytest.approx(1.797e308, rel=0.001)
    assert storable(-(10**4000)) < 0


def test_what_nests_too_deeply_is_cut_off() -> None:
    nested: Any = "core"
    for _ in range(900):
        nested = [nested]
    kept, depth = storable(nested), 0
    while isinstance(kept, list):
        kept, depth = kept[0], depth + 1
    assert (kept, depth) == (None, KEPT_DEPTH_MAX)


@pytest.mark.parametrize(
    "rare",
    [
        {"patterns": {"t": ["count", 1]}},
        {"traits": {"plan": "pro"}},
        {"zone": "Asia/Almaty"},
        {"features": {"f": []}},
        {"relations": {"cart": {}}},
        {"exposed": {"cart": Exposure("a", AT)}},
    ],
)
def test_a_rare_field_is_stored_and_its_absence_costs_nothing(rare: dict[str, Any]) -> None:
    plain = shopper("token")
    state = msgspec.structs.replace(plain, **rare)
    assert decode_state(encode_state(state)) == state
    assert decode_state(encode_state(plain)) == plain
    assert len(encode_state(plain)) < len(msgspec.msgpack.encode(plain)) - len(rare)


def test_a_long_text_is_cut_and_stays_different_from_other_long_texts() -> None:
    one, other = ("x" * 60_000 + end for end in "ab")
    assert len(storable(one)) == KEPT_CHARS_MAX
    assert storable(one) == storable(str(one)) != storable(other)
    assert storable("x" * KEPT_CHARS_MAX) == "x" * KEPT_CHARS_MAX


@pytest.mark.parametrize(
    "value",
    [
        ["x" * 900] * 1000,
        [[["x"] * 100] * 100] * 100,
        {f"{number}" * 100: "y" * 900 for number in range(1000)},
        [1] * 60_000,
    ],
)
def test_a_large_value_keeps_what_a_state_has_room_for(value: Any) -> None:
    kept = storable(value)
    assert kept
    assert len(kept) < len(value)
    assert len(msgspec.msgpack.encode(kept)) < 6 * KEPT_CHARS_MAX


def test_a_user_in_three_experiments_is_stored_in_less_than_600_bytes() -> None:
    state = shopper(FCM_TOKEN)
    names = ("abandoned-cart", "price-drop", "win-back")
    state.exposed = {name: Exposure("a", AT, 3, 1, 19_990_000) for name in names}
    state.touches = [Touch(bytes(16), names[0], AT, 250, seen=4, revision=3, variant="a")]
    assert len(encode_state(state)) < 600


def test_a_message_that_is_followed_takes_about_50_bytes() -> None:
    one, two = UserState(), UserState()
    touch = Touch(bytes(16), "abandoned-cart", AT, 250, seen=4, revision=3, variant="a")
    one.touches, two.touches = [touch], [touch, touch]
    assert len(encode_state(two)) - len(encode_state(one)) <= 54


def as_before(state: UserState) -> bytes:
    """As version 2 wrote it: texts in place of what is packed now."""
    fields = msgspec.to_builtins(state)
    fields[0] = 2
    fields[UserState.__struct_fields__.index("devices")] = [
        [device.token, device.platform, device.seen] for device in state.devices
    ]
    for stored, instance in zip(
        fields[UserState.__struct_fields__.index("instances")], state.instances, strict=True
    ):
        stored[2] = instance.activation
    return msgspec.msgpack.encode(fields)


@pytest.mark.parametrize("token", ["f" * APNS_TOKEN_CHARS, FCM_TOKEN, "short"])
def test_a_state_of_version_2_is_read_as_if_it_had_been_written_now(token: str) -> None:
    state = shopper(token)
    before = as_before(state)
    assert token.encode() in before
    assert MESSAGE_ID.encode() in before
    read = decode_state(before)
    assert read == state
    assert encode_state(read) == encode_state(state)
    assert read.devices[0].token == token
    assert {instance.activation for instance in read.instances} == {MESSAGE_ID}

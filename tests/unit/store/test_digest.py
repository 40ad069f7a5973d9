"""What the digest of a shard depends on."""

from typing import Any

import msgspec
import pytest

from engine.ports import START, Claim, LedgerEntry, Position
from engine.store.digest import canonical, digest_of
from engine.store.dump import empty_dump
from engine.store.keys import STORED
from engine.store.memory import MemoryStore
from schemas.deliveries import Limits
from tests.contract.store.shards import Shard, make_commit
from triggers.state import Device, Instance, NewerState, UserState, encode_state

STATE = UserState(
    decided_at=5,
    seen=7,
    devices=[Device("token", "ios", 3)],
    instances=[Instance("cart", "", "m1", 1, 1, 9, {"price": 1.5, "sku": "a"})],
    idle_fired={"a": 1, "b": 2},
)
PLAIN: dict[str, Any] = {
    "states": {"ann": encode_state(STATE), "bob": encode_state(UserState(seen=1))},
    "due": {"ann": 9},
    "opened": [LedgerEntry("d1", "ann", 50), LedgerEntry("d2", "ann", 60)],
    "cancelled": [("d2", 40)],
    "journal": {"ann": [b"armed", b"\xff"]},
    "funnel": {"matched": 1},
    "forwarded": {3: 4},
}


async def stored(**changes: Any) -> MemoryStore:
    store = MemoryStore()
    commit = {"new": Position(4, 0), "commit_id": "a", **PLAIN, **changes}
    result = await store.commit(make_commit(1, expected=START, **commit))
    assert result.status == "OK"
    return store


async def test_the_same_content_has_the_same_digest() -> None:
    first = await digest_of(await stored(), 1)
    assert first == await digest_of(await stored(), 1)
    assert len(first) == 64
    assert int(first, 16) > 0


@pytest.mark.parametrize(
    "change",
    [
        {"new": Position(5, 0)},
        {"watermark_ms": 1_001},
        {"registry": 2},
        {"forwarded": {3: 5}},
        {"states": {"ann": encode_state(UserState(seen=2))}},
        {"states": {"bob": encode_state(UserState(seen=1))}},
        {"due": {"ann": 10}},
        {"opened": [LedgerEntry("d1", "bob", 50), LedgerEntry("d2", "ann", 60)]},
        {"opened": [LedgerEntry("d1", "ann", 51), LedgerEntry("d2", "ann", 60)]},
        {"cancelled": [("d2", 41)]},
        {"untrue": [("d1", 41)]},
        {"refused": [("d1", 41)]},
        {"closed": ["d1"]},
        {"journal": {"ann": [b"armed", b"\xfe"]}},
        {"journal": {"ann": [b"\xff", b"armed"]}},
        {"funnel": {"matched": 2}},
    ],
    ids=str,
)
async def test_what_the_log_decides_changes_the_digest(change: dict[str, Any]) -> None:
    assert await digest_of(await stored(**change), 1) != await digest_of(await stored(), 1)


@pytest.mark.parametrize(
    "change",
    [
        {"new": Position(4, 3)},
        {"commit_id": "b"},
        {"seq": 9},
        {"partitions": 3},
        {"outbox": b"entry"},
        {"withheld": {"d1": b"record"}},
        {"withhold_until": 99},
    ],
    ids=str,
)
async def test_what_a_run_decides_does_not_change_the_digest(change: dict[str, Any]) -> None:
    plain, changed = await stored(), await stored(**change)
    assert await plain.dump(1) != await changed.dump(1)
    assert await digest_of(plain, 1) == await digest_of(changed, 1)


async def test_claims_do_not_change_the_digest() -> None:
    store = await stored()
    before = await digest_of(store, 1), await store.dump(1)
    [verdict] = await store.claim([Claim(1, "d1", "ann", "cart", 1, 10, Limits())])
    assert verdict.answer == "SEND"
    assert await store.dump(1) != before[1]
    assert await digest_of(store, 1) == before[0]


async def test_the_order_in_which_things_were_stored_does_not_count() -> None:
    backwards = UserState(
        decided_at=5,
        seen=7,
        devices=STATE.devices,
        instances=[Instance("cart", "", "m1", 1, 1, 9, {"sku": "a", "price": 1.5})],
        idle_fired={"b": 2, "a": 1},
    )
    assert encode_state(backwards) != encode_state(STATE)
    other = await stored(
        states={"bob": PLAIN["states"]["bob"], "ann": encode_state(backwards)},
        opened=PLAIN["opened"][::-1],
    )
    assert await digest_of(other, 1) == await digest_of(await stored(), 1)


async def test_the_canonical_content_is_readable() -> None:
    content = await canonical(await stored(), 1)
    assert content["journal"] == {"ann": ["armed", {"hex": "ff"}]}
    assert content["states"]["ann"] == msgspec.to_builtins(STATE)
    assert set(content) == {stored.name for stored in STORED if stored.replayed}


async def test_an_empty_shard_has_a_digest_of_its_own() -> None:
    assert await canonical(MemoryStore(), 1) == await canonical(MemoryStore(), 2)
    assert await digest_of(MemoryStore(), 1) != await digest_of(await stored(), 1)


async def test_a_state_of_a_newer_version_is_not_compared() -> None:
    store = MemoryStore()
    await Shard(store, 1).write(states={"ann": encode_state(UserState(version=99))})
    with pytest.raises(NewerState):
        await digest_of(store, 1)


async def test_every_stored_field_is_listed_once_and_dumped() -> None:
    names = [stored.name for stored in STORED]
    assert len(set(names)) == len(names)
    places = [(stored.kind, stored.field) for stored in STORED]
    assert len(set(places)) == len(places)
    assert set(names) == set(empty_dump()) == set(await MemoryStore().dump(1))

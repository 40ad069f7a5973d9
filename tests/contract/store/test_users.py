"""States, timers, journals: what is kept per user."""

import pytest

from engine.ports import CommitStatus
from engine.store.keys import JOURNAL_MAX
from tests.contract.store.shards import AnyStore, Shard

ODD_IDS = [
    "",
    "ann",
    "Ann",
    "анна-用户-🛒",
    "e\u0301",
    "\u00e9",
    "x" * 256,
    "ж" * 256,
    "\x00\x01\xff\r\n$-1\r\n",
    "{s9}:u:bob",
    "a b:c*d?e[f]g\\h",
    "-1",
    "0",
    "1.5",
    "nil",
]


async def test_states_come_in_the_order_asked_with_none_for_the_unknown(
    store: AnyStore, shard: Shard
) -> None:
    await shard.write(states={"ann": b"A", "bob": b"B"})
    assert await store.load_states(7, ["bob", "nobody", "ann", "bob"]) == [b"B", None, b"A", b"B"]
    assert await store.load_states(7, []) == []


async def test_a_state_is_replaced_by_the_next_one(store: AnyStore, shard: Shard) -> None:
    await shard.write(states={"ann": b"A", "bob": b"B"})
    await shard.write(states={"ann": b""})
    assert await store.load_states(7, ["ann", "bob"]) == [b"", b"B"]


@pytest.mark.parametrize("user", ODD_IDS)
async def test_any_id_and_any_bytes_are_kept_as_they_are(
    store: AnyStore, shard: Shard, user: str
) -> None:
    blob = bytes(range(256)) + b"\r\n$3\r\n" + user.encode()
    others = [other for other in ODD_IDS if other != user]
    await shard.write(
        states={user: blob},
        due={user: 5},
        journal={user: [blob]},
        withheld={user: blob},
        funnel={user: 1},
    )
    assert await store.load_states(7, [user, *others]) == [blob] + [None] * len(others)
    assert await store.due_users(7, 6, 9) == [(user, 5)]
    assert await store.journal(7, user) == [blob]
    assert await store.withheld(7) == {user: blob}
    assert await store.funnel(7) == {user: 1}
    await shard.open(user, user)
    assert (await shard.claim(user, 1, user=user, trigger=user)).answer == "SEND"
    assert (await store.dump(7))["rings"] == {user: [8, (1, user, user, "")]}
    gone = {"due": {user: 0}, "closed": [user], "unwithheld": [user], "forgotten": [user]}
    await shard.write(states={user: None}, **gone)
    left = await store.dump(7)
    for name in ("states", "timers", "journal", "withheld", "rings", "ledger_user"):
        assert left[name] == {}


async def test_ids_that_look_alike_are_different_users(store: AnyStore, shard: Shard) -> None:
    await shard.write(states={user: str(i).encode() for i, user in enumerate(ODD_IDS)})
    expected = [str(i).encode() for i in range(len(ODD_IDS))]
    assert await store.load_states(7, ODD_IDS) == expected


async def test_a_forgotten_user_loses_journal_and_ring_but_not_the_lines_of_this_commit(
    store: AnyStore, shard: Shard
) -> None:
    for user in ("ann", "bob"):
        await shard.write(states={user: b"state"}, journal={user: [b"armed"]}, due={user: 9})
        assert (await shard.sent(f"to-{user}", 1, user=user)).answer == "SEND"
    await shard.write(states={"ann": None}, forgotten=["ann"], journal={"ann": [b"new"]})
    left = await store.dump(7)
    assert left["states"] == {"bob": b"state"}
    assert left["journal"] == {"ann": [b"new"], "bob": [b"armed"]}
    assert list(left["rings"]) == ["bob"]
    assert left["timers"] == {"ann": 9, "bob": 9}
    assert left["ledger_user"] == {"to-ann": "ann", "to-bob": "bob"}


async def test_deleting_an_unknown_user_is_nothing(store: AnyStore, shard: Shard) -> None:
    result = await shard.write(states={"nobody": None}, due={"nobody": 0})
    assert result == (CommitStatus.OK, shard.position, 0)
    assert (await store.dump(7))["states"] == {}


async def test_due_users_are_those_before_the_time_by_score_and_then_user(
    store: AnyStore, shard: Shard
) -> None:
    await shard.write(due={"c": 20, "b": 20, "B": 20, "я": 20, "🛒": 20, "a": 30, "z": 10})
    everyone = [
        ("z", 10),
        ("B", 20),
        ("b", 20),
        ("c", 20),
        ("я", 20),
        ("🛒", 20),
        ("a", 30),
    ]
    assert await store.due_users(7, 31, 100) == everyone
    assert await store.due_users(7, 30, 100) == everyone[:-1]
    assert await store.due_users(7, 31, 3) == everyone[:3]
    assert await store.due_users(7, 10, 100) == []
    assert await store.due_users(8, 31, 100) == []


async def test_a_due_time_moves_and_zero_removes_it(store: AnyStore, shard: Shard) -> None:
    assert (await shard.write(due={"ann": 20, "bob": 30})).next_due == 20
    assert (await shard.write(due={"ann": 40})).next_due == 30
    assert (await shard.write(due={"bob": 0})).next_due == 40
    assert (await shard.write(due={"ann": 0})).next_due == 0
    assert await store.due_users(7, 1_000, 10) == []


async def test_a_commit_takes_thousands_of_everything(store: AnyStore, shard: Shard) -> None:
    # Twice 4,501 arguments are more than unpack() gives to one inner call (near 8,000).
    users = [f"user-{number:05}" for number in range(4_501)]
    await shard.write(
        states={user: user.encode() for user in users},
        due={user: 1 + number for number, user in enumerate(users)},
        journal={"ann": [b"%d" % number for number in range(9_001)]},
        withheld=dict.fromkeys(users, b"w"),
        forwarded={number: number for number in range(4_501)},
    )
    assert await store.load_states(7, users) == [user.encode() for user in users]
    everyone = [(user, 1 + number) for number, user in enumerate(users)]
    assert await store.due_users(7, 1 << 40, 9_999) == everyone
    assert len(await store.withheld(7)) == 4_501
    meta = await store.load_shard(7)
    assert meta is not None
    assert meta.forwarded == {number: number for number in range(4_501)}
    result = await shard.write(
        states=dict.fromkeys(users), due=dict.fromkeys(users[:-1], 0), unwithheld=users[1:]
    )
    assert result.next_due == 4_501
    assert await store.load_states(7, users) == [None] * 4_501
    assert await store.withheld(7) == {users[0]: b"w"}


async def test_a_journal_keeps_the_newest_entries_oldest_first(
    store: AnyStore, shard: Shard
) -> None:
    entries = [b"%d" % number for number in range(3 * JOURNAL_MAX)]
    assert await store.journal(7, "ann") == []
    for at in range(0, len(entries), 12):
        await shard.write(journal={"ann": entries[at : at + 12], "bob": []})
        seen = entries[: at + 12]
        assert await store.journal(7, "ann") == seen[-JOURNAL_MAX:]
    assert await store.journal(7, "bob") == []
    await shard.write(journal={"bob": entries})
    assert await store.journal(7, "bob") == entries[-JOURNAL_MAX:]


async def test_funnel_counters_add_up(store: AnyStore, shard: Shard) -> None:
    assert await store.funnel(7) == {}
    await shard.write(funnel={"matched": 2, "value": 300})
    await shard.write(funnel={"matched": 1, "value": -50})
    assert await store.funnel(7) == {"matched": 3, "value": 250}


async def test_a_counter_that_would_overflow_stays_and_the_commit_applies(
    store: AnyStore, shard: Shard
) -> None:
    await shard.write(funnel={"value": 2**63 - 10, "debt": -(2**63) + 10})
    for number in (10, 2**63, 10**30):
        funnel = {"value": number, "debt": -number - 1, "matched": 1}
        await shard.write(funnel=funnel, journal={"ann": [b"1"]})
    await shard.write(funnel={"value": 9})
    assert await store.funnel(7) == {"value": 2**63 - 1, "debt": -(2**63) + 10, "matched": 3}
    assert await store.journal(7, "ann") == [b"1"] * 3


async def test_what_was_read_does_not_change_with_the_store(store: AnyStore, shard: Shard) -> None:
    await shard.write(
        journal={"ann": [b"1"]}, funnel={"a": 1}, withheld={"d": b""}, forwarded={1: 1}
    )
    meta = await store.load_shard(7)
    journal, funnel = await store.journal(7, "ann"), await store.funnel(7)
    withheld, dump = await store.withheld(7), await store.dump(7)
    await shard.write(journal={"ann": [b"2"]}, funnel={"a": 1}, unwithheld=["d"], forwarded={1: 2})
    assert meta is not None
    assert (meta.forwarded, journal, funnel, withheld) == ({1: 1}, [b"1"], {"a": 1}, {"d": b""})
    assert dump["journal"] == {"ann": [b"1"]}


async def test_a_commit_can_be_changed_by_its_maker_afterwards(
    store: AnyStore, shard: Shard
) -> None:
    commit = shard.next(states={"ann": b"A"}, journal={"ann": [b"1"]}, forwarded={1: 1})
    await store.commit(commit)
    commit.states["ann"] = b"B"
    commit.journal["ann"].append(b"2")
    commit.forwarded[1] = 2
    meta = await store.load_shard(7)
    assert meta is not None
    assert meta.forwarded == {1: 1}
    assert await store.load_states(7, ["ann"]) == [b"A"]
    assert await store.journal(7, "ann") == [b"1"]

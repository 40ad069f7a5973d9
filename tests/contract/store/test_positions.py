"""The offset is the fence: what is stored when, and what a commit answers."""

import pytest

from engine.ports import START, CommitStatus, LedgerEntry, Position
from tests.contract.store.shards import AnyStore, Shard, make_commit

EVERYTHING = {
    "states": {"ann": b"state"},
    "due": {"ann": 50},
    "outbox": b"entry",
    "seq": 4,
    "opened": [LedgerEntry("d1", "ann", 99)],
    "withheld": {"d0": b"record"},
    "journal": {"ann": [b"armed"]},
    "funnel": {"matched": 1},
    "forwarded": {3: 12},
    "withhold_until": 77,
    "partitions": 16,
    "watermark_ms": 123,
    "registry": 5,
}


async def test_a_shard_without_commits_has_no_meta(store: AnyStore, shard: Shard) -> None:
    assert await store.load_shard(7) is None
    await shard.write()
    assert await store.load_shard(7) is not None
    assert await store.load_shard(8) is None


async def test_the_first_commit_expects_start(shard: Shard) -> None:
    result = await shard.write()
    assert result == (CommitStatus.OK, Position(0, 0), 0)


async def test_a_commit_stores_what_a_new_owner_reads(store: AnyStore, shard: Shard) -> None:
    assert (await shard.write(**EVERYTHING)).status is CommitStatus.OK
    meta = await store.load_shard(7)
    assert meta is not None
    assert meta.position == Position(0, 0)
    assert (meta.watermark_ms, meta.registry, meta.partitions) == (123, 5, 16)
    assert (meta.next_seq, meta.withhold_until, meta.next_due) == (5, 77, 50)
    assert meta.forwarded == {3: 12}


async def test_forwarded_offsets_are_kept_per_source(store: AnyStore, shard: Shard) -> None:
    await shard.write(forwarded={3: 12, 4: 1})
    await shard.write(forwarded={3: 13})
    await shard.write()
    meta = await store.load_shard(7)
    assert meta is not None
    assert meta.forwarded == {3: 13, 4: 1}


async def test_withhold_until_is_that_of_the_last_commit(store: AnyStore, shard: Shard) -> None:
    await shard.write(withhold_until=40)
    await shard.write()
    meta = await store.load_shard(7)
    assert meta is not None
    assert meta.withhold_until == 0


async def test_sequence_numbers_count_entries_and_never_go_back(
    store: AnyStore, shard: Shard
) -> None:
    for changes, following in (
        ({"seq": 0}, 0),
        ({"seq": 0, "outbox": b"a"}, 1),
        ({"seq": 1}, 1),
        ({"seq": 1, "outbox": b""}, 2),
        ({"seq": 0}, 2),
    ):
        await shard.write(**changes)
        meta = await store.load_shard(7)
        assert meta is not None
        assert meta.next_seq == following


@pytest.mark.parametrize(
    ("expected", "new"),
    [
        (Position(4, 0), Position(6, 0)),
        (Position(6, 0), Position(7, 0)),
        (Position(5, 0), Position(6, 0)),
        (Position(5, 2), Position(6, 0)),
        (START, Position(0, 0)),
    ],
)
async def test_a_commit_that_expects_another_position_is_a_gap_and_changes_nothing(
    store: AnyStore, shard: Shard, expected: Position, new: Position
) -> None:
    await store.commit(make_commit(7, START, Position(5, 1), "first", due={"bob": 40}))
    before = await store.dump(7)
    result = await store.commit(make_commit(7, expected, new, "second", **EVERYTHING))
    assert result == (CommitStatus.GAP, Position(5, 1), 40)
    assert await store.dump(7) == before


async def test_an_empty_shard_is_a_gap_for_who_expects_more(store: AnyStore) -> None:
    commit = make_commit(7, Position(5, 0), Position(6, 0), "a", **EVERYTHING)
    assert await store.commit(commit) == (CommitStatus.GAP, START, 0)
    assert await store.load_shard(7) is None


async def test_the_same_commit_sent_twice_is_applied_once_and_ok_both_times(
    store: AnyStore, shard: Shard
) -> None:
    commit = shard.next(**EVERYTHING)
    first = await store.commit(commit)
    before = await store.dump(7)
    assert await store.commit(commit) == first
    assert first.status is CommitStatus.OK
    assert await store.dump(7) == before
    assert before["funnel"] == {"matched": 1}
    assert before["journal"] == {"ann": [b"armed"]}


async def test_another_commit_to_the_stored_position_is_a_dup_and_changes_nothing(
    store: AnyStore, shard: Shard
) -> None:
    await store.commit(make_commit(7, START, Position(0, 0), "mine", due={"bob": 40}))
    before = await store.dump(7)
    zombie = make_commit(7, START, Position(0, 0), "zombie's", **EVERYTHING)
    assert await store.commit(zombie) == (CommitStatus.DUP, Position(0, 0), 40)
    assert await store.dump(7) == before


async def test_a_retry_that_comes_after_the_next_commit_is_a_gap(
    store: AnyStore, shard: Shard
) -> None:
    first = shard.next(funnel={"matched": 1})
    shard.position = (await store.commit(first)).stored
    await shard.write()
    assert await store.commit(first) == (CommitStatus.GAP, Position(1, 0), 0)
    assert await store.funnel(7) == {"matched": 1}


async def test_pages_of_timers_advance_the_position_without_the_offset(store: AnyStore) -> None:
    at = START
    for new in (Position(-1, 1), Position(-1, 2), Position(0, 0), Position(0, 1)):
        result = await store.commit(make_commit(7, at, new, f"to-{new}"))
        assert result == (CommitStatus.OK, new, 0)
        at = new


async def test_of_two_owners_one_wins_each_position(store: AnyStore) -> None:
    for offset in range(5):
        at = START if offset == 0 else Position(offset - 1, 0)
        mine = make_commit(7, at, Position(offset, 0), f"a{offset}", funnel={"mine": 1})
        other = make_commit(7, at, Position(offset, 0), f"b{offset}", funnel={"other": 1})
        order = [mine, other] if offset % 2 else [other, mine]
        statuses = [(await store.commit(commit)).status for commit in order]
        assert statuses == [CommitStatus.OK, CommitStatus.DUP]
    assert await store.funnel(7) == {"mine": 2, "other": 3}


async def test_shards_do_not_see_each_other(store: AnyStore) -> None:
    for number in (1, 11, 111):
        await Shard(store, number).write(**(EVERYTHING | {"funnel": {"matched": number}}))
    await Shard(store, 1).write()
    for number in (1, 11, 111):
        assert await store.funnel(number) == {"matched": number}
        assert await store.load_states(number, ["ann"]) == [b"state"]
    assert await store.load_states(2, ["ann"]) == [None]


async def test_a_commit_without_changes_moves_the_position_only(
    store: AnyStore, shard: Shard
) -> None:
    await shard.write(**EVERYTHING)
    before = await store.dump(7)
    kept = {key: EVERYTHING[key] for key in ("withhold_until", "watermark_ms", "registry")}
    assert (await shard.write(**kept)).status is CommitStatus.OK
    after = await store.dump(7)
    assert after.pop("offset") == before.pop("offset") + 1
    assert after.pop("commit_id") != before.pop("commit_id")
    assert after == before


async def test_numbers_below_2_to_the_53_are_kept_exactly(store: AnyStore) -> None:
    big = 2**53 - 1
    new = Position(big, 0)
    commit = make_commit(
        7,
        START,
        new,
        "a",
        watermark_ms=big - 1,
        due={"ann": big - 2},
        seq=big - 3,
        outbox=b"entry",
        opened=[LedgerEntry("d1", "ann", big - 4)],
        cancelled=[("d1", big - 5)],
        funnel={"value": big - 6},
        forwarded={0: big - 7},
    )
    assert await store.commit(commit) == (CommitStatus.OK, new, big - 2)
    meta = await store.load_shard(7)
    assert meta is not None
    assert (meta.watermark_ms, meta.next_due, meta.next_seq) == (big - 1, big - 2, big - 2)
    assert meta.forwarded == {0: big - 7}
    assert await store.due_users(7, big, 9) == [("ann", big - 2)]
    assert await store.due_users(7, big - 2, 9) == []
    assert await store.outbox(7) == [(big - 3, b"entry")]
    assert await store.funnel(7) == {"value": big - 6}
    dump = await store.dump(7)
    assert dump["ledger_expires_ms"] == {"d1": big - 4}
    assert dump["ledger_cancelled_ms"] == {"d1": big - 5}


async def test_a_closed_store_leaves_no_task_behind(store: AnyStore, shard: Shard) -> None:
    await shard.write()
    await store.aclose()
    await store.aclose()

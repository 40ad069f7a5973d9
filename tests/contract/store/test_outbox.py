"""What a commit leaves for publishing, and what is kept back after a rollback."""

from tests.contract.store.shards import AnyStore, Shard


async def test_entries_are_listed_by_number_until_they_are_trimmed(
    store: AnyStore, shard: Shard
) -> None:
    assert await store.outbox(7) == []
    for seq in (9, 10, 11, 100):
        await shard.write(seq=seq, outbox=b"entry %d" % seq)
    everything = [(9, b"entry 9"), (10, b"entry 10"), (11, b"entry 11"), (100, b"entry 100")]
    assert await store.outbox(7) == everything
    await shard.write(seq=101, trim_to=8)
    assert await store.outbox(7) == everything
    await shard.write(seq=101, trim_to=10)
    assert await store.outbox(7) == everything[2:]
    await shard.write(seq=101)
    assert await store.outbox(7) == everything[2:]
    await shard.write(seq=101, trim_to=1_000)
    assert await store.outbox(7) == []


async def test_a_commit_trims_older_entries_and_keeps_its_own(
    store: AnyStore, shard: Shard
) -> None:
    await shard.write(seq=0, outbox=b"first")
    await shard.write(seq=1, outbox=b"second", trim_to=0)
    assert await store.outbox(7) == [(1, b"second")]


async def test_trimming_to_zero_is_not_trimming_nothing(store: AnyStore, shard: Shard) -> None:
    await shard.write(seq=0, outbox=b"first")
    await shard.write(seq=1, trim_to=-1)
    assert len(await store.outbox(7)) == 1
    await shard.write(seq=1, trim_to=0)
    assert await store.outbox(7) == []


async def test_an_empty_entry_is_an_entry(store: AnyStore, shard: Shard) -> None:
    await shard.write(seq=0, outbox=b"")
    assert await store.outbox(7) == [(0, b"")]


async def test_withheld_records_stay_until_they_are_dropped(store: AnyStore, shard: Shard) -> None:
    assert await store.withheld(7) == {}
    await shard.write(withheld={"d1": b"one", "d2": b"two"})
    await shard.write(withheld={"d3": b"three", "d1": b"one again"}, unwithheld=["d2", "d9"])
    assert await store.withheld(7) == {"d1": b"one again", "d3": b"three"}


async def test_withheld_and_dropped_in_one_commit_is_dropped(store: AnyStore, shard: Shard) -> None:
    await shard.write(withheld={"d1": b"one"}, unwithheld=["d1"])
    assert await store.withheld(7) == {}

"""Crashes and failovers: state and offset are never apart."""

import asyncio

import pytest

from engine.local.redis import RedisServer
from engine.ports import CommitStatus, GateAnswer, StoreUnavailable
from engine.store.redis import RedisStore
from tests.contract.store.shards import Shard
from tests.integration.store.conftest import OpenStore
from tests.services import FreshRedis
from tests.waiting import eventually

pytestmark = pytest.mark.service


def _acknowledges(primary: RedisServer) -> bool:
    """Write, and ask on the same connection whether a replica has it."""
    with primary.client() as client:
        client.set("probe", "written")
        return bool(client.execute_command("WAIT", 1, 1_000) == 1)


async def _write_for_ever(shard: Shard) -> None:
    """Every commit writes its offset into everything it can."""
    while True:
        mark = b"%d" % (shard.position.offset + 1)
        await shard.write(
            states={"ann": mark, "bob": mark},
            due={"ann": int(mark) + 1},
            journal={"ann": [mark]},
            funnel={"commits": 1},
            seq=int(mark),
            outbox=mark,
            trim_to=int(mark) - 1,
        )


async def _offset_of_whole_shard(store: RedisStore) -> int:
    """The stored offset, once everything else is seen to be of the same commit."""
    meta = await store.load_shard(7)
    assert meta is not None
    offset = meta.position.offset
    mark = b"%d" % offset
    assert await store.load_states(7, ["ann", "bob"]) == [mark, mark]
    assert meta.next_due == offset + 1
    assert (await store.journal(7, "ann"))[-1] == mark
    assert await store.funnel(7) == {"commits": offset + 1}
    assert await store.outbox(7) == [(offset, mark)]
    assert meta.next_seq == offset + 1
    return offset


@pytest.mark.parametrize("fsync", ["always", "everysec"])
async def test_a_killed_server_comes_back_with_whole_commits(
    fresh_redis: FreshRedis, fsync: str, open_store: OpenStore
) -> None:
    server = fresh_redis(appendfsync="always" if fsync == "always" else "everysec")
    store = open_store(server.url, retry_within_s=0.1)
    shard = Shard(store, 7)
    writing = asyncio.ensure_future(_write_for_ever(shard))
    await eventually(lambda: shard.position.offset > 200)
    server.kill()
    with pytest.raises(StoreUnavailable):
        await writing
    acknowledged = shard.position.offset
    server.start()
    offset = await _offset_of_whole_shard(store)
    if fsync == "always":
        assert acknowledged <= offset <= acknowledged + 1
    # The writer goes on from what is stored; the functions came back with the data.
    server.command("CONFIG", "RESETSTAT")
    meta = await store.load_shard(7)
    assert meta is not None
    shard.position = meta.position
    assert (await shard.write()).status is CommitStatus.OK
    assert "cmdstat_function|load" not in server.info("commandstats")


async def test_a_promoted_stale_replica_rolls_back_state_and_offset_together(
    fresh_redis: FreshRedis, open_store: OpenStore
) -> None:
    primary = fresh_redis()
    store = open_store(primary.url)
    replica = fresh_redis(replica_of=primary)
    await eventually(lambda: _acknowledges(primary))
    shard = Shard(store, 7)
    writing = asyncio.ensure_future(_write_for_ever(shard))
    await eventually(lambda: shard.position.offset > 100)
    await asyncio.to_thread(replica.promote)
    promoted_at = shard.position.offset
    # The old primary goes on accepting what nobody else will ever know.
    await eventually(lambda: shard.position.offset > promoted_at + 100)
    writing.cancel()
    await asyncio.gather(writing, return_exceptions=True)

    promoted = open_store(replica.url)
    offset = await _offset_of_whole_shard(promoted)
    assert 0 < offset < shard.position.offset
    # The zombie that still believes in the lost commits is refused, whoever it talks to.
    shard.store = promoted
    stale = await promoted.commit(shard.next(funnel={"commits": 1}))
    assert stale == (CommitStatus.GAP, (offset, 0), offset + 1)
    shard.position = stale.stored
    assert (await shard.write(states={"ann": b"again"})).status is CommitStatus.OK


async def test_a_claim_that_no_replica_knows_is_undone_and_waits(
    fresh_redis: FreshRedis, open_store: OpenStore
) -> None:
    primary = fresh_redis()
    replica = fresh_redis(replica_of=primary)
    await eventually(lambda: _acknowledges(primary))
    store = open_store(primary.url, replicas=1, replica_wait_ms=500)
    shard = Shard(store, 7)
    await shard.open("d1")
    await shard.open("d2")
    assert (await shard.claim("d1", 1_000)).answer is GateAnswer.SEND
    replica.pause()
    before = await store.dump(7)
    answers = await store.claim([shard.ask("d2", 2_000), shard.ask("gone", 2_000)])
    assert answers == [(GateAnswer.WAIT, 2_500, None), (GateAnswer.GONE, 0, None)]
    assert await store.dump(7) == before
    replica.resume()
    await eventually(lambda: _acknowledges(primary))
    assert (await shard.claim("d2", 3_000)).answer is GateAnswer.SEND


async def test_claims_acknowledged_by_a_replica_survive_its_promotion(
    fresh_redis: FreshRedis, open_store: OpenStore
) -> None:
    primary = fresh_redis()
    replica = fresh_redis(replica_of=primary)
    await eventually(lambda: _acknowledges(primary))
    store = open_store(primary.url, replicas=1, replica_wait_ms=2_000)
    shard = Shard(store, 7)
    ids = [f"d{number}" for number in range(50)]
    for delivery_id in ids:
        await shard.open(delivery_id)
    answers = await store.claim([shard.ask(delivery_id, 1) for delivery_id in ids])
    assert {answer.answer for answer in answers} == {GateAnswer.SEND}
    primary.kill()
    replica.promote()
    promoted = open_store(replica.url)
    again = await promoted.claim([shard.ask(delivery_id, 2) for delivery_id in ids])
    assert {answer.answer for answer in again} == {GateAnswer.WAIT}

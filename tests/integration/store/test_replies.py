"""Replies that are lost, late, or meant for somebody who has gone."""

import asyncio
import random

import pytest

from engine.local.redis import RedisServer
from engine.ports import CommitStatus, GateAnswer
from tests.contract.store.shards import Shard
from tests.integration.store.conftest import OpenStore
from tests.integration.store.proxy import Loss, LossyProxy

pytestmark = pytest.mark.service


@pytest.mark.parametrize("loss", ["close", "hang"])
async def test_a_commit_whose_reply_is_lost_is_applied_once_and_ok(
    redis_server: RedisServer, redis_url: str, loss: Loss, open_store: OpenStore
) -> None:
    async with LossyProxy(redis_server.port) as proxy:
        store = open_store(proxy.url, timeout_s=0.5)
        await store.wait_ready(5)
        shard = Shard(store, 7)
        assert (await shard.write(funnel={"matched": 1})).status is CommitStatus.OK
        proxy.lose(loss)
        result = await shard.write(funnel={"matched": 1}, journal={"ann": [b"armed"]})
        assert proxy.lost == 1
        assert result == (CommitStatus.OK, (1, 0), 0)
        assert await store.funnel(7) == {"matched": 2}
        assert await store.journal(7, "ann") == [b"armed"]


@pytest.mark.parametrize("loss", ["close", "hang"])
async def test_a_claim_whose_reply_is_lost_is_still_ours(
    redis_server: RedisServer, redis_url: str, loss: Loss, open_store: OpenStore
) -> None:
    async with LossyProxy(redis_server.port) as proxy:
        store = open_store(proxy.url, timeout_s=0.5)
        await store.wait_ready(5)
        shard = Shard(store, 7)
        for delivery_id in ("d1", "d2"):
            await shard.open(delivery_id)
        proxy.lose(loss)
        answers = await store.claim([shard.ask("d1", 1), shard.ask("d2", 2), shard.ask("d1", 3)])
        assert proxy.lost == 1
        assert [answer.answer for answer in answers] == ["SEND", "SEND", "WAIT"]
        assert len((await store.dump(7))["rings"]["ann"]) == 1 + 2
        assert (await shard.claim("d2", 4)).answer is GateAnswer.WAIT


async def test_a_cancelled_call_never_gives_its_reply_to_another(
    redis_server: RedisServer, redis_url: str, open_store: OpenStore
) -> None:
    store = open_store(redis_url, connections_max=2)
    await store.wait_ready(5)
    users = [f"user-{number}" for number in range(200)]
    # Replies longer than one read, so that a call is also cancelled in the middle of one.
    blobs = {user: user.encode() * 8_000 for user in users}
    shard = Shard(store, 7)
    for user in users:
        await shard.write(states={user: blobs[user]})
    choose = random.Random(7)
    await asyncio.gather(*(store.load_states(7, [user]) for user in users))
    connected = redis_server.info("stats")["total_connections_received"]
    for _ in range(5):
        tasks = {user: asyncio.ensure_future(store.load_states(7, [user])) for user in users}
        cancelled = set(choose.sample(users, 150))
        order = sorted(cancelled, key=lambda _: choose.random())
        for user in order:
            await asyncio.sleep(0)
            tasks[user].cancel()
        answers = await asyncio.gather(*tasks.values(), return_exceptions=True)
        was_cancelled = 0
        for user, answer in zip(tasks, answers, strict=True):
            if isinstance(answer, asyncio.CancelledError):
                assert user in cancelled
                was_cancelled += 1
            else:
                assert answer == [blobs[user]]
        assert was_cancelled > 0
    # Nobody had to throw a connection away: every exchange ran to its end. One is INFO's own.
    after = redis_server.info("stats")["total_connections_received"]
    assert int(after) == int(connected) + 1


async def test_a_cancelled_commit_is_applied_whole_or_not_at_all(
    redis_url: str, open_store: OpenStore
) -> None:
    store = open_store(redis_url)
    await store.wait_ready(5)
    shard = Shard(store, 7)
    applied = set()
    for turns in range(12):
        before = await store.load_shard(7)
        task = asyncio.ensure_future(shard.write(states={"ann": b"%d" % turns}))
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        # A reader on the same store may overtake the commit, so wait for it to be over.
        await store.aclose()
        after = await store.load_shard(7)
        moved = after != before
        applied.add(moved)
        if moved:
            assert after is not None
            assert await store.load_states(7, ["ann"]) == [b"%d" % turns]
            shard.position = after.position
    assert applied == {True, False}

"""A Redis that is away, full, busy, read-only, or without our functions."""

import asyncio
import threading

import pytest
import redis
from structlog.testing import capture_logs

from engine.local.ports import free_port
from engine.local.redis import RedisServer
from engine.ports import CommitStatus, StoreUnavailable
from engine.store import functions
from engine.store.errors import OtherFunctions, StoreBroken
from tests.contract.store.shards import Shard
from tests.integration.store.conftest import OpenStore
from tests.services import FreshRedis
from tests.waiting import eventually

pytestmark = pytest.mark.service


async def test_nobody_listening_is_unavailable(open_store: OpenStore) -> None:
    store = open_store(f"redis://127.0.0.1:{free_port()}", retry_within_s=0.2)
    with pytest.raises(StoreUnavailable, match="cannot be reached"):
        await store.load_shard(7)
    with pytest.raises(StoreUnavailable, match="cannot be reached"):
        await Shard(store, 7).claim("d1", 1)


async def test_waiting_for_a_server_ends_when_it_is_there_and_says_so_meanwhile(
    fresh_redis: FreshRedis, open_store: OpenStore
) -> None:
    server = fresh_redis()
    server.kill()
    store = open_store(server.url)
    with capture_logs() as logs:
        waiting = asyncio.ensure_future(store.wait_ready())
        await eventually(lambda: any(line["event"] == "store_waiting" for line in logs))
        assert not waiting.done()
        server.launch()
        await asyncio.wait_for(waiting, 20)
    assert (await Shard(store, 7).write()).status is CommitStatus.OK


async def test_waiting_for_a_server_ends_at_the_deadline(open_store: OpenStore) -> None:
    store = open_store(f"redis://127.0.0.1:{free_port()}")
    with pytest.raises(StoreUnavailable):
        await store.wait_ready(0.3)


async def test_a_restarted_server_is_found_again(
    fresh_redis: FreshRedis, open_store: OpenStore
) -> None:
    server = fresh_redis(appendfsync="always")
    store = open_store(server.url, retry_within_s=0.2)
    shard = Shard(store, 7)
    assert (await shard.write()).status is CommitStatus.OK
    server.kill()
    with pytest.raises(StoreUnavailable):
        await shard.write()
    server.start()
    assert (await shard.write()).status is CommitStatus.OK


async def test_a_stalled_server_is_unavailable_after_the_timeout(
    fresh_redis: FreshRedis, open_store: OpenStore
) -> None:
    server = fresh_redis()
    store = open_store(server.url, timeout_s=0.2, retry_within_s=0.2)
    shard = Shard(store, 7)
    await shard.write()
    server.pause()
    commit = shard.next(funnel={"matched": 1})
    with pytest.raises(StoreUnavailable, match="Timeout"):
        await store.commit(commit)
    server.resume()
    # The stalled server may still apply what it had received: sending it again stays right.
    assert (await store.commit(commit)).status is CommitStatus.OK
    assert await store.funnel(7) == {"matched": 1}


async def test_a_full_server_is_unavailable_and_changes_nothing(
    fresh_redis: FreshRedis, open_store: OpenStore
) -> None:
    server = fresh_redis()
    store = open_store(server.url)
    shard = Shard(store, 7)
    await shard.open("d1")
    before = await store.dump(7)
    server.command("CONFIG", "SET", "maxmemory", 1)
    with pytest.raises(StoreUnavailable, match="OOM"):
        await shard.write(states={"ann": b"state"}, funnel={"matched": 1})
    with pytest.raises(StoreUnavailable, match="OOM"):
        await shard.claim("d1", 1)
    assert await store.dump(7) == before
    server.command("CONFIG", "SET", "maxmemory", 0)
    assert (await shard.write()).status is CommitStatus.OK


async def test_a_replica_is_unavailable(fresh_redis: FreshRedis, open_store: OpenStore) -> None:
    primary = fresh_redis()
    store = open_store(primary.url)
    await Shard(store, 7).write()
    replica = fresh_redis(replica_of=primary)
    store = open_store(replica.url, retry_within_s=0.2)
    with pytest.raises(StoreUnavailable, match="READONLY"):
        await Shard(store, 7).write()


async def test_too_few_replicas_are_unavailable_and_change_nothing(
    fresh_redis: FreshRedis, open_store: OpenStore
) -> None:
    server = fresh_redis()
    store = open_store(server.url)
    await Shard(store, 7).write()
    server.command("CONFIG", "SET", "min-replicas-to-write", 1)
    with pytest.raises(StoreUnavailable, match="NOREPLICAS"):
        await Shard(store, 8).write(funnel={"matched": 1})
    assert await store.load_shard(8) is None


async def test_a_busy_server_is_unavailable(fresh_redis: FreshRedis, open_store: OpenStore) -> None:
    server = fresh_redis(settings={"busy-reply-threshold": "20"})
    store = open_store(server.url)
    await Shard(store, 7).write()

    def spin() -> None:
        with server.client(within_s=60) as client, pytest.raises(redis.ResponseError):
            client.eval("while true do end", 0)

    thread = threading.Thread(target=spin)
    thread.start()
    try:
        await eventually(lambda: _says_busy(server))
        with pytest.raises(StoreUnavailable, match="BUSY"):
            await Shard(store, 8).write()
    finally:
        server.command("SCRIPT", "KILL")
        thread.join()
    assert (await Shard(store, 8).write()).status is CommitStatus.OK


def _says_busy(server: RedisServer) -> bool:
    try:
        server.command("PING")
    except redis.ResponseError as error:
        return str(error).startswith("BUSY")
    return False


async def test_a_wrong_password_is_not_waited_for(
    fresh_redis: FreshRedis, open_store: OpenStore
) -> None:
    server = fresh_redis()
    store = open_store(server.url.replace("redis://", "redis://user:wrong@"))
    with pytest.raises(StoreBroken, match="refuses us"):
        await store.wait_ready()


async def test_functions_are_loaded_once_and_by_name_and_version(
    redis_url: str, open_store: OpenStore
) -> None:
    store = open_store(redis_url)
    await store.wait_ready(5)
    with redis.Redis.from_url(redis_url, decode_responses=True) as client:
        [library] = client.function_list(withcode=True)
    loaded = dict(zip(library[::2], library[1::2], strict=True))
    assert loaded["library_name"] == functions.LIBRARY
    assert loaded["library_code"] == functions.code()
    names = {dict(zip(f[::2], f[1::2], strict=True))["name"] for f in loaded["functions"]}
    assert names == {functions.COMMIT, functions.CLAIM, functions.RELEASE}
    await store.wait_ready(5)


async def test_many_processes_can_load_the_functions_at_once(
    redis_url: str, open_store: OpenStore
) -> None:
    stores = [open_store(redis_url) for _ in range(12)]
    await asyncio.gather(*(store.wait_ready(5) for store in stores))


async def test_flushed_functions_are_loaded_again_by_the_next_call(
    redis_server: RedisServer, redis_url: str, open_store: OpenStore
) -> None:
    store = open_store(redis_url)
    await store.wait_ready(5)
    shard = Shard(store, 7)
    await shard.open("d1")
    redis_server.command("FUNCTION", "FLUSH")
    assert (await shard.write(funnel={"matched": 1})).status is CommitStatus.OK
    redis_server.command("FUNCTION", "FLUSH")
    assert (await shard.claim("d1", 1)).answer == "SEND"
    redis_server.command("FUNCTION", "FLUSH")
    await store.release([shard.ask("d1", 1)])
    dump = await store.dump(7)
    assert dump["funnel"] == {"matched": 1}
    assert dump["ledger_claimed_ms"] == {}


async def test_a_library_with_other_code_is_refused_unless_it_is_to_be_replaced(
    redis_server: RedisServer, redis_url: str, open_store: OpenStore
) -> None:
    other = functions.code().replace("local RING_SPARE = 8", "local RING_SPARE = 9")
    assert other != functions.code()
    redis_server.command("FUNCTION", "LOAD", other)
    store = open_store(redis_url)
    with pytest.raises(OtherFunctions, match=functions.LIBRARY):
        await store.wait_ready()
    await store.wait_ready(5, replace_functions=True)
    await store.wait_ready(5)


async def test_a_process_of_another_release_goes_on_with_its_own_functions(
    redis_server: RedisServer,
    redis_url: str,
    open_store: OpenStore,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    old = open_store(redis_url)
    await old.wait_ready(5)
    names = (functions.LIBRARY, functions.COMMIT)
    shard = Shard(old, 7)
    assert (await shard.write(funnel={"matched": 1})).status is CommitStatus.OK
    newer = functions.stamped(functions.code().replace("RING_SPARE = 8", "RING_SPARE = 9"))
    redis_server.command("FUNCTION", "LOAD", newer)
    assert (await shard.write(funnel={"matched": 1})).status is CommitStatus.OK
    version = newer.partition("\n")[0].removeprefix("#!lua name=tripline_")
    assert f"tripline_{version}" not in names
    monkeypatch.setattr(functions, "COMMIT", f"tripline_commit_{version}")
    assert (await shard.write(funnel={"matched": 1})).status is CommitStatus.OK
    assert (await old.dump(7))["funnel"] == {"matched": 3}


async def test_a_foreign_value_under_our_key_is_broken_not_unavailable(
    redis_server: RedisServer, redis_url: str, open_store: OpenStore
) -> None:
    redis_server.command("SET", "{s7}:m", "not a hash")
    store = open_store(redis_url)
    with pytest.raises(StoreBroken, match="WRONGTYPE"):
        await store.load_shard(7)
    with pytest.raises(StoreBroken, match="WRONGTYPE"):
        await Shard(store, 7).write()

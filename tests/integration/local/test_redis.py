import sys
from pathlib import Path

import pytest
import redis
from redis.asyncio import Redis
from redis.asyncio.cluster import RedisCluster as ClusterClient

from engine.local.errors import MissingProgramError
from engine.local.ports import accepts
from engine.local.process import Child, ProcessIdentity
from engine.local.redis import SLOTS, RedisServer
from tests.services import FreshRedis, FreshRedisCluster
from tests.waiting import eventually

pytestmark = pytest.mark.service

_STARTS_A_REDIS = (
    "import pathlib, sys, time\n"
    "from engine.local.redis import RedisServer\n"
    "server = RedisServer(pathlib.Path(sys.argv[1]))\n"
    "server.start()\n"
    "print('started', server.child.pid, server.port, flush=True)\n"
    "time.sleep(600)\n"
)


async def test_a_written_key_is_read(redis_url: str) -> None:
    async with Redis.from_url(redis_url) as client:
        await client.set("key", "value")
        assert await client.get("key") == b"value"


async def test_each_test_finds_neither_keys_nor_functions(
    redis_server: RedisServer, request: pytest.FixtureRequest
) -> None:
    redis_server.command("SET", "key", "value")
    library = "#!lua name=lib\nredis.register_function('f', function() return 1 end)"
    redis_server.command("FUNCTION", "LOAD", library)
    assert redis_server.command("FCALL", "f", 0) == 1
    request.getfixturevalue("redis_url")
    assert redis_server.command("DBSIZE") == 0
    assert redis_server.command("FUNCTION", "LIST") == []


async def test_a_restart_and_a_kill_keep_the_data_and_the_port(fresh_redis: FreshRedis) -> None:
    server = fresh_redis()
    url = server.url
    server.command("SET", "one", 1)
    await server.restart_async()
    server.command("SET", "two", 2)
    server.kill()
    assert not accepts(server.port)
    server.start()
    assert server.url == url
    assert server.command("MGET", "one", "two") == ["1", "2"]


def test_without_the_append_only_file_a_kill_loses_the_data(fresh_redis: FreshRedis) -> None:
    server = fresh_redis(appendonly=False)
    server.command("SET", "one", 1)
    server.kill()
    server.start()
    assert server.command("GET", "one") is None


def test_the_server_runs_with_the_settings_that_were_asked_for(fresh_redis: FreshRedis) -> None:
    server = fresh_redis(appendfsync="always", settings={"maxmemory": "100mb"})
    names = ("appendfsync", "maxmemory-policy", "save", "maxmemory", "bind")
    assert server.command("CONFIG", "GET", *names) == {
        "appendfsync": "always",
        "maxmemory-policy": "noeviction",
        "save": "",
        "maxmemory": str(100 * 1024 * 1024),
        "bind": "127.0.0.1",
    }


async def test_a_paused_server_answers_nothing_until_it_is_resumed(
    fresh_redis: FreshRedis,
) -> None:
    server = fresh_redis()
    server.pause()
    with server.client(within_s=0.3) as client, pytest.raises(redis.TimeoutError):
        client.ping()
    server.resume()
    assert server.command("PING")


async def test_a_redis_dies_with_a_parent_that_is_killed(tmp_path: Path) -> None:
    log_path = tmp_path / "parent.log"
    parent = Child(
        "parent",
        [sys.executable, "-c", _STARTS_A_REDIS, str(tmp_path / "redis")],
        log_path=log_path,
    )
    parent.start()
    try:
        words = await eventually(lambda: _words_after("started", log_path))
        pid, port = map(int, words)
        server = ProcessIdentity.of(pid)
        assert server is not None
        assert accepts(port)
    finally:
        parent.kill()
    await eventually(lambda: not server.alive)
    assert not accepts(port)


def test_a_promoted_replica_has_the_data_takes_writes_and_stays_primary(
    fresh_redis: FreshRedis,
) -> None:
    primary = fresh_redis()
    primary.command("SET", "one", 1)
    replica = fresh_redis(replica_of=primary)
    assert replica.command("GET", "one") == "1"
    with pytest.raises(redis.ReadOnlyError):
        replica.command("SET", "two", 2)
    primary.kill()
    replica.promote()
    replica.command("SET", "two", 2)
    replica.restart()
    assert replica.info("replication")["role"] == "master"
    assert replica.command("MGET", "one", "two") == ["1", "2"]
    primary.start()
    primary.follow(replica)
    primary.wait_linked()
    assert primary.command("GET", "two") == "2"


def test_a_replica_that_writes_its_first_append_only_file_is_stopped_in_good_order(
    fresh_redis: FreshRedis,
) -> None:
    primary = fresh_redis()
    primary.command("MSET", *(word for n in range(400) for word in (f"key{n}", n)))
    # 5 ms a key: the file takes two seconds, in which Redis refuses TERM.
    replica = fresh_redis(replica_of=primary, settings={"rdb-key-save-delay": "5000"})
    assert replica.info("persistence")["aof_rewrite_in_progress"] == "1"
    replica.stop(within_s=10.0)
    assert replica.child.returncode == 0
    assert "can't exit" in replica.child.log_tail(200)


async def test_a_replica_acknowledges_a_write(fresh_redis: FreshRedis) -> None:
    primary = fresh_redis()
    replica = fresh_redis(replica_of=primary)
    with primary.client() as client:
        client.set("one", 1)
        assert client.execute_command("WAIT", 1, 5_000) == 1
        replica.pause()
        client.set("two", 2)
        assert client.execute_command("WAIT", 1, 100) == 0


async def test_a_cluster_serves_a_key_of_every_owner_and_keeps_it_over_a_restart(
    fresh_redis_cluster: FreshRedisCluster,
) -> None:
    cluster = fresh_redis_cluster()
    keys = {}
    async with ClusterClient.from_url(cluster.url) as client:
        for shard in range(64):
            key = f"state{{s{shard}}}"
            await client.set(key, shard)
            keys[cluster.node_of_slot(client.keyslot(key)).port] = (key, str(shard))
    assert keys.keys() == {node.port for node in cluster.nodes}
    cluster.kill()
    cluster.start()
    for node in cluster.nodes:
        key, value = keys[node.port]
        assert node.command("GET", key) == value
    assert cluster.node_of_slot(0) is cluster.nodes[0]
    assert cluster.node_of_slot(SLOTS - 1) is cluster.nodes[-1]


def test_a_missing_redis_is_answered_with_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MissingProgramError, match="redis-server is not installed: run `make"):
        RedisServer(tmp_path / "redis").start()


def _words_after(word: str, path: Path) -> list[str]:
    """The rest of the first whole line that begins with `word`; empty until it is there."""
    for line in path.read_text().splitlines(keepends=True):
        if line.startswith(f"{word} ") and line.endswith("\n"):
            return line.split()[1:]
    return []

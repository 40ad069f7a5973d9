"""A Redis Cluster whose slots move and whose nodes die."""

from typing import Any

import pytest
from redis.crc import key_slot

from engine.local.redis import RedisCluster, RedisServer
from engine.ports import CommitStatus, LedgerEntry, StoreUnavailable
from engine.store.errors import StoreBroken
from tests.contract.store.shards import Shard
from tests.integration.store.conftest import OpenStore
from tests.services import FreshRedisCluster
from tests.waiting import eventually

pytestmark = pytest.mark.service

SHARD = 7
SLOT = key_slot(b"{s7}")


def _url(cluster: RedisCluster) -> str:
    return cluster.url.replace("redis://", "redis+cluster://")


class Move:
    """The move of shard 7 to another node, step by step, as redis-cli does it."""

    def __init__(self, cluster: RedisCluster) -> None:
        self.source = cluster.node_of_slot(SLOT)
        self.target = next(node for node in cluster.nodes if node is not self.source)

    def begin(self) -> None:
        self._setslot(self.target, "IMPORTING", _id(self.source))
        self._setslot(self.source, "MIGRATING", _id(self.target))

    def carry(self, *keys: str) -> None:
        words = ("127.0.0.1", self.target.port, "", 0, 5_000, "KEYS")
        assert self.source.command("MIGRATE", *words, *keys) == "OK"

    def carry_all(self) -> None:
        self.carry(*self.source.command("CLUSTER", "GETKEYSINSLOT", SLOT, 10_000))

    def end(self) -> None:
        for node in (self.target, self.source):
            self._setslot(node, "NODE", _id(self.target))

    def _setslot(self, node: RedisServer, state: str, node_id: str) -> None:
        assert node.command("CLUSTER", "SETSLOT", SLOT, state, node_id) == "OK"


def _id(node: RedisServer) -> str:
    return str(node.command("CLUSTER", "MYID"))


def _values(node: RedisServer) -> dict[str, Any]:
    """Every key of the slot on this node, serialized."""
    keys: list[str] = node.command("CLUSTER", "GETKEYSINSLOT", SLOT, 10_000)
    with node.client() as client:
        client.connection_pool.connection_kwargs["decode_responses"] = False
        values = {}
        for key in keys:
            client.execute_command("ASKING")
            values[key] = client.execute_command("DUMP", key)
        return values


CHANGES: dict[str, Any] = {
    "states": {"ann": b"changed", "new": b"new", "bob": None},
    "due": {"ann": 0, "new": 9},
    "outbox": b"entry",
    "seq": 1,
    "trim_to": 0,
    "opened": [LedgerEntry("d2", "ann", 99)],
    "closed": ["d1"],
    "journal": {"new": [b"armed"]},
    "withheld": {"d9": b"record"},
    "funnel": {"matched": 1},
}


async def test_a_shard_on_the_move_waits_and_no_commit_is_ever_torn(
    fresh_redis_cluster: FreshRedisCluster, open_store: OpenStore
) -> None:
    cluster = fresh_redis_cluster()
    store = open_store(_url(cluster), retry_within_s=0.05)
    await store.wait_ready(10)
    shard = Shard(store, SHARD)
    await shard.write(
        states={"ann": b"state", "bob": b"state"},
        due={"ann": 5},
        outbox=b"first",
        opened=[LedgerEntry("d1", "ann", 99)],
    )
    move = Move(cluster)

    async def is_refused() -> None:
        held = _values(move.source), _values(move.target)
        with pytest.raises(StoreUnavailable):
            await shard.write(**CHANGES)
        with pytest.raises(StoreUnavailable):
            await shard.write()
        with pytest.raises(StoreUnavailable):
            await store.load_states(SHARD, ["ann", "nobody"])
        with pytest.raises(StoreUnavailable):
            await store.release([shard.ask("d1", 1)])
        with pytest.raises(StoreUnavailable):
            await shard.claim("d1", 1)
        assert (_values(move.source), _values(move.target)) == held

    move.begin()
    await is_refused()
    move.carry("{s7}:t", "{s7}:u:ann")
    await is_refused()
    move.carry("{s7}:m")
    await is_refused()
    move.carry_all()
    await is_refused()
    move.end()

    before = await store.dump(SHARD)
    assert before["states"] == {"ann": b"state", "bob": b"state"}
    assert (await shard.write(**CHANGES)).status is CommitStatus.OK
    assert (await store.dump(SHARD))["states"] == {"ann": b"changed", "new": b"new"}
    assert _values(move.source) == {}
    assert (await shard.claim("d2", 1)).answer == "SEND"


async def test_a_moved_shard_is_found_on_a_node_without_functions(
    fresh_redis_cluster: FreshRedisCluster, open_store: OpenStore
) -> None:
    cluster = fresh_redis_cluster()
    store = open_store(_url(cluster))
    await store.wait_ready(10)
    shard = Shard(store, SHARD)
    await shard.write(funnel={"matched": 1})
    await shard.open("d1")
    move = Move(cluster)
    move.begin()
    move.carry_all()
    move.end()
    move.target.command("FUNCTION", "FLUSH")
    answers = await store.claim([shard.ask("d1", 1), Shard(store, 1).ask("none", 1)])
    assert [answer.answer for answer in answers] == ["SEND", "GONE"]
    assert (await shard.write(funnel={"matched": 1})).status is CommitStatus.OK
    assert await store.funnel(SHARD) == {"matched": 2}


async def test_a_dead_node_makes_its_shards_unavailable_until_it_is_back(
    fresh_redis_cluster: FreshRedisCluster, open_store: OpenStore
) -> None:
    cluster = fresh_redis_cluster()
    store = open_store(_url(cluster), retry_within_s=0.2)
    await store.wait_ready(10)
    shard = Shard(store, SHARD)
    await shard.write(funnel={"matched": 1})
    dead = cluster.node_of_slot(SLOT)
    # While the disk is busy Redis answers before it has written to its log.
    await eventually(lambda: int(dead.info("persistence")["aof_buffer_length"]) == 0)
    dead.kill()
    with pytest.raises(StoreUnavailable, match="cannot be reached"):
        await shard.write()
    alive = next(node for node in cluster.nodes if node is not dead)
    await eventually(lambda: "cluster_state:fail" in alive.command("CLUSTER", "INFO"), within_s=30)
    others = [number for number in range(64) if cluster_owner(cluster, number, dead) is alive]
    with pytest.raises(StoreUnavailable, match="CLUSTERDOWN"):
        await Shard(store, others[0]).write()
    dead.start()
    await eventually(lambda: "cluster_state:ok" in alive.command("CLUSTER", "INFO"), within_s=30)
    await eventually(lambda: "cluster_state:ok" in dead.command("CLUSTER", "INFO"), within_s=30)
    assert (await shard.write(funnel={"matched": 1})).status is CommitStatus.OK
    assert await store.funnel(SHARD) == {"matched": 2}


def cluster_owner(cluster: RedisCluster, shard: int, dead: RedisServer) -> RedisServer:
    """The node of a shard, asked from a node that lives."""
    asked = next(node for node in cluster.nodes if node is not dead)
    slot = key_slot(b"{s%d}" % shard)
    for first, last, owner, *_ in asked.command("CLUSTER", "SLOTS"):
        if first <= slot <= last:
            return next(node for node in cluster.nodes if node.port == owner[1])
    raise AssertionError(f"nobody owns slot {slot}")


async def test_a_cluster_can_be_learned_from_any_of_several_addresses(
    fresh_redis_cluster: FreshRedisCluster, open_store: OpenStore
) -> None:
    cluster = fresh_redis_cluster()
    hosts = ",".join(f"127.0.0.1:{port}" for port in (1, cluster.nodes[2].port))
    store = open_store(f"redis+cluster://{hosts}")
    await store.wait_ready(10)
    for number in range(12):
        assert (await Shard(store, number).write()).status is CommitStatus.OK
    counts = [int(node.command("DBSIZE")) for node in cluster.nodes]
    assert sum(counts) == 12
    assert min(counts) > 0


async def test_a_cluster_node_used_as_a_single_server_says_what_to_do(
    fresh_redis_cluster: FreshRedisCluster, open_store: OpenStore
) -> None:
    cluster = fresh_redis_cluster()
    wrong = next(node for node in cluster.nodes if node is not cluster.node_of_slot(SLOT))
    store = open_store(wrong.url)
    with pytest.raises(StoreBroken, match=r"redis\+cluster://"):
        await store.load_shard(SHARD)

"""The stores under contract: in memory, in one Redis, in a Redis Cluster of three."""

from collections.abc import AsyncIterator, Iterator
from uuid import uuid4

import pytest

from engine.local.redis import RedisCluster
from engine.store.memory import MemoryStore
from engine.store.redis import RedisStore
from tests.contract.store.shards import AnyStore, Shard


@pytest.fixture(scope="session")
def cluster_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """One cluster for the session; stores keep apart by their prefix."""
    cluster = RedisCluster(tmp_path_factory.mktemp("store-cluster"))
    cluster.start()
    yield cluster.url.replace("redis://", "redis+cluster://")
    cluster.kill()


@pytest.fixture(
    params=[
        "memory",
        pytest.param("redis", marks=pytest.mark.service),
        pytest.param("cluster", marks=pytest.mark.service),
    ]
)
def store_url(request: pytest.FixtureRequest) -> str | None:
    """Where the store is; None is in memory."""
    if request.param == "memory":
        return None
    name = "redis_url" if request.param == "redis" else "cluster_url"
    return str(request.getfixturevalue(name))


@pytest.fixture
async def store(store_url: str | None) -> AsyncIterator[AnyStore]:
    """An empty store."""
    built: AnyStore = (
        MemoryStore() if store_url is None else RedisStore(store_url, f"{uuid4().hex}:")
    )
    yield built
    await built.aclose()


@pytest.fixture
def shard(store: AnyStore) -> Shard:
    """Shard 7 of the empty store."""
    return Shard(store, 7)

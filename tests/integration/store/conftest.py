"""Stores that are closed after the test, however it ends."""

from collections.abc import AsyncIterator
from typing import Any, Protocol

import pytest

from engine.store.redis import RedisStore


class OpenStore(Protocol):
    """Build a store; arguments are those of `RedisStore`."""

    def __call__(self, url: str, **settings: Any) -> RedisStore: ...


@pytest.fixture
async def open_store() -> AsyncIterator[OpenStore]:
    """See `OpenStore`."""
    opened: list[RedisStore] = []

    def build(url: str, **settings: Any) -> RedisStore:
        opened.append(RedisStore(url, **settings))
        return opened[-1]

    yield build
    for store in opened:
        await store.aclose()

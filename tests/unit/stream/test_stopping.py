"""A worker that is told to stop while a rebalance takes its partitions away."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from engine.stream import worker as module
from engine.stream.worker import Worker
from engine.tasks import spawn


class Actor:
    """A shard with a commit under way."""

    position = 7

    def __init__(self) -> None:
        self.may_stop = asyncio.Event()
        self.stopping = asyncio.Event()

    async def stop(self, within_s: float) -> None:
        self.stopping.set()
        await self.may_stop.wait()


class Consumer:
    """Faust's, whose thread has stopped: it answers nobody."""

    async def commit_for_dashboards(self, offsets: dict[Any, int]) -> None:
        if offsets:
            await asyncio.Event().wait()


@pytest.fixture
def worker(monkeypatch: pytest.MonkeyPatch) -> Worker:
    made = object.__new__(Worker)
    parts = {
        "_app": SimpleNamespace(store_consumer=Consumer()),
        "_actors": {},
        "_applied": {},
        "_epoch": 0,
        "_topics": SimpleNamespace(events="events"),
        "_health": SimpleNamespace(set=lambda *_: None),
        "_releasing": asyncio.Lock(),
    }
    for name, value in parts.items():
        setattr(made, name, value)
    silent = SimpleNamespace(owned=lambda _: None, given_up=lambda _: None)
    monkeypatch.setattr(module, "observed", silent)
    return made


async def test_a_stop_waits_for_the_release_that_a_rebalance_began(worker: Worker) -> None:
    actor = Actor()
    worker._actors = {0: actor}  # type: ignore[dict-item]
    revocation = spawn(worker._release_all(), "release")
    await actor.stopping.wait()
    stop = spawn(worker._release_all(), "release")
    done, _ = await asyncio.wait([stop], timeout=0.1)
    assert not done
    actor.may_stop.set()
    await asyncio.wait_for(asyncio.gather(revocation, stop), 5)


async def test_a_revocation_ends_though_the_consumer_answers_no_more(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "OFFSETS_WITHIN_S", 0.05)
    actor = Actor()
    actor.may_stop.set()
    worker._actors = {0: actor}  # type: ignore[dict-item]
    app: Any = worker._app
    await asyncio.wait_for(worker._revoked(app, signal=app), 5)

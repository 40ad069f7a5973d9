"""Profiles that become one while a history is played in log time.

Live, a merge takes two more records, and what the anonymous profile sends afterwards is forwarded:
they come later in the log than the events around them. In a history that would be another order
than the one it happened in. So the player stands still until the merge is applied, and sends later
events of the anonymous profile where they would be forwarded to.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from aiokafka import AIOKafkaConsumer, TopicPartition

from engine import clock
from engine.ports import ShardStore
from schemas.events import Event
from schemas.kinds import ORIGIN_HEADER, Kind, sealed_headers
from schemas.partitioner import partition_of
from schemas.topics import Topics
from triggers.merging import merge_of

#: Forwarded records name the partition they come from; the player is none.
PLAYER_ORIGIN: Final = -1
APPLIED_WITHIN_S: Final = 60.0
_ASK_EVERY_S: Final = 0.01


class MergeStalled(Exception):
    """The worker did not apply a merge in time."""


class Merges:
    """Who is who so far. `append_tick` puts a tick of a partition into the log."""

    def __init__(
        self,
        partitions: int,
        topics: Topics,
        secret: bytes,
        store: ShardStore,
        consumer: AIOKafkaConsumer,
        append_tick: Callable[[int, int], Awaitable[None]],
    ) -> None:
        self._partitions = partitions
        self._log = topics.events
        self._secret = secret
        self._store = store
        self._consumer = consumer
        self._append_tick = append_tick
        self._into: dict[str, str] = {}
        self._forwarded = 0

    def profile(self, event: Event) -> str:
        """The profile that decides about the event."""
        user = event.profile
        while user in self._into:
            user = self._into[user]
        return user

    def forwarded(self, user: str, partition: int, value: bytes) -> list[tuple[str, bytes]]:
        """The headers of an event that goes to another profile than its own."""
        self._forwarded += 1
        origin = f"{PLAYER_ORIGIN}:{self._forwarded}".encode()
        headers = sealed_headers(self._secret, Kind.FORWARD, partition, user.encode(), value)
        return [*headers, (ORIGIN_HEADER, origin)]

    async def follow(self, event: Event, user: str, a_ms: int) -> None:
        """After an event of `user`: wait until what it makes one is one. Raises MergeStalled."""
        pair = merge_of(event)
        if pair is None or pair[0] == user or self._into.get(pair[0]) == user:
            return
        self._into[pair[0]] = user
        known, anonymous = (partition_of(name, self._partitions) for name in (user, pair[0]))
        for partition in (known, anonymous, known):
            await self._quiet(partition, a_ms)

    async def _quiet(self, partition: int, a_ms: int) -> None:
        """Everything in the partition is applied, and all that followed from it is in the log."""
        deadline_s = clock.monotonic_s() + APPLIED_WITHIN_S
        log = TopicPartition(self._log, partition)
        while True:
            # A commit trims what is published: an empty outbox tells that nothing is under way.
            await self._append_tick(partition, a_ms)
            end = (await self._consumer.end_offsets([log]))[log]
            while True:
                meta = await self._store.load_shard(partition)
                if meta is not None and meta.position.offset >= end - 1:
                    break
                if clock.monotonic_s() > deadline_s:
                    raise MergeStalled(f"partition {partition} was not applied up to {end}")
                await asyncio.sleep(_ASK_EVERY_S)
            if not await self._store.outbox(partition):
                return

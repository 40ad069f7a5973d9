"""What becomes of each failure, and how often a command is tried."""

from collections.abc import Sequence
from typing import Any, cast

import pytest
from redis import exceptions as redis_errors

from engine.ports import StoreUnavailable
from engine.store.errors import StoreBroken
from engine.store.link import Address, Command, Link, LinkSettings, Reply
from engine.store.redis import RedisStore
from engine.store.routes import (
    Cluster,
    OneServer,
    Routes,
    as_store_error,
    slot_of,
    topology_of,
)

REFUSALS: list[tuple[Exception, type[Exception]]] = [
    (redis_errors.ConnectionError("Connection refused"), StoreUnavailable),
    (redis_errors.TimeoutError("Timeout reading"), StoreUnavailable),
    (ConnectionResetError("reset"), StoreUnavailable),
    (redis_errors.BusyLoadingError("Redis is loading", status_code="LOADING"), StoreUnavailable),
    (redis_errors.ReadOnlyError("a replica", status_code="READONLY"), StoreUnavailable),
    (redis_errors.ClusterDownError("down", status_code="CLUSTERDOWN"), StoreUnavailable),
    (redis_errors.OutOfMemoryError("full", status_code="OOM"), StoreUnavailable),
    (redis_errors.TryAgainError("moving", status_code="TRYAGAIN"), StoreUnavailable),
    (redis_errors.MovedError("1 h:1", status_code="MOVED"), StoreUnavailable),
    (redis_errors.AskError("1 h:1", status_code="ASK"), StoreUnavailable),
    (redis_errors.MasterDownError("no link", status_code="MASTERDOWN"), StoreUnavailable),
    (redis_errors.ResponseError("BUSY Redis is busy running a script"), StoreUnavailable),
    (redis_errors.ResponseError("MISCONF cannot write the snapshot"), StoreUnavailable),
    (redis_errors.ResponseError("NOREPLICAS Not enough good replicas"), StoreUnavailable),
    (redis_errors.ResponseError("Function not found"), StoreUnavailable),
    (redis_errors.AuthenticationError("wrong", status_code="WRONGPASS"), StoreBroken),
    (redis_errors.NoPermissionError("no", status_code="NOPERM"), StoreBroken),
    (redis_errors.ResponseError("WRONGTYPE Operation against a key"), StoreBroken),
    (redis_errors.ResponseError("ERR user_script:3: broken"), StoreBroken),
]


@pytest.mark.parametrize(("refusal", "kind"), REFUSALS, ids=lambda value: str(value)[:30])
def test_each_refusal_is_worth_waiting_for_or_not(
    refusal: Exception, kind: type[Exception]
) -> None:
    error = as_store_error(refusal)
    assert type(error) is kind
    assert (str(refusal) or getattr(refusal, "message", "")) in str(error)


class ScriptedLink:
    """Answers with what the test lists, then with b"fine" for ever."""

    address = Address("here", 1)

    def __init__(self, *script: Exception | list[Reply]) -> None:
        self.script = list(script)
        self.tries = 0
        self.sent: list[Command] = []
        self.dropped = 0

    async def exchange(self, commands: Sequence[Command]) -> list[Reply]:
        self.tries += 1
        self.sent += commands
        answer: Any = self.script.pop(0) if self.script else [b"fine"] * len(commands)
        if isinstance(answer, Exception):
            raise answer
        return list(answer)

    async def drop_connections(self) -> None:
        self.dropped += 1


class OneLink:
    """A topology of one scripted server."""

    def __init__(self, link: ScriptedLink) -> None:
        self.link = link
        self.doubts = 0
        self.moves: list[redis_errors.MovedError] = []

    async def owner(self, slot: int) -> Link:
        return cast(Link, self.link)

    async def primaries(self) -> list[Link]:
        return [cast(Link, self.link)]

    def moved(self, error: redis_errors.MovedError, asked: Link) -> None:
        self.moves.append(error)

    def doubt(self) -> None:
        self.doubts += 1

    async def aclose(self) -> None:
        pass


async def test_a_broken_connection_is_tried_again_at_once() -> None:
    topology = OneLink(ScriptedLink(redis_errors.ConnectionError("gone")))
    assert await Routes(topology, 5).send(0, [("GET", "a")]) == [b"fine"]
    assert (topology.link.tries, topology.doubts) == (2, 1)


async def test_the_whole_batch_is_sent_again_after_a_refusal_that_passes() -> None:
    moved = redis_errors.MovedError("1 h:1")
    topology = OneLink(ScriptedLink([b"one", moved]))
    routes = Routes(topology, 5)
    assert await routes.send(0, [("GET", "a"), ("GET", "b")]) == [b"fine", b"fine"]
    assert topology.moves == [moved]


async def test_a_server_that_became_read_only_is_connected_to_anew() -> None:
    topology = OneLink(ScriptedLink([redis_errors.ReadOnlyError("replica")]))
    assert await Routes(topology, 5).send(0, [("SET", "a", "b")]) == [b"fine"]
    assert (topology.link.dropped, topology.doubts) == (1, 1)


async def test_a_slot_on_the_move_is_waited_for_and_never_followed() -> None:
    ask, again = redis_errors.AskError("1 h:1"), redis_errors.TryAgainError("some keys")
    topology = OneLink(ScriptedLink([ask], [again]))
    assert await Routes(topology, 5).send(0, [("GET", "a")]) == [b"fine"]
    assert topology.link.sent == [("GET", "a")] * 3


async def test_tries_are_bounded() -> None:
    topology = OneLink(ScriptedLink(*[redis_errors.ConnectionError("gone")] * 100))
    with pytest.raises(StoreUnavailable, match="gone"):
        await Routes(topology, 60).send(0, [("GET", "a")])
    assert 2 <= topology.link.tries <= 10


@pytest.mark.parametrize(
    "refusal",
    [
        redis_errors.OutOfMemoryError("full"),
        redis_errors.ResponseError("BUSY a script"),
        redis_errors.NoPermissionError("no"),
        redis_errors.AuthenticationError("wrong"),
    ],
)
async def test_what_another_try_cannot_heal_is_tried_once(refusal: Exception) -> None:
    script: Any = refusal if isinstance(refusal, redis_errors.ConnectionError) else [refusal]
    topology = OneLink(ScriptedLink(script))
    with pytest.raises((StoreUnavailable, StoreBroken)):
        await Routes(topology, 5).send(0, [("GET", "a")])
    assert topology.link.tries == 1


async def test_batches_share_a_round_trip_and_failed_ones_are_sent_alone() -> None:
    failed = redis_errors.TryAgainError("moving")
    link = ScriptedLink([b"a", failed, b"c", 2])
    batches: list[tuple[int, list[Command]]] = [
        (0, [("GET", "a")]),
        (1, [("GET", "b")]),
        (2, [("GET", "c")]),
    ]
    answers = await Routes(OneLink(link), 5).send_batches(batches, ("WAIT", 1, 50))
    assert answers == [[b"a", 2], [b"fine", b"fine"], [b"c", 2]]
    assert link.tries == 2


async def test_urls_say_whether_it_is_a_cluster() -> None:
    assert isinstance(topology_of("redis://a:1", LinkSettings()), OneServer)
    assert isinstance(topology_of("rediss+cluster://u:p@a:1,b:2/", LinkSettings()), Cluster)
    with pytest.raises(ValueError, match="redis://"):
        topology_of("http://a:1", LinkSettings())


def test_all_keys_of_a_shard_are_in_one_slot() -> None:
    assert slot_of("{s7}:") == slot_of("any prefix:{s7}:") == slot_of("{s7}:u:{x}")
    assert slot_of("{s7}:") != slot_of("{s8}:")


@pytest.mark.parametrize("prefix", ["{", "a}", "{x}"])
def test_a_prefix_cannot_carry_a_hash_tag(prefix: str) -> None:
    with pytest.raises(ValueError, match="braces"):
        RedisStore("redis://a:1", prefix)

"""Random commits, claims and releases: Redis answers and holds what the memory store does."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from engine.local.redis import RedisServer
from engine.ports import START, Claim, Commit, LedgerEntry, Position
from engine.store.memory import MemoryStore
from engine.store.redis import RedisStore
from schemas.deliveries import CalendarCap, Limits
from triggers.effects import Reached

T = TypeVar("T")

USERS = st.sampled_from(["ann", "bob", "ünïcode", "a:b", ""])
DELIVERIES = st.sampled_from(["d1", "d2", "d3", "d4", "d5"])
#: Few values, close together, so that boundaries are met often.
TIMES = st.integers(0, 12)
BLOBS = st.binary(max_size=4)
POSITIONS = st.builds(Position, st.integers(-1, 3), st.integers(0, 2))
CAPS = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 8)), max_size=2)
CATEGORIES = st.sampled_from(["", "news", "offers"])
LIMITS = st.builds(
    Limits,
    cooldown_ms=st.integers(0, 4),
    spacing_ms=st.integers(0, 3),
    caps=CAPS,
    category=CATEGORIES,
    own_caps=CAPS,
    calendars=st.lists(
        st.builds(
            CalendarCap,
            max=st.integers(0, 3),
            own=st.booleans(),
            starts=st.lists(TIMES, min_size=1, max_size=4, unique=True).map(sorted),
        ),
        max_size=2,
    ),
)
CLAIMS = st.builds(
    Claim,
    shard=st.just(7),
    delivery_id=DELIVERIES,
    user=USERS,
    trigger=st.sampled_from(["cart", "idle"]),
    now_ms=TIMES,
    lease_ms=st.integers(1, 4),
    limits=LIMITS,
    counted=st.booleans(),
    after=st.integers(-1, 2),
    own=st.booleans(),
    closed_until_ms=TIMES,
)
REACHED = st.builds(
    Reached, USERS, DELIVERIES, st.sampled_from(["cart", "idle"]), TIMES, CATEGORIES
)
CHANGES = st.fixed_dictionaries(
    {"seq": st.integers(0, 5)},
    optional={
        "states": st.dictionaries(USERS, st.none() | BLOBS),
        "due": st.dictionaries(USERS, TIMES),
        "outbox": st.none() | BLOBS,
        "trim_to": st.integers(-1, 5),
        "opened": st.lists(st.builds(LedgerEntry, DELIVERIES, USERS, TIMES), max_size=4),
        "cancelled": st.lists(st.tuples(DELIVERIES, TIMES), max_size=3),
        "untrue": st.lists(st.tuples(DELIVERIES, TIMES), max_size=3),
        "refused": st.lists(st.tuples(DELIVERIES, TIMES), max_size=3),
        "closed": st.lists(DELIVERIES, max_size=2),
        "withheld": st.dictionaries(DELIVERIES, BLOBS),
        "unwithheld": st.lists(DELIVERIES, max_size=2),
        "forgotten": st.lists(USERS, max_size=2),
        "journal": st.dictionaries(USERS, st.lists(BLOBS, max_size=20)),
        "funnel": st.dictionaries(st.sampled_from("ab"), st.integers(-3, 3)),
        "forwarded": st.dictionaries(st.integers(0, 3), st.integers(0, 9)),
        "withhold_until": st.sampled_from([0, 0, 0, 3]),
        "reached": st.lists(REACHED, max_size=4),
        "given_back": st.lists(st.tuples(USERS, DELIVERIES), max_size=2),
        "ring_keep": st.integers(1, 10),
        "withdrawn": st.dictionaries(
            st.sampled_from(["cart", "x"]), st.just(((1, 5),)) | st.just(((1, 5), (2, 9)))
        ),
        "pending": st.dictionaries(st.sampled_from(["cart|1", "idle|2"]), st.integers(-2, 2)),
    },
)


class BothStores(RuleBasedStateMachine):
    """Does everything to both and compares every answer, and everything held after each step."""

    server: RedisServer

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.memory = MemoryStore()
        self.server.command("FLUSHALL")
        self.redis = RedisStore(self.server.url)
        self.position = START
        self.last: Commit | None = None
        self.number = 0

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(work)

    def commit(self, commit: Commit) -> None:
        expected = self.run(self.memory.commit(commit))
        assert self.run(self.redis.commit(commit)) == expected
        self.position = expected.stored

    @rule(changes=CHANGES, pages=st.booleans())
    def commit_next(self, changes: dict[str, Any], pages: bool) -> None:
        offset, page = self.position
        new = Position(offset, page + 1) if pages else Position(offset + 1, 0)
        self.number += 1
        self.last = Commit(7, 4, self.position, new, str(self.number), 5, 1, **changes)
        self.commit(self.last)

    @rule(changes=CHANGES, expected=POSITIONS, new=POSITIONS)
    def commit_anything(self, changes: dict[str, Any], expected: Position, new: Position) -> None:
        self.number += 1
        self.commit(Commit(7, 4, expected, new, str(self.number), 5, 1, **changes))

    @precondition(lambda self: self.last is not None)
    @rule()
    def commit_again(self) -> None:
        assert self.last is not None
        self.commit(self.last)

    @rule(claims=st.lists(CLAIMS, min_size=1, max_size=6))
    def claim(self, claims: list[Claim]) -> None:
        expected = self.run(self.memory.claim(claims))
        assert self.run(self.redis.claim(claims)) == expected

    @rule(claims=st.lists(CLAIMS, max_size=3))
    def release(self, claims: list[Claim]) -> None:
        self.run(self.memory.release(claims))
        self.run(self.redis.release(claims))

    @rule(users=st.lists(USERS, max_size=5), before_ms=TIMES, count_max=st.integers(1, 4))
    def read(self, users: list[str], before_ms: int, count_max: int) -> None:
        assert self.run(self.redis.load_shard(7)) == self.run(self.memory.load_shard(7))
        states = self.run(self.memory.load_states(7, users))
        assert self.run(self.redis.load_states(7, users)) == states
        due = self.run(self.memory.due_users(7, before_ms, count_max))
        assert self.run(self.redis.due_users(7, before_ms, count_max)) == due

    @invariant()
    def hold_the_same(self) -> None:
        held = self.run(self.redis.dump(7))
        held["ledger_token"] = {}  # names one claim call; the memory store has no lost replies
        assert held == self.run(self.memory.dump(7))

    def teardown(self) -> None:
        self.run(self.redis.aclose())
        self.runner.close()


@pytest.mark.service
def test_redis_and_memory_give_the_same_answers_to_random_histories(
    redis_server: RedisServer,
) -> None:
    class Machine(BothStores):
        server = redis_server

    run_state_machine_as_test(
        Machine,
        settings=settings(
            max_examples=30,
            stateful_step_count=20,
        ),
    )

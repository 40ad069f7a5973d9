"""deploy/redis as it is deployed: its settings, and users that can do their work and no more."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from redis.exceptions import AuthenticationError, NoPermissionError, RedisError

from engine.doctor import State, check_redis
from engine.local.ports import HOST, free_port
from engine.local.process import Child
from engine.ports import START, Claim, Commit, CommitStatus, GateAnswer, LedgerEntry, Position
from engine.settings import Settings
from engine.store import functions
from engine.store.errors import StoreBroken
from engine.store.redis import RedisStore
from schemas.deliveries import Limits
from tests.waiting import eventually

pytestmark = pytest.mark.service

DEPLOY = Path(__file__).parents[3] / "deploy" / "redis"
PASSWORDS = {"tripline": "engine-1", "tripline-loader": "loader-2", "admin": "admin-3"}


class Deployed:
    """A Redis started by deploy/redis/start.sh."""

    def __init__(self, directory: Path) -> None:
        self.port = free_port()
        self.child = Child(
            "redis",
            [
                str(DEPLOY / "start.sh"),
                *("--port", str(self.port), "--dir", str(directory), "--bind", HOST),
            ],
            log_path=directory / "redis.log",
            env={
                "ENGINE_PASSWORD": PASSWORDS["tripline"],
                "LOADER_PASSWORD": PASSWORDS["tripline-loader"],
                "ADMIN_PASSWORD": PASSWORDS["admin"],
                "SOURCE": str(DEPLOY),
                "USERS_FILE": str(directory / "users.acl"),
            },
        )

    def url(self, user: str) -> str:
        return f"redis://{user}:{PASSWORDS[user]}@{HOST}:{self.port}/0"

    def command(self, user: str, *words: str) -> Any:
        with redis.Redis.from_url(self.url(user), decode_responses=True) as client:
            return client.execute_command(*words)

    def answers(self) -> bool:
        try:
            return bool(self.command("admin", "PING"))
        except (RedisError, OSError):
            return False

    def load_functions(self) -> None:
        self.command("tripline-loader", "FUNCTION", "LOAD", "REPLACE", functions.code())


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployed]:
    deployed = Deployed(tmp_path_factory.mktemp("deployed"))
    deployed.child.start()
    try:
        asyncio.run(eventually(lambda: deployed.answers() or not deployed.child.alive))
        assert deployed.child.alive, deployed.child.log_tail()
        yield deployed
    finally:
        deployed.child.kill()


@pytest.fixture
def loaded(server: Deployed) -> Deployed:
    server.command("admin", "FLUSHALL")
    server.command("admin", "FUNCTION", "FLUSH")
    server.load_functions()
    return server


async def test_the_engine_can_do_all_its_work(loaded: Deployed) -> None:
    store = RedisStore(loaded.url("tripline"))
    try:
        await store.wait_ready(10)
        assert await store.load_shard(3) is None
        commit = Commit(
            shard=3,
            partitions=8,
            expected=START,
            new=Position(0, 0),
            commit_id="c1",
            watermark_ms=1,
            registry=1,
            seq=0,
            states={"u": b"state", "gone": b"x"},
            due={"u": 50},
            outbox=b"entry",
            opened=[LedgerEntry("d1", "u", 10_000), LedgerEntry("d2", "u", 10_000)],
            withheld={"d9": b"kept"},
            journal={"u": [b"armed"]},
            funnel={"t|1": 2},
            forwarded={1: 7},
        )
        assert (await store.commit(commit)).status is CommitStatus.OK
        claim = Claim(3, "d1", "u", "t", 100, 1_000, Limits())
        assert (await store.claim([claim]))[0].answer is GateAnswer.SEND
        await store.release([claim])
        second = Commit(
            shard=3,
            partitions=8,
            expected=Position(0, 0),
            new=Position(1, 0),
            commit_id="c2",
            watermark_ms=2,
            registry=1,
            seq=1,
            states={"gone": None},
            due={"u": 0},
            trim_to=0,
            cancelled=[("d2", 60)],
            closed=["d1"],
            unwithheld=["d9"],
            journal={"u": [b"fired"]},
            funnel={"t|1": 1},
        )
        assert (await store.commit(second)).status is CommitStatus.OK
        assert await store.load_states(3, ["u", "gone"]) == [b"state", None]
        assert await store.due_users(3, 100, 10) == []
        assert await store.outbox(3) == []
        assert await store.withheld(3) == {}
        assert await store.journal(3, "u") == [b"armed", b"fired"]
        assert await store.funnel(3) == {"t|1": 3}
        meta = await store.load_shard(3)
        assert meta is not None
        assert meta.position == Position(1, 0)
    finally:
        await store.aclose()


async def test_the_doctor_finds_nothing_wrong_with_the_rights_of_the_engine(
    loaded: Deployed,
) -> None:
    checks = await check_redis(Settings(redis_url=loaded.url("tripline")), 5)
    assert [check for check in checks if check.state is not State.OK] == []


async def test_the_gate_may_wait_for_replicas(loaded: Deployed) -> None:
    assert loaded.command("tripline", "WAIT", "0", "1") == 0


@pytest.mark.parametrize(
    "words",
    [
        "EVAL 1 0",
        "FUNCTION LOAD x",
        "FUNCTION FLUSH",
        "FLUSHALL",
        "KEYS *",
        "SCAN 0",
        "CONFIG GET maxmemory",
        "ACL LIST",
        "SHUTDOWN",
        "REPLICAOF NO ONE",
        "GET other",
        "SET other 1",
    ],
)
async def test_the_engine_can_do_nothing_else(loaded: Deployed, words: str) -> None:
    with pytest.raises(NoPermissionError):
        loaded.command("tripline", *words.split())


@pytest.mark.parametrize("words", ["GET {s1}:m", "FUNCTION FLUSH", "FCALL x 0", "CONFIG GET dir"])
async def test_the_loader_can_only_load(loaded: Deployed, words: str) -> None:
    with pytest.raises(NoPermissionError):
        loaded.command("tripline-loader", *words.split())


async def test_nobody_gets_in_without_a_login(loaded: Deployed) -> None:
    with (
        redis.Redis(host=HOST, port=loaded.port) as client,
        pytest.raises(AuthenticationError),
    ):
        client.ping()


async def test_an_engine_without_loaded_functions_says_so_at_once(loaded: Deployed) -> None:
    loaded.command("admin", "FUNCTION", "FLUSH")
    store = RedisStore(loaded.url("tripline"))
    try:
        with pytest.raises(StoreBroken, match=r"function\|load"):
            await store.wait_ready(5)
    finally:
        await store.aclose()


async def test_the_settings_are_the_ones_that_keep_states(loaded: Deployed) -> None:
    def setting(name: str) -> str:
        return str(loaded.command("admin", "CONFIG", "GET", name)[name])

    assert setting("maxmemory-policy") == "noeviction"
    assert setting("appendonly") == "yes"
    assert setting("appendfsync") == "everysec"
    assert setting("protected-mode") == "yes"


async def test_a_password_that_would_break_the_users_file_is_refused(tmp_path: Path) -> None:
    child = Child(
        "redis",
        [str(DEPLOY / "start.sh")],
        log_path=tmp_path / "log",
        env={"ENGINE_PASSWORD": "a/b", "LOADER_PASSWORD": "x", "ADMIN_PASSWORD": "y"},
    )
    child.start()
    await eventually(lambda: not child.alive)
    assert child.returncode == 2
    assert "passwords may hold" in (tmp_path / "log").read_text()

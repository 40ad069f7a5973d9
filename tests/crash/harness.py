"""A scenario: the whole engine as real processes under load, something breaks, all is checked.

`World` owns the processes of one scenario: workers, senders, the stand-in providers and the load.
Kafka and Redis come from fixtures. A scenario starts the world, lets the load flow, breaks things,
waits with `recovered` until whatever stood in the log at that moment is decided, and ends with
`finish`: the load stops, the world comes to rest, all roles stop in good order, and
`tests.crash.checker` looks at what they left behind.
"""

import asyncio
import sys
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from pydantic import SecretStr

from engine import clock
from engine.kafka_client import client_options
from engine.local.kafka import KafkaBroker
from engine.local.ports import free_port
from engine.local.process import Child
from engine.local.redis import RedisServer
from engine.ports import ShardMeta, StoreUnavailable
from engine.registry.operations import Signature, open_to_write
from engine.registry.reader import RegistryReader
from engine.settings import Settings
from engine.standins.certificates import KEY_ID, TEAM_ID, TOPIC, Material
from engine.store.digest import canonical, digest_of
from engine.store.redis import RedisStore
from engine.stream.shard import ShardSettings
from engine.stream.worker import ReaderPrograms
from engine.topics import ensure_topics
from schemas.topics import Topics
from tests.crash import triggers
from tests.crash.checker import check
from tests.crash.evidence import gather
from tests.crash.findings import Allowance, Findings
from tests.crash.load import Sent
from tests.crash.logs import read_all
from tests.crash.roles import READY_S, REPOSITORY, Role, until
from tests.pure import pure_run
from tests.waiting import eventually

PARTITIONS = 8
USERS = 2_400
RATE = 2_300
RATE_MIN = 2_000
SESSION_TIMEOUT_S = 6.0
HEARTBEAT_S = 1.5
REQUEST_TIMEOUT_S = 3.0
IN_FLIGHT_MAX = 100
GENERATION_S = 60.0
SETTLED_S = 180.0
SECRET = "a secret of the crash tests"


@dataclass(slots=True)
class Timings:
    """What the report line shows beside the findings."""

    recoveries_s: list[float] = field(default_factory=list)
    phases: list[str] = field(default_factory=list)
    phase_began_s: float = field(default_factory=clock.monotonic_s)


class World:
    """The processes of one scenario. Make one with `world`."""

    def __init__(
        self, kafka: KafkaBroker, redis: RedisServer, directory: Path, prefix: str
    ) -> None:
        self.kafka, self.redis = kafka, redis
        self.directory = directory
        self.settings = Settings(
            kafka_servers=kafka.servers,
            redis_url=redis.url,
            topic_prefix=prefix,
            group=f"{prefix}g",
            partitions=PARTITIONS,
            log_secret=SecretStr(SECRET),
        )
        self.topics = Topics(prefix)
        self.store = RedisStore(redis.url, timeout_s=2.0, retry_within_s=0.0)
        self.workers: list[Role] = []
        self.senders: list[Role] = []
        self.timings = Timings()
        self.seed = 1
        self.opens_ms = 0
        self.loaded_ms = 0
        self._unrest = ""
        self._probe = AIOKafkaConsumer(**client_options(self.settings), group_id=None)
        self._standins: Child | None = None
        self._load: Child | None = None
        self._env: dict[str, str] = {}

    # --- starting

    async def start(self, *, senders: int = 1, failpoints: Sequence[str] = ("", "")) -> None:
        """Topics, definitions, providers, a worker for each of `failpoints` (at which it is to
        die), senders; returns when all are ready."""
        await ensure_topics(self.settings)
        await self._probe.start()
        await self._start_standins()
        await self.store.wait_ready(READY_S)
        async with open_to_write(self.settings, READY_S) as registry:
            self.opens_ms = triggers.opening_ms(clock.now_ms())
            plan = registry.plan(triggers.definitions(self.opens_ms), triggers.policies())
            await registry.put_in_force(plan, Signature("crash tests"))
        for number in range(len(failpoints)):
            self.workers.append(self._role("worker", f"worker-{number}"))
        for number in range(senders):
            self.senders.append(self._role("deliver", f"sender-{number}"))
        for worker, failpoint in zip(self.workers, failpoints, strict=True):
            worker.start(failpoint)
        for sender in self.senders:
            sender.start()
        await asyncio.gather(*(role.ready() for role in (*self.workers, *self.senders)))
        self._phase("start")

    async def pause(self, trigger_id: str) -> None:
        """Pause a trigger: a new version of the registry."""
        async with open_to_write(self.settings, READY_S) as registry:
            await registry.pause(trigger_id, Signature("crash tests"))

    async def resume(self, trigger_id: str) -> None:
        """Resume a trigger: a new version of the registry."""
        async with open_to_write(self.settings, READY_S) as registry:
            await registry.resume(trigger_id, Signature("crash tests"))

    def _role(self, command: str, name: str) -> Role:
        return Role(command, name, self.directory, self._env)

    async def _start_standins(self) -> None:
        keys = self.directory / "keys"
        log_path = self.directory / "standins.log"
        fcm, apns = free_port(), free_port()
        argv = [sys.executable, "-m", "engine.standins", "--dir", str(keys)]
        argv += ["--fcm-port", str(fcm), "--apns-port", str(apns), "--control-port", "0"]
        argv += ["--log", str(self.standin_journal)]
        self._standins = Child("standins", argv, log_path=log_path, cwd=REPOSITORY)
        self._standins.start()
        await eventually(lambda: "ready" in log_path.read_text(), within_s=READY_S)
        material = Material(keys)
        settings = self.settings
        self._env = {
            "TRIPLINE_KAFKA_SERVERS": settings.kafka_servers,
            "TRIPLINE_REDIS_URL": settings.redis_url,
            "TRIPLINE_REDIS_TIMEOUT_S": "2",
            "TRIPLINE_TOPIC_PREFIX": settings.topic_prefix,
            "TRIPLINE_GROUP": settings.group,
            "TRIPLINE_PARTITIONS": str(settings.partitions),
            "TRIPLINE_LOG_SECRET": SECRET,
            "TRIPLINE_LOG_FORMAT": "json",
            "TRIPLINE_SESSION_TIMEOUT_S": str(SESSION_TIMEOUT_S),
            "TRIPLINE_HEARTBEAT_S": str(HEARTBEAT_S),
            "TRIPLINE_REQUEST_TIMEOUT_S": str(REQUEST_TIMEOUT_S),
            "TRIPLINE_IN_FLIGHT_MAX": str(IN_FLIGHT_MAX),
            "TRIPLINE_STANDINS_ALLOWED": "true",
            "TRIPLINE_FCM_SERVICE_ACCOUNT_FILE": str(material.service_account),
            "TRIPLINE_FCM_BASE_URL": f"http://127.0.0.1:{fcm}",
            "TRIPLINE_APNS_KEY_FILE": str(material.apns_key),
            "TRIPLINE_APNS_KEY_ID": KEY_ID,
            "TRIPLINE_APNS_TEAM_ID": TEAM_ID,
            "TRIPLINE_APNS_TOPIC": TOPIC,
            "TRIPLINE_APNS_HOST": "localhost",
            "TRIPLINE_APNS_PORT": str(apns),
            "TRIPLINE_PROVIDER_CA_FILE": str(material.ca),
        }

    @property
    def standin_journal(self) -> Path:
        """Where the providers write down what they were asked."""
        return self.directory / "pushes.jsonl"

    # --- load

    async def start_load(self, seed: int = 1) -> None:
        """Returns once the log grows."""
        self.seed = seed
        argv = [sys.executable, "-m", "tests.crash.load", "--servers", self.kafka.servers]
        argv += ["--topic", self.topics.events, "--partitions", str(PARTITIONS)]
        argv += ["--seed", str(seed), "--rate", str(RATE), "--users", str(USERS)]
        argv += ["--generation-s", str(GENERATION_S), "--out", str(self.directory / "sent.json")]
        self._load = Child("load", argv, log_path=self.directory / "load.log", cwd=REPOSITORY)
        before = sum((await self.ends()).values())
        self.loaded_ms = clock.now_ms()
        self._load.start()
        await self.grown(1, before)

    async def grown(self, records: int, since: int | None = None, within_s: float = 90.0) -> None:
        """Wait until the log holds `records` more than `since` (default: now)."""
        start = sum((await self.ends()).values()) if since is None else since

        async def probe() -> bool:
            assert self._load is not None
            assert self._load.alive, self._load.log_tail()
            return sum((await self.ends()).values()) >= start + records

        await until(probe, within_s=within_s, every_s=0.1)

    async def stop_load(self) -> Sent:
        """What it sent; every record is acknowledged."""
        assert self._load is not None
        status = await asyncio.to_thread(self._load.stop, 60.0)
        assert status == 0, self._load.log_tail()
        return msgspec.json.decode((self.directory / "sent.json").read_bytes(), type=Sent)

    # --- looking

    async def ends(self) -> dict[int, int]:
        """The end offset of each partition of the log."""
        partitions = [TopicPartition(self.topics.events, n) for n in range(PARTITIONS)]
        ends = await self._probe.end_offsets(partitions)
        return {tp.partition: offset for tp, offset in ends.items()}

    async def metas(self) -> dict[int, ShardMeta | None]:
        """Where each shard stands."""
        shards = range(PARTITIONS)
        found = await asyncio.gather(*(self.store.load_shard(shard) for shard in shards))
        return dict(zip(shards, found, strict=True))

    async def lag(self, ends: dict[int, int]) -> int:
        """Records below `ends` that are not decided yet."""
        metas = await self.metas()
        return sum(
            max(0, end - (meta.position.offset + 1 if meta else 0))
            for (_, end), meta in zip(sorted(ends.items()), metas.values(), strict=True)
        )

    async def recovered(self, since_s: float | None = None, within_s: float = 120.0) -> float:
        """Wait until everything that is in the log now is decided; seconds since `since_s`."""
        began_s = clock.monotonic_s() if since_s is None else since_s
        ends = await self.ends()

        async def probe() -> bool:
            self._all_live()
            try:
                return await self.lag(ends) == 0
            except StoreUnavailable:
                return False

        await until(probe, within_s=within_s, every_s=0.1)
        self.timings.recoveries_s.append(clock.monotonic_s() - began_s)
        return self.timings.recoveries_s[-1]

    def _all_live(self) -> None:
        for role in (*self.workers, *self.senders):
            role.must_live()

    # --- the end

    async def finish(self, allowance: Allowance | None = None, *, rate: bool = True) -> Findings:
        """Stop the load, come to rest, stop every role, check everything, print one line."""
        self._phase("load")
        sent = await self.stop_load()
        if rate:
            assert sent.rate >= RATE_MIN, f"the load made only {sent.rate:.0f} records/s"
        await self.at_rest(bool(self.senders))
        self._phase("rest")
        await asyncio.gather(*(role.stop() for role in (*self.workers, *self.senders)))
        self._phase("stop")
        assert self._standins is not None
        await asyncio.to_thread(self._standins.stop)
        assert await self.lag(await self.ends()) == 0, "something was appended at the very end"
        findings = await self._check(allowance or Allowance(senders=bool(self.senders)))
        assert findings.events == sent.records, "the load itself was lost or written twice"
        self._report(sent, findings)
        return findings

    async def at_rest(self, senders: bool) -> None:
        """Wait until nothing is under way: all applied, no timer due, nothing withheld, and with
        senders no delivery open and no lane unread. Twice in a row, because outcomes move the log.
        """
        calm = 0

        async def probe() -> bool:
            nonlocal calm
            self._all_live()
            restless = await self._restless(senders)
            calm = 0 if restless else calm + 1
            self._unrest = restless
            return calm >= 2

        try:
            await until(probe, within_s=SETTLED_S, every_s=0.3)
        except AssertionError as error:
            raise AssertionError(f"not at rest within {SETTLED_S:g} s: {self._unrest}") from error

    async def _restless(self, senders: bool) -> str:
        lag = await self.lag(await self.ends())
        if lag:
            return f"{lag} records are not decided"
        now_ms = clock.now_ms()
        for shard, meta in (await self.metas()).items():
            if meta is not None and 0 < meta.next_due <= now_ms:
                return f"shard {shard} has a timer due since {now_ms - meta.next_due} ms"
            if meta is not None and meta.withhold_until:
                return f"shard {shard} withholds deliveries until {meta.withhold_until}"
        if not senders:
            return ""
        open_entries = await asyncio.to_thread(self._count_keys, "*}:d:*")
        if open_entries:
            return f"{open_entries} deliveries have no outcome"
        return await self._unread_lanes()

    def _count_keys(self, pattern: str) -> int:
        with self.redis.client() as client:
            return sum(1 for _ in client.scan_iter(match=pattern, count=2_000))

    async def _unread_lanes(self) -> str:
        """Committed offsets of every lane against its end."""
        admin = AIOKafkaAdminClient(**client_options(self.settings))
        await admin.start()
        try:
            for lane, topic in self.topics.lanes.items():
                group = f"{self.settings.group}.deliver.{lane}"
                committed = await admin.list_consumer_group_offsets(group)
                wanted = [TopicPartition(topic, n) for n in range(PARTITIONS)]
                ends = await self._probe.end_offsets(wanted)
                for tp, end in ends.items():
                    found = committed.get(tp)
                    if end and (found is None or found.offset < end):
                        return f"{topic} {tp.partition} is read to {found} of {end}"
            return ""
        finally:
            await admin.close()

    async def _check(self, allowance: Allowance) -> Findings:
        written = await read_all(self.settings)
        self._phase("read")
        reader = RegistryReader(client_options(self.settings), self.topics.registry)
        await reader.start()
        try:
            settings = ShardSettings(PARTITIONS, self.topics, SECRET.encode())
            pure = await pure_run(written.events, ReaderPrograms(reader), settings, self.seed)
        finally:
            await reader.stop()
        self._phase("pure")
        shards = range(PARTITIONS)
        dumps: dict[int, dict[str, Any]] = {s: await self.store.dump(s) for s in shards}
        live = {s: await canonical(self.store, s) for s in shards}
        digests = {s: await digest_of(self.store, s) for s in shards}
        self._phase("dump")
        evidence = gather(written, self.standin_journal, dumps, live, digests, pure, self.opens_ms)
        findings = check(evidence, allowance)
        self._phase("check")
        return findings

    def _phase(self, name: str) -> None:
        """Note how long what came before took."""
        now_s = clock.monotonic_s()
        self.timings.phases.append(f"{name} {now_s - self.timings.phase_began_s:.1f}")
        self.timings.phase_began_s = now_s

    def _report(self, sent: Sent, found: Findings) -> None:
        outcomes = _listed(found.outcomes)
        recoveries = "/".join(f"{seconds:.1f}" for seconds in self.timings.recoveries_s)
        print(
            f"\n{self.settings.topic_prefix}: {sent.rate:.0f} events/s, {found.events} events of "
            f"{sent.users} users; {found.expected} activations decided, {found.cancelled} "
            f"cancelled, {found.admitted} admitted, {found.accepted} accepted ({outcomes}); "
            f"refused {_listed(found.refused)}, for one reason alone {_listed(found.only_for)}; "
            f"ghosts {_listed(found.ghosts)}; held {found.held}, {found.released} of them until "
            f"their hours opened; {found.merges} merges; "
            f"accepted twice {found.twice}, accepted and ended otherwise {found.misled}, "
            f"in flight at kill {found.unknown}; published again "
            f"{found.repeats}+{found.again}; "
            f"dead letters {found.dead_letters}; recovered in "
            f"{recoveries or '-'} s; took {', '.join(self.timings.phases)} s"
        )

    async def aclose(self) -> None:
        """End whatever still runs."""
        for child in (self._load, self._standins):
            if child is not None:
                child.kill()
        for role in (*self.workers, *self.senders):
            role.kill()
        await self._probe.stop()
        await self.store.aclose()


def _listed(counted: Counter[str]) -> str:
    return " ".join(f"{name}={n}" for name, n in sorted(counted.items())) or "-"


@asynccontextmanager
async def world(
    kafka: KafkaBroker, redis: RedisServer, directory: Path, prefix: str
) -> AsyncIterator[World]:
    """A world that is gone afterwards."""
    made = World(kafka, redis, directory, prefix)
    try:
        yield made
    finally:
        await made.aclose()

"""What `tripline doctor` looks at: each check is a function that finds out and changes nothing.

A `Check` is one fact with its state. `examine` runs all of them against the real services; what it
cannot reach is `unreachable`, and what depends on that is left out.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping
from enum import StrEnum
from typing import Any, Final, NamedTuple

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import KafkaError
from redis.exceptions import AuthenticationError, RedisError, ResponseError

from engine import clock
from engine.kafka_client import client_options
from engine.settings import Settings, variable
from engine.store import functions
from engine.store.link import Link, LinkSettings
from engine.store.routes import topology_of
from engine.topics import TopicFinding, admin_client, inspect_topics
from schemas.topics import Topics

REDIS_VERSION_MIN: Final = (7, 0)
SKEW_WARN_MS: Final = 250
SKEW_FAIL_MS: Final = 2_000
_NEWEST_WITHIN_MS: Final = 2_000


class State(StrEnum):
    """`WARN` is worth a look and stops nothing; `FAIL` must be put right."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"
    REFUSED = "refused"
    UNREACHABLE = "unreachable"


class Check(NamedTuple):
    """One fact. `detail` says what was found and, unless it is fine, what to do."""

    name: str
    state: State
    detail: str


async def examine(settings: Settings, timeout_s: float) -> list[Check]:
    """All checks; each service gets `timeout_s`. Never raises for what is wrong out there."""
    checks = list(check_secrets(settings))
    checks += await asyncio.to_thread(check_credentials, settings)
    kafka = _bounded("kafka", settings.kafka_servers, check_kafka, settings, timeout_s)
    redis = _bounded("redis", settings.redis_address, check_redis, settings, timeout_s)
    for found in await asyncio.gather(kafka, redis):
        checks += found
    return checks


async def _bounded(
    name: str,
    where: str,
    check: Callable[[Settings, float], Awaitable[list[Check]]],
    settings: Settings,
    timeout_s: float,
) -> list[Check]:
    try:
        async with asyncio.timeout(timeout_s):
            return await check(settings, timeout_s)
    except AuthenticationError as error:
        return [Check(name, State.REFUSED, f"{where}: {error}")]
    except ResponseError as error:
        # NOPERM names the command; NOAUTH says that a password is asked for.
        refused = str(error).startswith(("NOPERM", "NOAUTH"))
        return [Check(name, State.REFUSED if refused else State.FAIL, f"{where}: {error}")]
    except TimeoutError:
        return [Check(name, State.UNREACHABLE, f"{where}: no answer within {timeout_s:g} s")]
    except (KafkaError, RedisError, OSError) as error:
        words = str(error) or type(error).__name__
        return [Check(name, State.UNREACHABLE, f"{where}: {words}")]


def check_secrets(settings: Settings) -> Iterator[Check]:
    """Whether the secrets are set; never which."""
    if settings.log_secret is None:
        yield Check("secret", State.FAIL, f"set {variable('log_secret')}: worker and deliver seal")
    else:
        yield Check("secret", State.OK, f"{variable('log_secret')} is set")


def check_credentials(settings: Settings) -> list[Check]:
    """Whether the providers' credentials can be used, without asking the providers."""
    checks = []
    if settings.fcm_service_account_file is not None:
        checks.append(_tried("fcm", variable("fcm_service_account_file"), _fcm, settings))
    if settings.apns_key_file is not None:
        checks.append(_tried("apns", variable("apns_key_file"), _apns, settings))
    if not checks:
        names = f"{variable('fcm_service_account_file')} or {variable('apns_key_file')}"
        checks.append(Check("providers", State.WARN, f"none: nothing can be sent; set {names}"))
    return checks


def _tried(name: str, given_by: str, use: Callable[[Settings], str], settings: Settings) -> Check:
    try:
        return Check(name, State.OK, use(settings))
    except (OSError, ValueError, TypeError) as error:
        # The library's words may quote the key.
        return Check(name, State.FAIL, f"{given_by} cannot be used ({type(error).__name__})")


def _fcm(settings: Settings) -> str:
    from firebase_admin import credentials

    credential: Any = credentials.Certificate(str(settings.fcm_service_account_file))
    return f"project {credential.project_id}"


def _apns(settings: Settings) -> str:
    from engine.delivery.senders.apns_token import ProviderToken

    key = settings.apns_key_file.read_text() if settings.apns_key_file else ""
    ProviderToken(key, settings.apns_key_id or "", settings.apns_team_id or "").header()
    return f"key {settings.apns_key_id} signs, topic {settings.apns_topic}"


async def check_kafka(settings: Settings, timeout_s: float) -> list[Check]:
    """The brokers, the topics, and the newest record's time. Raises KafkaError when away."""
    async with admin_client(settings, int(timeout_s * 1000)) as admin:
        cluster = await admin.describe_cluster()
        brokers = cluster["brokers"]
        checks = [Check("kafka", State.OK, f"{settings.kafka_servers}, brokers: {len(brokers)}")]
        checks += await _broker_settings(admin, brokers[0]["node_id"])
        specs = Topics(settings.topic_prefix).specs(settings.clock)
        findings = await inspect_topics(admin, specs, settings)
    checks += check_topics(findings)
    log = next(f for f in findings if f.spec.name == Topics(settings.topic_prefix).events)
    if log.partitions and settings.clock == "wall":
        checks.append(await _newest_record(settings, log))
    return checks


async def _broker_settings(admin: AIOKafkaAdminClient, node: int) -> list[Check]:
    name = "auto.create.topics.enable"
    asked = ConfigResource(ConfigResourceType.BROKER, str(node), {name: None})
    (response,) = await admin.describe_configs([asked])
    (resource,) = response.to_object()["resources"]
    # Without the right to ask there are no entries; that is no fault of the installation.
    found = {e["config_names"]: e["config_value"] for e in resource["config_entries"]}
    if found.get(name) != "true":
        return []
    words = "true: a wrong name makes a topic nobody reads; set it to false on the brokers"
    return [Check(f"kafka {name}", State.WARN, words)]


def check_topics(findings: list[TopicFinding]) -> list[Check]:
    """One line for each topic that is not as it should be, or one for all."""
    checks = []
    for finding in findings:
        name = f"topic {finding.spec.name}"
        checks += [
            Check(name, State.FAIL, problem.removeprefix(f"{finding.spec.name}: "))
            for problem in finding.problems
        ]
        checks += [Check(name, State.WARN, note) for note in finding.notes]
    return checks or [Check("topics", State.OK, f"{len(findings)} as specified")]


async def _newest_record(settings: Settings, log: TopicFinding) -> Check:
    """Broker time: the append time of the log's newest record cannot be ahead of a right clock."""
    consumer = AIOKafkaConsumer(**client_options(settings), enable_auto_commit=False)
    await consumer.start()
    try:
        partitions = [TopicPartition(log.spec.name, n) for n in range(log.partitions or 0)]
        first = await consumer.beginning_offsets(partitions)
        ends = await consumer.end_offsets(partitions)
        filled = [partition for partition in partitions if ends[partition] > first[partition]]
        if not filled:
            return Check("broker clock", State.OK, "not compared: the log is empty")
        consumer.assign(filled)
        for partition in filled:
            consumer.seek(partition, ends[partition] - 1)
        newest_ms = 0
        for records in (await consumer.getmany(timeout_ms=_NEWEST_WITHIN_MS)).values():
            newest_ms = max([newest_ms, *(record.timestamp for record in records)])
    finally:
        await consumer.stop()
    if not newest_ms:
        return Check("broker clock", State.WARN, "not compared: the newest record was not read")
    age_ms = clock.now_ms() - newest_ms
    if age_ms < 0:
        return _skew("broker clock", -age_ms, f"the newest record is {-age_ms} ms in the future")
    return Check("broker clock", State.OK, f"the newest record is {age_ms / 1000:.1f} s old")


async def check_redis(settings: Settings, timeout_s: float) -> list[Check]:
    """Every primary: version, memory policy, append-only file, replicas, functions, clock."""
    servers = topology_of(settings.redis_url, LinkSettings(timeout_s=timeout_s))
    try:
        checks = []
        for link in await servers.primaries():
            checks += await _redis_server(link, settings)
        return checks
    finally:
        await servers.aclose()


async def _redis_server(link: Link, settings: Settings) -> list[Check]:
    asked_ms = clock.now_ms()
    seconds, microseconds = await link.ask("TIME")
    answered_ms = clock.now_ms()
    info = _info(await link.ask("INFO"))
    checks = check_redis_info(f"redis {link.address}", info, settings.redis_replicas)
    checks.append(await _functions(link))
    theirs_ms = int(seconds) * 1000 + int(microseconds) // 1000
    skew_ms = max(0, theirs_ms - answered_ms, asked_ms - theirs_ms)
    checks.append(_skew(f"redis {link.address} clock", skew_ms, f"{skew_ms} ms apart"))
    return checks


def _info(reply: bytes) -> dict[str, str]:
    pairs = (line.partition(":") for line in reply.decode().splitlines() if ":" in line)
    return {name: value for name, _, value in pairs}


def check_redis_info(name: str, info: Mapping[str, str], replicas: int) -> list[Check]:
    """What INFO says of one primary."""
    version = info["redis_version"]
    numbers = tuple(int(part) for part in version.split(".")[:2])
    checks = [Check(name, State.OK, f"version {version}")]
    if numbers < REDIS_VERSION_MIN:
        checks = [Check(name, State.FAIL, f"version {version}: Functions need 7.0 or later")]
    if info["role"] != "master":
        checks.append(Check(name, State.FAIL, "is a replica: give the address of its primary"))
    policy = info["maxmemory_policy"]
    if policy != "noeviction":
        words = f"maxmemory-policy is {policy}: it would drop states; set noeviction"
        checks.append(Check(name, State.FAIL, words))
    if info["aof_enabled"] != "1":
        words = "appendonly is no: a restart forgets what was sent; set appendonly yes"
        checks.append(Check(name, State.FAIL, words))
    connected = int(info["connected_slaves"])
    if connected < replicas:
        words = f"{connected} replicas of {replicas} are connected: marketing sends are held back"
        checks.append(Check(name, State.FAIL, words))
    return checks


async def _functions(link: Link) -> Check:
    name = f"redis {link.address} functions"
    loaded = await functions.loaded(link)
    others = sorted(loaded.keys() - {functions.LIBRARY})
    beside = f"; of other releases: {', '.join(others)}" if others else ""
    if functions.LIBRARY not in loaded:
        words = f"{functions.LIBRARY} is not loaded: the first worker loads it if it may{beside}"
        return Check(name, State.WARN, words)
    if loaded[functions.LIBRARY] != functions.code():
        words = f"{functions.LIBRARY} has other code than its name says: load this release's"
        return Check(name, State.FAIL, words)
    return Check(name, State.OK, f"{functions.LIBRARY} is loaded{beside}")


def _skew(name: str, skew_ms: int, words: str) -> Check:
    if skew_ms >= SKEW_FAIL_MS:
        return Check(name, State.FAIL, f"{words}: synchronise the clocks (NTP)")
    if skew_ms >= SKEW_WARN_MS:
        return Check(name, State.WARN, f"{words}: look at the time service")
    return Check(name, State.OK, words)

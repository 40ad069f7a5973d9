"""Creating the topics, and refusing to work with topics that break what is built on them.

Three things of a topic cannot be wrong without breaking decisions: the number of partitions (it is
the number of shards, kept with their state), the kind of timestamp (deadlines are broker time) and
compaction (a compacted log forgets events). These are problems. A retention that differs is an
operator's choice: a note.
"""

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

import structlog
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import TopicAlreadyExistsError, for_code

from engine import clock
from engine.http import Health
from engine.kafka_client import KAFKA_AWAY, client_options
from engine.settings import Settings, variable
from engine.waits import until_reachable
from schemas.topics import Topics, TopicSpec

log = structlog.get_logger(__name__)

APPEAR_WITHIN_S: Final = 15.0
_APPEAR_POLL_S: Final = 0.05
_MIN_INSYNC: Final = "min.insync.replicas"
#: A different value of these breaks decisions.
_BINDING: Final = ("message.timestamp.type", "cleanup.policy")


class TopicsError(Exception):
    """The topics cannot be used. `problems` say for each what is wrong and what to do."""

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(self.problems))


@dataclass(frozen=True, slots=True)
class TopicFinding:
    """One topic as it should be and as it is. `partitions` is None when it is missing."""

    spec: TopicSpec
    expected_partitions: int
    partitions: int | None
    problems: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


@asynccontextmanager
async def admin_client(
    settings: Settings, timeout_ms: int = 10_000
) -> AsyncIterator[AIOKafkaAdminClient]:
    """A started admin client. Raises KafkaError when no broker answers."""
    admin = AIOKafkaAdminClient(**client_options(settings), request_timeout_ms=timeout_ms)
    try:
        await admin.start()
        yield admin
    finally:
        await admin.close()


async def ensure_topics(settings: Settings, *, create: bool = True) -> list[TopicFinding]:
    """Check every topic; create the missing ones first, or with `create` False refuse them.

    Returns the findings, which then hold notes only. Raises TopicsError, and KafkaError when Kafka
    does not answer.
    """
    topics = Topics(settings.topic_prefix)
    specs = topics.specs(settings.clock)
    async with admin_client(settings) as admin:
        findings = await inspect_topics(admin, specs, settings)
        missing = [finding for finding in findings if finding.partitions is None]
        if missing and create:
            _refuse([finding for finding in findings if finding not in missing])
            await _create(admin, missing, settings)
            findings = await inspect_topics(admin, specs, settings)
    _refuse(findings)
    for finding in findings:
        for note in finding.notes:
            log.warning("topic_differs", topic=finding.spec.name, detail=note)
    return findings


async def wait_for_topics(
    settings: Settings, health: Health, *, create: bool = True
) -> list[TopicFinding]:
    """`ensure_topics` for a role: waits with back-off while no broker answers, not ready meanwhile.

    The condition `kafka` of `health` follows. Raises TopicsError.
    """
    return await until_reachable(
        "kafka",
        settings.kafka_servers,
        lambda: ensure_topics(settings, create=create),
        health,
        KAFKA_AWAY,
    )


async def inspect_topics(
    admin: AIOKafkaAdminClient, specs: list[TopicSpec], settings: Settings
) -> list[TopicFinding]:
    """Compare each topic with its spec. Raises KafkaError when Kafka does not answer."""
    # Asking for a topic that is missing may create it: only the names in the list are asked for.
    existing = set(await admin.list_topics())
    present = [spec.name for spec in specs if spec.name in existing]
    partitions: dict[str, int] = {}
    if present:
        for topic in await admin.describe_topics(present):
            partitions[topic["topic"]] = len(topic["partitions"])
    configs = await _configs(admin, present)
    findings = []
    for spec in specs:
        expected = spec.partitions or settings.partitions
        found = partitions.get(spec.name)
        if found is None:
            what_to_do = "start a worker or run `tripline doctor --create-topics`"
            problems = [f"{spec.name}: is missing; {what_to_do}"]
            findings.append(TopicFinding(spec, expected, None, tuple(problems)))
            continue
        problems = _partition_problems(spec, expected, found)
        notes = []
        for name, wanted in spec.config.items():
            given = configs.get(spec.name, {}).get(name)
            if given is None or given == wanted:
                continue
            if name in _BINDING:
                problems.append(_config_problem(spec, name, wanted, given))
            else:
                notes.append(f"{name} is {given}, by default it is {wanted}")
        if "cleanup.policy" not in spec.config:
            policy = configs.get(spec.name, {}).get("cleanup.policy", "delete")
            if "compact" in policy:
                problems.append(_config_problem(spec, "cleanup.policy", "delete", policy))
        findings.append(TopicFinding(spec, expected, found, tuple(problems), tuple(notes)))
    return findings


def _partition_problems(spec: TopicSpec, expected: int, found: int) -> list[str]:
    if found == expected:
        return []
    if spec.partitions is not None:
        return [f"{spec.name}: has {found} partitions and must have {expected}; create it anew"]
    return [
        f"{spec.name}: has {found} partitions, {variable('partitions')} says {expected}. The count "
        f"is fixed when the log is created, because it is the number of shards: set "
        f"{variable('partitions')}={found}, or start anew under another {variable('topic_prefix')}"
    ]


def _config_problem(spec: TopicSpec, name: str, wanted: str, given: str) -> str:
    if name == "message.timestamp.type":
        return (
            f"{spec.name}: {name} is {given} and must be {wanted} with {variable('clock')} as it "
            f"is set. Records keep the kind they were written with: correct that setting, or "
            f"start anew under another {variable('topic_prefix')}"
        )
    return (
        f"{spec.name}: {name} is {given} and must be {wanted}: change it with "
        f"`kafka-configs.sh --alter --topic {spec.name} --add-config {name}={wanted}`"
    )


async def _configs(admin: AIOKafkaAdminClient, names: list[str]) -> dict[str, dict[str, str]]:
    if not names:
        return {}
    resources = [ConfigResource(ConfigResourceType.TOPIC, name) for name in names]
    found: dict[str, dict[str, str]] = {}
    for response in await admin.describe_configs(resources):
        for resource in response.to_object()["resources"]:
            if resource["error_code"]:
                raise for_code(resource["error_code"])(resource["error_message"])
            entries: list[dict[str, Any]] = resource["config_entries"]
            found[resource["resource_name"]] = {
                entry["config_names"]: entry["config_value"] for entry in entries
            }
    return found


async def _create(
    admin: AIOKafkaAdminClient, missing: list[TopicFinding], settings: Settings
) -> None:
    replicas = settings.topic_replicas
    # With three replicas one may be away; with fewer an acknowledgement of two would stop writes.
    extra = {_MIN_INSYNC: "2"} if replicas >= 3 else {}
    new = [
        NewTopic(
            finding.spec.name,
            finding.expected_partitions,
            replicas,
            topic_configs=finding.spec.config | extra,
        )
        for finding in missing
    ]
    response: Any = await admin.create_topics(new)
    problems = []
    for name, code, *details in response.topic_errors:
        # Somebody else may have created it in the meantime; the check that follows sees it.
        if code not in (0, TopicAlreadyExistsError.errno):
            problems.append(f"{name}: cannot be created: {for_code(code).__name__} {details[0]}")
    if problems:
        raise TopicsError(problems)
    await _appeared(admin, {finding.spec.name for finding in missing})
    log.info("topics_created", names=sorted(finding.spec.name for finding in missing))


async def _appeared(admin: AIOKafkaAdminClient, names: set[str]) -> None:
    """Return when the brokers list the topics: creation is acknowledged before that."""
    deadline_s = clock.monotonic_s() + APPEAR_WITHIN_S
    while absent := names - set(await admin.list_topics()):
        if clock.monotonic_s() > deadline_s:
            raise TopicsError(f"{name}: was created and does not appear" for name in sorted(absent))
        await asyncio.sleep(_APPEAR_POLL_S)


def _refuse(findings: list[TopicFinding]) -> None:
    problems = [problem for finding in findings for problem in finding.problems]
    if problems:
        raise TopicsError(problems)

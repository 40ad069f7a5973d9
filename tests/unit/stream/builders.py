"""Records of the log, made by hand."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import count, islice
from typing import Any

import msgspec

from engine.ports import ShardStore
from engine.store.memory import MemoryStore
from engine.stream.outbox import Entry, OutMessage
from engine.stream.shard import Shard, ShardSettings
from schemas.kinds import Kind, sealed_headers
from schemas.partitioner import partition_of
from schemas.reasons import Reason
from schemas.records import ActivateRecord, OutcomeRecord, encode
from schemas.topics import Topics
from triggers.compile import RegisteredTrigger, compile_program
from triggers.definition import Policy, TriggerDefinition
from triggers.program import Program

SECRET = b"s" * 32
T0 = 1_700_000_000_000
PARTITIONS = 8


@dataclass
class Record:
    """A Kafka record."""

    offset: int
    timestamp: int
    value: bytes | None
    key: bytes | None = None
    headers: Sequence[tuple[str, bytes]] = ()
    topic: str = "events"
    partition: int = 0
    serialized_value_size: int = 100
    timestamp_type: int = 1


def user_of(shard: int, number: int = 0) -> str:
    """The `number`-th user who lives in the shard."""
    names = (f"user-{n}" for n in count())
    living = (name for name in names if partition_of(name, PARTITIONS) == shard)
    return next(islice(living, number, None))


def iso(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).isoformat()


@dataclass
class Log:
    """One partition being written. Times are milliseconds after T0."""

    partition: int = 0
    records: list[Record] = field(default_factory=list)

    def event(
        self,
        user: str,
        name: str,
        at: int,
        *,
        occurred: int | None = None,
        message_id: str | None = None,
        properties: Mapping[str, Any] | None = None,
        device: str | None = None,
    ) -> Record:
        message: dict[str, Any] = {
            "type": "track",
            "messageId": message_id or f"m{len(self.records)}",
            "event": name,
            "userId": user,
            "timestamp": iso(T0 + (at if occurred is None else occurred)),
            "properties": dict(properties or {}),
        }
        if device is not None:
            message["context"] = {"device": {"token": device, "type": "ios"}}
        return self.raw(msgspec.json.encode(message), at, user)

    def raw(self, value: bytes | None, at: int, user: str = "", headers: Any = ()) -> Record:
        record = Record(
            len(self.records), T0 + at, value, user.encode(), headers, "events", self.partition
        )
        self.records.append(record)
        return record

    def engine(self, kind: Kind, value: bytes, at: int, key: bytes | None = None) -> Record:
        headers = sealed_headers(SECRET, kind, self.partition, key, value)
        record = self.raw(value, at, headers=headers)
        record.key = key
        return record

    def activate(self, number: int, at: int = 0) -> Record:
        return self.engine(Kind.ACTIVATE, encode(ActivateRecord(number)), at)

    def tick(self, at: int) -> Record:
        return self.engine(Kind.TICK, b"", at)

    def outcome(self, delivery_id: str, user: str, trigger: str, reason: Reason, at: int) -> Record:
        record = OutcomeRecord(delivery_id, user, trigger, reason, T0 + at)
        return self.engine(Kind.OUTCOME, encode(record), at, user.encode())


class Outlet:
    """Keeps what was published; `acked` is set by the test."""

    def __init__(self) -> None:
        self.acked = -1
        self.entries: list[tuple[int, Entry]] = []

    async def put(self, seq: int, entry: Entry) -> None:
        self.entries.append((seq, entry))

    def on(self, topic: str) -> list[OutMessage]:
        found = [m for _, entry in self.entries for m in entry.messages if m is not None]
        return [message for message in found if message.topic == topic]


class FixedPrograms:
    """Versions compiled from documents: version 1 is the first list."""

    def __init__(self, *versions: list[dict[str, Any]], policy: dict[str, Any] | None = None):
        policies = {"default": Policy.model_validate(policy or {"grace": "0s"})}
        self.programs: dict[int, Program] = {0: compile_program(0, [], policies)}
        for number, documents in enumerate(versions, 1):
            triggers = [
                RegisteredTrigger(definition, 1, definition.state, 0)
                for definition in map(TriggerDefinition.model_validate, documents)
            ]
            self.programs[number] = compile_program(number, triggers, policies)

    async def program(self, number: int) -> Program:
        return self.programs[number]


def make_shard(
    programs: FixedPrograms,
    store: ShardStore | None = None,
    outlet: Outlet | None = None,
    number: int = 0,
) -> tuple[Shard, Outlet]:
    outlet = outlet or Outlet()
    settings = ShardSettings(PARTITIONS, Topics(), SECRET, states_cached_max=100)
    return Shard(number, store or MemoryStore(), programs, outlet, settings), outlet

"""Small logs written by hand, and the evidence that a right run of one leaves behind."""

from copy import deepcopy
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import msgspec
import orjson
from aiokafka import ConsumerRecord

from engine.stream.shard import ShardSettings
from schemas.kinds import Kind, sealed_headers
from schemas.partitioner import partition_of
from schemas.reasons import Reason
from schemas.records import ActivateRecord, OutcomeRecord, encode
from schemas.topics import Topics
from tests.crash.evidence import Evidence, Push, gather
from tests.crash.ghosts import arm_of, is_in_the_group
from tests.crash.logs import Written
from tests.crash.triggers import (
    ADDED,
    CHECKOUT,
    GRACE_MS,
    LEFT_WAIT_MS,
    OFFER_ID,
    ORDER,
    PROMO,
    REMOVED,
    SEARCHED,
    SETTLE_MS,
    STOPPED_ID,
    THANKS_ID,
    VIEWED,
    definitions,
    policies,
)
from tests.pure import pure_run
from triggers.compile import RegisteredTrigger, compile_program
from triggers.program import Program

T0 = 1_800_000_000_000
OPENS_MS = T0 + 60_000
SECRET = b"a secret of the checker's tests"
PARTITIONS = 2
TOPICS = Topics()
AT_HOME = [name for name in map(str, range(500)) if partition_of(name, PARTITIONS) == 0]
PLAIN = [name for name in AT_HOME if arm_of(name) != "control" and not is_in_the_group(name, T0)]
USER, SILENT = PLAIN[:2]
GHOST = next(name for name in AT_HOME if arm_of(name) != "control" and is_in_the_group(name, T0))
CONTROLLED = next(
    name for name in AT_HOME if arm_of(name) == "control" and not is_in_the_group(name, T0)
)


class Compiled:
    """The crash triggers as version 1."""

    async def program(self, number: int) -> Program:
        registered = [
            RegisteredTrigger(made, 1, made.state, 0) for made in definitions(OPENS_MS).values()
        ]
        return compile_program(number, registered if number else [], policies())


@dataclass
class Log:
    """Partition 0, written by hand; times are milliseconds after T0."""

    records: list[ConsumerRecord[bytes, bytes]]

    def raw(self, at: int, value: bytes, key: bytes | None = None, headers: Any = ()) -> None:
        self.records.append(
            ConsumerRecord(
                topic=TOPICS.events,
                partition=0,
                offset=len(self.records),
                timestamp=T0 + at,
                timestamp_type=1,
                key=key,
                value=value,
                checksum=None,
                serialized_key_size=0,
                serialized_value_size=len(value),
                headers=headers,
            )
        )

    def engine(self, at: int, kind: Kind, value: bytes = b"", key: bytes | None = None) -> None:
        self.raw(at, value, key, sealed_headers(SECRET, kind, 0, key, value))

    def event(self, at: int, user: str, name: str, message_id: str, **properties: Any) -> None:
        message = {
            "type": "track",
            "messageId": message_id,
            "userId": user,
            "event": name,
            "timestamp": datetime.fromtimestamp((T0 + at) / 1000, UTC).isoformat(),
            "properties": properties,
        }
        if name == "App Opened":
            message["context"] = {"device": {"token": f"t-{user}", "type": "ios"}}
        self.raw(at, orjson.dumps(message), user.encode())


def usual_log() -> Log:
    log = Log([])
    log.engine(0, Kind.ACTIVATE, encode(ActivateRecord(1)))
    log.event(10, USER, "App Opened", "m0")
    log.event(100, USER, CHECKOUT, "m1")
    log.event(200, USER, ADDED, "m2", product_id="p1")
    log.event(300, USER, VIEWED, "m3", price=120)
    log.event(400, USER, VIEWED, "m4", price=130)
    log.event(900, USER, REMOVED, "m5", product_id="p1")
    log.event(1_000, SILENT, ORDER, "m6")
    log.raw(1_500, b"{not json")
    log.engine(5_000, Kind.TICK)
    log.event(9_000, USER, ORDER, "m7")
    return log


def log_of_one_moment() -> Log:
    """A view whose window closes at the very moment at which the cart counts as left."""
    log = Log([])
    log.engine(0, Kind.ACTIVATE, encode(ActivateRecord(1)))
    log.event(10, USER, "App Opened", "m0")
    log.event(200, USER, ADDED, "m1", product_id="p1")
    log.event(200 + LEFT_WAIT_MS + GRACE_MS - SETTLE_MS, USER, VIEWED, "m2", price=120)
    log.engine(9_000, Kind.TICK)
    return log


def log_of_groups() -> Log:
    """Somebody of each group: what competes, what is held in vain, what is held until it opens."""
    log = Log([])
    log.engine(0, Kind.ACTIVATE, encode(ActivateRecord(1)))
    for number, user in enumerate((USER, GHOST, CONTROLLED)):
        log.event(10 + number, user, "App Opened", f"a{number}")
        log.event(100 + number, user, SEARCHED, f"b{number}")
        log.event(200 + number, user, PROMO, f"c{number}")
    log.engine(20_000, Kind.TICK)
    for number, user in enumerate((USER, GHOST, CONTROLLED)):
        log.event(57_000 + number, user, PROMO, f"d{number}")
    log.engine(62_000, Kind.TICK)
    return log


async def usual_evidence(tmp_path: Any) -> Evidence:
    """Of the usual log."""
    evidence = await evidence_of(usual_log(), tmp_path)
    triggers = [row["trigger"] for row in evidence.admitted().values()]
    assert triggers == [OFFER_ID, STOPPED_ID, THANKS_ID]
    return evidence


async def evidence_of(log: Log, tmp_path: Any) -> Evidence:
    """Run it once for the delivery ids, then again with their outcomes in the log."""
    settings = ShardSettings(PARTITIONS, TOPICS, SECRET)
    events = {0: log.records, 1: []}
    pure = await pure_run(events, Compiled(), settings, 1)
    rows = [row for row in pure[0].decisions if row["delivery_id"]]
    end = log.records[-1].timestamp - T0
    for number, row in enumerate(rows):
        reason, user = Reason(row["reason"] or "ACCEPTED"), row["user"]
        outcome = OutcomeRecord(row["delivery_id"], user, row["trigger"], reason, T0)
        log.engine(end + 100 + number, Kind.OUTCOME, encode(outcome), user.encode())
    pure = await pure_run(events, Compiled(), settings, 2)
    letters = [
        {"partition": 0, "offset": record.offset, "reason": "X"}
        for record in log.records
        if record.value == b"{not json"
    ]
    written = Written(
        events=events,
        decisions={0: [published(n, row) for n, row in enumerate(pure[0].decisions)]},
        outcomes={0: []},
        dead_letters={0: [published(n, letter) for n, letter in enumerate(letters)]},
        lanes={
            lane: {0: [published(n, row) for n, row in enumerate(in_lane(lane, rows))]}
            for lane in ("critical", "high", "normal", "low")
        },
    )
    dumps: dict[int, dict[str, Any]] = {0: {"rings": {}, "outbox": {}}}
    evidence = gather(
        written,
        tmp_path / "nothing",
        dumps,
        {n: deepcopy(shard.content) for n, shard in pure.items()},
        {n: shard.digest for n, shard in pure.items()},
        pure,
        OPENS_MS,
    )
    admitted = evidence.admitted()
    at = {name: T0 + 500 + 3_000 * n for n, name in enumerate(admitted)}
    evidence.accepted.update({name: [Push(ms, name, "apns")] for name, ms in at.items()})
    return evidence


def in_lane(lane: str, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    of = {name: definition.lane for name, definition in definitions(OPENS_MS).items()}
    return [
        {"delivery_id": row["delivery_id"], "lane": lane, "user": row["user"]}
        | ({"ghost": row["reason"]} if row["reason"] else {})
        for row in rows
        if of[row["trigger"]] == lane
    ]


def published(number: int, row: dict[str, Any]) -> ConsumerRecord[bytes, bytes]:
    log = Log([])
    log.raw(0, msgspec.json.encode(row), headers=[("seq", f"mark:{number}".encode())])
    return log.records[0]

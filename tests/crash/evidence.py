"""Everything a finished scenario left behind, parsed once for `tests.crash.checker`."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import orjson
from aiokafka import ConsumerRecord

from tests.crash.logs import Partitions, Written
from tests.crash.model import Key, Meaning, is_outcome, read_log
from tests.pure import PureShard

Row = dict[str, Any]
TIMELINE_MAX = 60


class Push(NamedTuple):
    """A request a stand-in provider took."""

    at_ms: int
    delivery_id: str
    provider: str


class Ended(NamedTuple):
    """The first outcome of a delivery."""

    reason: str
    appended_ms: int
    user: str


class Claimed(NamedTuple):
    """A claim in a gate ring. `own`: of a ghost of its trigger's control group, which takes nothing
    but that trigger's cooldown."""

    at_ms: int
    delivery_id: str
    trigger: str
    own: bool = False


@dataclass(slots=True)
class Decided:
    """Decision records. `rows`: distinct ones by activation. `repeats`: records whose `seq` header
    was seen before with the same content. `clashes`: seen before with another content. `again`:
    the same row under another header."""

    rows: dict[Key, list[Row]] = field(default_factory=lambda: defaultdict(list))
    repeats: int = 0
    clashes: list[str] = field(default_factory=list)
    again: int = 0


@dataclass(slots=True)
class Evidence:
    """What the log, the lanes, the provider and the stores say. `dumps` are the raw contents of
    Redis by shard, `live` its replayed part, `pure` what a run without faults makes of the log. The
    hours of LATER open at `opens_ms`."""

    written: Written
    meaning: Meaning
    decided: Decided
    deliveries: dict[str, list[Row]]
    outcomes: dict[str, list[Ended]]
    accepted: dict[str, list[Push]]
    claims: dict[str, list[Claimed]]
    dumps: Mapping[int, Mapping[str, Any]]
    live: Mapping[int, Mapping[str, Any]]
    digests: Mapping[int, str]
    pure: Mapping[int, PureShard]
    opens_ms: int

    def opened(self) -> dict[str, Row]:
        """Decisions by the delivery they opened: of a message or of a ghost."""
        return {
            row["delivery_id"]: row
            for rows in self.decided.rows.values()
            for row in rows
            if row["delivery_id"] is not None
        }

    def admitted(self) -> dict[str, Row]:
        """Decisions by the message they let through."""
        return {name: row for name, row in self.opened().items() if row["outcome"] == "ADMITTED"}

    def timeline(self, user: str) -> str:
        """What is known of one user, in the order of the clocks involved."""
        lines: list[tuple[int, str]] = []
        for client in self.meaning.clients.get(user, []):
            what = client.name or "identify"
            text = f"log {client.partition}:{client.offset} {what} {client.message_id}"
            ago = f"{client.a - client.e} ms ago"
            lines.append((client.a, f"{text} {ago} {client.properties}"))
        ids = set()
        for rows in self.decided.rows.values():
            for row in rows:
                if row["user"] == user:
                    ids.add(row["delivery_id"])
                    at_ms = int(datetime.fromisoformat(row["at"]).timestamp() * 1000)
                    how = f"{row['outcome']} {row['reason'] or ''} {row['delivery_id'] or ''}"
                    lines.append((at_ms, f"decided {row['trigger']} {row['activation']} {how}"))
        for delivery_id in ids - {None}:
            for push in self.accepted.get(delivery_id, []):
                lines.append((push.at_ms, f"{push.provider} accepted {delivery_id}"))
            for ended in self.outcomes.get(delivery_id, []):
                lines.append((ended.appended_ms, f"outcome {ended.reason} {delivery_id}"))
        shown = [f"    {_time(at_ms)} {text}" for at_ms, text in sorted(lines)[-TIMELINE_MAX:]]
        return "\n".join([f"  timeline of {user}:", *shown])


def gather(
    written: Written,
    standin_log: Path,
    dumps: Mapping[int, Mapping[str, Any]],
    live: Mapping[int, Mapping[str, Any]],
    digests: Mapping[int, str],
    pure: Mapping[int, PureShard],
    opens_ms: int,
) -> Evidence:
    """Parse it all."""
    claims: dict[str, list[Claimed]] = {}
    for dump in dumps.values():
        for user, (_, *made) in dump["rings"].items():
            claims[user] = [
                Claimed(int(at), str(name), str(trigger).removeprefix("~"), trigger[:1] == "~")
                for at, name, trigger, _ in made
            ]
    return Evidence(
        written=written,
        meaning=read_log(written.events),
        decided=_decided(written.decisions),
        deliveries=_deliveries(written.lanes),
        outcomes=_outcomes(written.events),
        accepted=_accepted(standin_log),
        claims=claims,
        dumps=dumps,
        live=live,
        digests=digests,
        pure=pure,
        opens_ms=opens_ms,
    )


def seq_of(record: ConsumerRecord) -> str:
    """The header by which consumers drop what the outbox published twice."""
    mark: bytes = dict(record.headers)["seq"]
    return mark.decode()


def _decided(decisions: Partitions) -> Decided:
    found = Decided()
    for records in decisions.values():
        marks: dict[str, bytes] = {}
        for record in records:
            mark = seq_of(record)
            before = marks.setdefault(mark, record.value)
            if before is not record.value and before == record.value:
                found.repeats += 1
                continue
            if before != record.value:
                found.clashes.append(f"{mark}: {before!r} and {record.value!r}")
            row = orjson.loads(record.value)
            rows = found.rows[Key(row["trigger"], row["user"], row["activation"])]
            if row in rows:
                found.again += 1
            else:
                rows.append(row)
    return found


def _deliveries(lanes: Mapping[str, Partitions]) -> dict[str, list[Row]]:
    found: dict[str, list[Row]] = defaultdict(list)
    for lane, partitions in lanes.items():
        for records in partitions.values():
            for record in records:
                delivery = orjson.loads(record.value)
                assert delivery.get("lane", "normal") == lane
                found[delivery["delivery_id"]].append(delivery)
    return found


def _outcomes(events: Partitions) -> dict[str, list[Ended]]:
    found: dict[str, list[Ended]] = defaultdict(list)
    for records in events.values():
        for record in records:
            if not is_outcome(dict(record.headers)):
                continue
            outcome = orjson.loads(record.value)
            ended = Ended(outcome["reason"], record.timestamp, outcome["user"])
            found[outcome["delivery_id"]].append(ended)
    return found


def _accepted(path: Path) -> dict[str, list[Push]]:
    """The requests the stand-ins took, by delivery."""
    accepted: dict[str, list[Push]] = defaultdict(list)
    if path.exists():
        with path.open("rb") as lines:
            for line in lines:
                entry = msgspec.json.decode(line)
                if entry["accepted"]:
                    push = Push(entry["at_ms"], entry["delivery_id"], entry["provider"])
                    accepted[push.delivery_id].append(push)
    return accepted


def _time(at_ms: int) -> str:
    return f"{datetime.fromtimestamp(at_ms / 1000, UTC):%H:%M:%S.%f}"[:-3]

"""The checker itself: a right run passes, and each kind of wrong is found by the check made for it.

A small log is written by hand and decided by the pure run; the evidence then has one thing changed.
"""

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import msgspec
import orjson
import pytest
from aiokafka import ConsumerRecord

from engine.stream.outbox import Entry, OutMessage, pack_entry
from engine.stream.shard import ShardSettings
from schemas.kinds import Kind, sealed_headers
from schemas.partitioner import partition_of
from schemas.reasons import Reason
from schemas.records import ActivateRecord, OutcomeRecord, encode
from schemas.topics import Topics
from tests.crash.checker import check
from tests.crash.evidence import Claimed, Ended, Evidence, Push, gather
from tests.crash.findings import Allowance
from tests.crash.logs import Written
from tests.crash.model import Key
from tests.crash.triggers import (
    ADDED,
    CHECKOUT,
    GRACE_MS,
    LEFT_ID,
    LEFT_WAIT_MS,
    OFFER_ID,
    ORDER,
    REMOVED,
    STOPPED_ID,
    THANKS_ID,
    VIEWED,
    definitions,
    policies,
)
from tests.pure import pure_run
from triggers.compile import RegisteredTrigger, compile_program
from triggers.program import Program

pytestmark = pytest.mark.crash

T0 = 1_800_000_000_000
SECRET = b"a secret of the checker's tests"
PARTITIONS = 2
TOPICS = Topics()
USER = next(name for name in map(str, range(99)) if partition_of(name, PARTITIONS) == 0)
SILENT = next(
    name for name in map(str, range(99)) if name != USER and partition_of(name, PARTITIONS) == 0
)


class Compiled:
    """The crash triggers as version 1."""

    async def program(self, number: int) -> Program:
        registered = [RegisteredTrigger(made, 1, made.state, 0) for made in definitions().values()]
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


def _log() -> Log:
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


def _log_of_one_moment() -> Log:
    """A view at the very moment at which the cart counts as left."""
    log = Log([])
    log.engine(0, Kind.ACTIVATE, encode(ActivateRecord(1)))
    log.event(10, USER, "App Opened", "m0")
    log.event(200, USER, ADDED, "m1", product_id="p1")
    log.event(200 + LEFT_WAIT_MS + GRACE_MS, USER, VIEWED, "m2", price=120)
    log.engine(9_000, Kind.TICK)
    return log


async def _evidence(tmp_path: Any) -> Evidence:
    """Of the usual log."""
    evidence = await _evidence_of(_log(), tmp_path)
    triggers = [row["trigger"] for row in evidence.admitted().values()]
    assert triggers == [OFFER_ID, STOPPED_ID, THANKS_ID]
    return evidence


async def _evidence_of(log: Log, tmp_path: Any) -> Evidence:
    """Run it once for the delivery ids, then again with their outcomes in the log."""
    settings = ShardSettings(PARTITIONS, TOPICS, SECRET)
    events = {0: log.records, 1: []}
    pure = await pure_run(events, Compiled(), settings, 1)
    rows = [row for row in pure[0].decisions if row["delivery_id"]]
    for number, row in enumerate(rows):
        outcome = OutcomeRecord(row["delivery_id"], USER, row["trigger"], Reason.ACCEPTED, T0)
        log.engine(9_100 + number, Kind.OUTCOME, encode(outcome), USER.encode())
    pure = await pure_run(events, Compiled(), settings, 2)
    letters = [
        {"partition": 0, "offset": record.offset, "reason": "X"}
        for record in log.records
        if record.value == b"{not json"
    ]
    written = Written(
        events=events,
        decisions={0: [_published(n, row) for n, row in enumerate(pure[0].decisions)]},
        outcomes={0: []},
        dead_letters={0: [_published(n, letter) for n, letter in enumerate(letters)]},
        lanes={
            lane: {0: [_published(n, row) for n, row in enumerate(_in(lane, rows))]}
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
    )
    at = {row["delivery_id"]: T0 + 500 + 3_000 * n for n, row in enumerate(rows)}
    evidence.accepted.update({name: [Push(ms, name, "apns")] for name, ms in at.items()})
    return evidence


def _in(lane: str, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    of = {THANKS_ID: "critical", STOPPED_ID: "high", LEFT_ID: "normal", OFFER_ID: "low"}
    ids = [row["delivery_id"] for row in rows if of[row["trigger"]] == lane]
    return [{"delivery_id": name, "lane": lane, "user": USER} for name in ids]


def _published(number: int, row: dict[str, Any]) -> ConsumerRecord[bytes, bytes]:
    log = Log([])
    log.raw(0, msgspec.json.encode(row), headers=[("seq", f"mark:{number}".encode())])
    return log.records[0]


def _delivery(evidence: Evidence, trigger: str) -> str:
    return next(name for name, row in evidence.admitted().items() if row["trigger"] == trigger)


async def test_a_right_run_passes_and_is_counted(tmp_path: Any) -> None:
    found = check(await _evidence(tmp_path), Allowance())
    assert (found.events, found.expected, found.cancelled, found.admitted) == (9, 6, 1, 3)
    assert (found.accepted, found.twice, found.unknown, found.dead_letters) == (3, 0, 0, 1)


Change = Callable[[Evidence], None]


def _forget_a_decision(evidence: Evidence) -> None:
    del evidence.decided.rows[Key(STOPPED_ID, USER, "m1")]


def _invent_a_decision(evidence: Evidence) -> None:
    row = evidence.decided.rows[Key(THANKS_ID, USER, "m7")][0]
    evidence.decided.rows[Key(THANKS_ID, USER, "m9")] = [{**row, "activation": "m9"}]


def _decide_twice(evidence: Evidence) -> None:
    rows = evidence.decided.rows[Key(THANKS_ID, USER, "m7")]
    rows.append({**rows[0], "at": "2030-01-01T00:00:00.000Z"})


def _fire_what_was_cancelled(evidence: Evidence) -> None:
    row = evidence.decided.rows[Key(LEFT_ID, USER, "m2")][0]
    row["outcome"], row["reason"] = "SUPPRESSED", "SPACING"


def _move_a_decision(evidence: Evidence) -> None:
    row = evidence.decided.rows[Key(STOPPED_ID, USER, "m1")][0]
    row["at"] = "2027-01-15T08:00:09.000Z"


def _suppress_without_reason(evidence: Evidence) -> None:
    del evidence.decided.rows[Key(OFFER_ID, USER, "m3")]


def _change_a_stored_field(evidence: Evidence) -> None:
    live = {n: dict(content) for n, content in evidence.live.items()}
    live[0]["watermark_ms"] += 1
    evidence.live, evidence.digests = live, {**evidence.digests, 0: "another"}


def _lose_a_delivery(evidence: Evidence) -> None:
    del evidence.deliveries[_delivery(evidence, STOPPED_ID)]


def _publish_what_was_not_admitted(evidence: Evidence) -> None:
    evidence.deliveries["f" * 32] = [{"delivery_id": "f" * 32, "user": USER}]


def _lose_an_outcome(evidence: Evidence) -> None:
    del evidence.outcomes[_delivery(evidence, THANKS_ID)]


def _refund_what_was_taken(evidence: Evidence) -> None:
    name = _delivery(evidence, THANKS_ID)
    evidence.outcomes[name] = [Ended("EXPIRED", T0, USER)]


def _end_unknown(evidence: Evidence) -> None:
    evidence.outcomes[_delivery(evidence, THANKS_ID)] = [Ended("UNKNOWN", T0, USER)]


def _accept_twice(evidence: Evidence) -> None:
    name = _delivery(evidence, THANKS_ID)
    evidence.accepted[name].append(Push(T0 + 60_000, name, "apns"))


def _send_out_of_the_blue(evidence: Evidence) -> None:
    evidence.accepted["f" * 32] = [Push(T0, "f" * 32, "fcm")]


def _claim_too_early(evidence: Evidence) -> None:
    evidence.claims[USER] = [Claimed(T0, "a", OFFER_ID), Claimed(T0 + 1_999, "b", LEFT_ID)]


def _claim_within_the_cooldown(evidence: Evidence) -> None:
    evidence.claims[USER] = [Claimed(T0, "a", OFFER_ID), Claimed(T0 + 4_999, "b", OFFER_ID)]


def _claim_over_the_cap(evidence: Evidence) -> None:
    triggers = (OFFER_ID, LEFT_ID, OFFER_ID, LEFT_ID)
    evidence.claims[USER] = [
        Claimed(T0 + 4_900 * n, str(n), trigger) for n, trigger in enumerate(triggers)
    ]


def _refuse_for_nothing(evidence: Evidence) -> None:
    row = evidence.decided.rows[Key(OFFER_ID, USER, "m3")][0]
    row.update(outcome="SUPPRESSED", reason="FREQUENCY_CAP", delivery_id=None)


def _lose_a_dead_letter(evidence: Evidence) -> None:
    evidence.written = replace(evidence.written, dead_letters={0: []})


def _invent_a_dead_letter(evidence: Evidence) -> None:
    letters = [*evidence.written.dead_letters[0]]
    letters.append(_published(1, {"partition": 0, "offset": 2, "reason": "X"}))
    evidence.written = replace(evidence.written, dead_letters={0: letters})


def _leave_something_unpublished(evidence: Evidence) -> None:
    entry = Entry("lost", [OutMessage("decisions", 0, None, b"")])
    evidence.dumps = {0: {"rings": {}, "outbox": {7: pack_entry(entry)}}}


def _publish_two_contents_under_one_mark(evidence: Evidence) -> None:
    evidence.decided.clashes.append("mark")


def _publish_again_under_another_mark(evidence: Evidence) -> None:
    evidence.decided.again = 1


WRONGS: list[tuple[Change, str]] = [
    (_forget_a_decision, "every_activation_is_decided_once_and_rightly"),
    (_invent_a_decision, "every_activation_is_decided_once_and_rightly"),
    (_decide_twice, "every_activation_is_decided_once_and_rightly"),
    (_move_a_decision, "every_activation_is_decided_once_and_rightly"),
    (_fire_what_was_cancelled, "no_absence_is_false"),
    (_suppress_without_reason, "limits_hold_where_it_was_decided"),
    (_refuse_for_nothing, "limits_hold_where_it_was_decided"),
    (_move_a_decision, "decisions_are_those_of_a_run_without_faults"),
    (_publish_two_contents_under_one_mark, "decisions_are_those_of_a_run_without_faults"),
    (_publish_again_under_another_mark, "decisions_are_those_of_a_run_without_faults"),
    (_change_a_stored_field, "stored_fields_are_those_of_a_run_without_faults"),
    (_lose_a_delivery, "deliveries_are_what_was_admitted"),
    (_publish_what_was_not_admitted, "deliveries_are_what_was_admitted"),
    (_lose_an_outcome, "every_delivery_ends_once"),
    (_refund_what_was_taken, "every_delivery_ends_once"),
    (_end_unknown, "every_delivery_ends_once"),
    (_accept_twice, "nothing_is_sent_twice"),
    (_send_out_of_the_blue, "nothing_is_sent_twice"),
    (_claim_too_early, "limits_hold_where_it_was_sent"),
    (_claim_within_the_cooldown, "limits_hold_where_it_was_sent"),
    (_claim_over_the_cap, "limits_hold_where_it_was_sent"),
    (_lose_a_dead_letter, "bad_records_are_dead_letters_and_nothing_else_is"),
    (_invent_a_dead_letter, "bad_records_are_dead_letters_and_nothing_else_is"),
    (_leave_something_unpublished, "everything_committed_was_published"),
]


@pytest.mark.parametrize(("change", "check_name"), WRONGS)
async def test_what_is_wrong_is_found_by_its_check(
    tmp_path: Any, change: Change, check_name: str
) -> None:
    evidence = await _evidence(tmp_path)
    change(evidence)
    with pytest.raises(AssertionError, match=f"(?m)^{check_name}: [0-9]+ problems"):
        check(evidence, Allowance())


async def test_who_loses_to_the_winner_of_the_same_moment_is_rightly_refused(
    tmp_path: Any,
) -> None:
    evidence = await _evidence_of(_log_of_one_moment(), tmp_path)
    (won,) = evidence.decided.rows[Key(OFFER_ID, USER, "m2")]
    (lost,) = evidence.decided.rows[Key(LEFT_ID, USER, "m1")]
    assert (won["outcome"], lost["reason"]) == ("ADMITTED", "LOWER_PRIORITY")
    assert (lost["at"], lost["by"]) == (won["at"], won["delivery_id"])
    check(evidence, Allowance())


async def test_who_loses_without_a_winner_of_the_same_moment_is_wrongly_refused(
    tmp_path: Any,
) -> None:
    evidence = await _evidence_of(_log_of_one_moment(), tmp_path)
    (won,) = evidence.decided.rows[Key(OFFER_ID, USER, "m2")]
    won.update(outcome="SUPPRESSED", reason="SPACING")
    (earlier,) = evidence.decided.rows[Key(LEFT_ID, USER, "m1")]
    with pytest.raises(AssertionError, match=f"lost to {earlier['by']}, at that moment won"):
        check(evidence, Allowance())


@pytest.mark.parametrize("reason", ["SPACING", "FREQUENCY_CAP"])
async def test_the_winner_of_the_same_moment_is_no_reason_but_to_lose_to_it(
    tmp_path: Any, reason: str
) -> None:
    evidence = await _evidence_of(_log_of_one_moment(), tmp_path)
    evidence.decided.rows[Key(LEFT_ID, USER, "m1")][0]["reason"] = reason
    with pytest.raises(AssertionError, match=f"was refused for {reason}, which nothing explains"):
        check(evidence, Allowance())


async def test_of_candidates_of_one_moment_no_two_are_admitted(tmp_path: Any) -> None:
    evidence = await _evidence_of(_log_of_one_moment(), tmp_path)
    (lost,) = evidence.decided.rows[Key(LEFT_ID, USER, "m1")]
    lost.update(outcome="ADMITTED", reason=None, delivery_id="f" * 32)
    evidence.outcomes["f" * 32] = [Ended("ACCEPTED", T0, USER)]
    with pytest.raises(AssertionError, match="spacing 0 ms"):
        check(evidence, Allowance())


async def test_no_rollback_excuses_a_limit_that_was_exceeded(tmp_path: Any) -> None:
    evidence = await _evidence(tmp_path)
    name = _delivery(evidence, OFFER_ID)
    (push,) = evidence.accepted[name]
    evidence.accepted[name].append(Push(push.at_ms + 900, name, "apns"))
    with pytest.raises(AssertionError, match=r"limits_hold_where_it_was_sent: \d+ problems"):
        check(evidence, Allowance(rolled_back=True, twice_max=1))


async def test_no_lost_claim_excuses_a_second_push_after_the_outcome(tmp_path: Any) -> None:
    evidence = await _evidence(tmp_path)
    name = _delivery(evidence, THANKS_ID)
    (ended,) = evidence.outcomes[name]
    evidence.accepted[name].append(Push(ended.appended_ms + 1, name, "apns"))
    with pytest.raises(AssertionError, match="accepted again when its outcome was known"):
        check(evidence, Allowance(twice_max=9))

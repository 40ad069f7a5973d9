"""Was anything said that should not have been, or not said that should have been?

`check` looks at the evidence of a finished scenario from many sides, none of which trusts what the
processes say of themselves: the model of the crash triggers, the plain records of the log, the
provider's own journal, the gate's rings, the outcomes in the log, the dead letters, and a run of
the same log over a memory store. It raises one AssertionError with everything that is wrong.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from typing import Any

import orjson

from engine.stream.outbox import unpack_entry
from tests.crash.evidence import Evidence, seq_of
from tests.crash.findings import Allowance, Findings, log_ms
from tests.crash.ghosts import GHOSTS, ghosts_are_never_sent, ghosts_are_whom_the_hash_says
from tests.crash.limits import (
    LIMITS,
    LOST,
    TAKEN,
    limits_hold_where_it_was_decided,
    limits_hold_where_it_was_sent,
)
from tests.crash.model import CANCELLED, Client, Expected, Key, expect
from tests.crash.triggers import (
    GRACE_MS,
    LEFT_ID,
    LEFT_WAIT_MS,
    MARKETING,
    ORDER,
    REMOVED,
    STOPPED_ID,
    STOPPED_WAIT_MS,
    THANKS_ID,
)

PROBLEMS_SHOWN_MAX = 8
ABSENCES = {STOPPED_ID: STOPPED_WAIT_MS + GRACE_MS, LEFT_ID: LEFT_WAIT_MS + GRACE_MS}


Check = Callable[[Evidence, Allowance, Findings], Iterator[tuple[str, str | None]]]
"""Yields (problem, the user it is about)."""


def check(evidence: Evidence, allowance: Allowance) -> Findings:
    """Raise AssertionError with every kind of problem, a few examples, and one timeline each."""
    findings = Findings(events=evidence.meaning.records)
    texts = []
    for one in CHECKS:
        problems = list(one(evidence, allowance, findings))
        if not problems:
            continue
        texts.append(f"{one.__name__}: {len(problems)} problems")
        texts += [f"  {problem}" for problem, _ in problems[:PROBLEMS_SHOWN_MAX]]
        user = next((user for _, user in problems if user is not None), None)
        if user is not None:
            texts.append(evidence.timeline(user))
    assert not texts, "\n" + "\n".join(texts)
    return findings


def every_activation_is_decided_once_and_rightly(
    evidence: Evidence, allowance: Allowance, findings: Findings
) -> Iterator[tuple[str, str | None]]:
    """Against the model: none missing, none invented, none twice, each at its moment. What was
    merged is not for the model, but nothing of it may be said in the name of both profiles."""
    meaning, rows = evidence.meaning, evidence.decided.rows

    def was_held(key: Key, at_ms: int) -> bool:
        return key not in rows or log_ms(rows[key][0]["at"]) != at_ms

    expected = expect(meaning, evidence.opens_ms, was_held)
    findings.expected, findings.merges = len(expected), sum(map(len, meaning.merged.values()))
    for key, endings in expected.items():
        if len(endings) != 1:
            yield f"{key}: the model itself ends it {len(endings)} times", key.user
        elif key not in rows:
            yield f"{key}: never decided, should be {endings[0]}", key.user
        elif len(rows[key]) > 1:
            yield f"{key}: decided {len(rows[key])} times: {rows[key]}", key.user
        else:
            row, ending = rows[key][0], endings[0]
            findings.cancelled += ending.outcome == CANCELLED
            findings.held += ending.over or ending.released
            findings.released += ending.released
            fault = _ending_fault(row, ending, allowance)
            if fault:
                yield f"{key}: {fault}; decided {_short(row)}, expected {ending}", key.user
    for key in rows.keys() - expected.keys():
        if key.user not in meaning.kin:
            yield f"{key}: decided {_short(rows[key][0])}, but nothing asks for it", key.user
    merged = {merge.guest: user for user, merges in meaning.merged.items() for merge in merges}
    for key in rows:
        user = merged.get(key.user, key.user)
        if user != key.user and key._replace(user=user) in rows:
            yield f"{key} was decided for {user}, too", user


def _ending_fault(row: dict[str, Any], ending: Expected, allowance: Allowance) -> str:
    at_ms = log_ms(row["at"])
    if at_ms != ending.at_ms:
        return f"at {at_ms}, {at_ms - ending.at_ms:+d} ms off"
    if ending.outcome == CANCELLED:
        return "" if row["outcome"] == CANCELLED else "should be cancelled"
    if not ending.reachable:
        # A paused trigger says so before anybody looks for a device.
        known = {"NO_DEVICE"} | ({"PAUSED"} if allowance.paused else set())
        return "" if row["reason"] in known else "nobody could be reached"
    marketing = row["trigger"] in MARKETING
    if ending.closed:
        if row["outcome"] == "EXPIRED":
            return "" if ending.over else "should be held"
        return "" if row["reason"] in LIMITS else "its hours are closed"
    if row["outcome"] == "ADMITTED":
        return ""
    allowed = {*LIMITS, *GHOSTS, LOST} if marketing else set[str]()
    if allowance.paused and marketing:
        allowed |= {"PAUSED"}
    return "" if row["reason"] in allowed else "should be admitted"


def no_absence_is_false(
    evidence: Evidence, allowance: Allowance, findings: Findings
) -> Iterator[tuple[str, str | None]]:
    """From plain records: nothing fired whose cancel was in the log between start and deadline."""
    clients, by_id = evidence.meaning.clients, _by_message(evidence)
    for key, rows in evidence.decided.rows.items():
        if key.trigger not in ABSENCES or rows[0]["outcome"] == CANCELLED:
            continue
        kin = evidence.meaning.kin_of(key.user)
        starts = [one for one in by_id[key.activation] if one.user in kin]
        first = min(starts, key=lambda start: (start.a, start.order))
        fires_ms = first.e + ABSENCES[key.trigger]
        product = first.properties.get("product_id")
        # What another profile has begun is this one's from the merge on, and so are the cancels.
        merges = evidence.meaning.merged.get(key.user, ())
        orders = [merge.order for merge in merges if merge.guest == first.user != key.user]
        after = min(orders) if orders else first.order
        for client in clients[key.user]:
            cancels = client.name == ORDER or (
                key.trigger == LEFT_ID
                and client.name == REMOVED
                and client.properties["product_id"] == product
            )
            if cancels and after < client.order and client.a <= fires_ms:
                yield f"{key} fired, but {client} cancels it", key.user


def _by_message(evidence: Evidence) -> dict[str, list[Client]]:
    found: dict[str, list[Client]] = defaultdict(list)
    for clients in evidence.meaning.clients.values():
        for client in clients:
            found[client.message_id].append(client)
    return found


def decisions_are_those_of_a_run_without_faults(
    evidence: Evidence, allowance: Allowance, findings: Findings
) -> Iterator[tuple[str, str | None]]:
    """Row for row, all fields."""
    findings.repeats, findings.again = evidence.decided.repeats, evidence.decided.again
    pure: dict[Key, dict[str, Any]] = {}
    for shard in evidence.pure.values():
        for row in shard.decisions:
            key = Key(row["trigger"], row["user"], row["activation"])
            if key in pure:
                yield f"{key}: decided twice by the pure run: {pure[key]} and {row}", key.user
            pure[key] = row
    for key in pure.keys() | evidence.decided.rows.keys():
        rows = evidence.decided.rows.get(key, [])
        if rows != [pure.get(key)]:
            live = [_short(row) for row in rows]
            yield f"{key}: live {live}, pure {_short(pure.get(key))}", key.user
    for clash in evidence.decided.clashes:
        yield f"one seq header, two contents: {clash}", None
    if evidence.decided.again and not allowance.rolled_back:
        yield f"{evidence.decided.again} decisions published again under another seq", None


def stored_fields_are_those_of_a_run_without_faults(
    evidence: Evidence, allowance: Allowance, findings: Findings
) -> Iterator[tuple[str, str | None]]:
    """The digest of every shard, with the first field and user that differ."""
    for shard, digest in evidence.digests.items():
        pure = evidence.pure[shard]
        if digest == pure.digest:
            continue
        live = evidence.live[shard]
        names = [name for name in pure.content if pure.content[name] != live[name]]
        for name in names:
            yield from _difference(shard, name, live[name], pure.content[name], evidence)
        if not names:
            yield f"shard {shard}: digests differ, contents do not", None


def _difference(
    shard: int, name: str, live: Any, pure: Any, evidence: Evidence
) -> Iterator[tuple[str, str | None]]:
    if not isinstance(live, dict):
        yield f"shard {shard}: {name} is {live}, pure {pure}", None
        return
    keys = [key for key in sorted({*live, *pure}, key=str) if live.get(key) != pure.get(key)]
    for key in keys[:3]:
        user = key if key in evidence.meaning.clients else None
        text = f"shard {shard}: {len(keys)} {name} differ, first {key}"
        yield f"{text}\n      live {live.get(key)}\n      pure {pure.get(key)}", user


def deliveries_are_what_was_admitted(
    evidence: Evidence, allowance: Allowance, findings: Findings
) -> Iterator[tuple[str, str | None]]:
    """Every admitted one reached its lane, every ghost did, and nothing else did."""
    admitted = evidence.opened()
    findings.admitted = len(evidence.admitted())
    for delivery_id in admitted.keys() - evidence.deliveries.keys():
        # After a rollback a delivery whose outcome the log holds already is dropped, not published:
        # but then it was published the first time.
        row = admitted[delivery_id]
        yield f"{delivery_id} was admitted and never published: {_short(row)}", row["user"]
    for delivery_id, records in evidence.deliveries.items():
        if delivery_id not in admitted:
            user = records[0]["user"]
            yield f"{delivery_id} was published and never admitted: {records[0]}", user


def every_delivery_ends_once(
    evidence: Evidence, allowance: Allowance, findings: Findings
) -> Iterator[tuple[str, str | None]]:
    """One first outcome each, and it agrees with what the provider says."""
    if not allowance.senders:
        return
    admitted = evidence.opened()
    misled: list[tuple[str, str | None]] = []
    findings.outcomes = Counter(ended[0].reason for delivery_id, ended in evidence.outcomes.items())
    for delivery_id, row in admitted.items():
        ended = evidence.outcomes.get(delivery_id)
        accepted = evidence.accepted.get(delivery_id, [])
        if not ended:
            yield f"{delivery_id} has no outcome; accepted {len(accepted)} times", row["user"]
        elif ended[0].reason == "ACCEPTED" and not accepted:
            yield f"{delivery_id} ended ACCEPTED, but the provider never took it", row["user"]
        elif accepted and ended[0].reason not in TAKEN:
            misled.append((f"{delivery_id} was taken, but ended {ended[0].reason}", row["user"]))
        elif row["trigger"] == THANKS_ID and ended[0].reason not in TAKEN:
            yield f"{delivery_id} is transactional, but ended {ended[0].reason}", row["user"]
    findings.misled = len(misled)
    if len(misled) > allowance.twice_max:
        yield from misled
    for delivery_id in evidence.outcomes.keys() - admitted.keys():
        yield f"{delivery_id} has an outcome and was never admitted", None
    findings.unknown = findings.outcomes["UNKNOWN"]
    if findings.unknown > allowance.in_flight_max:
        yield f"{findings.unknown} ended UNKNOWN, at most {allowance.in_flight_max} may", None


def nothing_is_sent_twice(
    evidence: Evidence, allowance: Allowance, findings: Findings
) -> Iterator[tuple[str, str | None]]:
    """The provider's journal: each delivery id accepted once; whatever may be excused, never again
    after the log had its outcome."""
    admitted = evidence.admitted()
    findings.accepted = len(evidence.accepted)
    twice = {name: pushes for name, pushes in evidence.accepted.items() if len(pushes) > 1}
    findings.twice = len(twice)
    for delivery_id in evidence.accepted.keys() - admitted.keys():
        yield f"{delivery_id} was taken by the provider and never admitted", None
    for delivery_id, pushes in twice.items():
        again_ms = sorted(push.at_ms for push in pushes)[1]
        if any(ended.appended_ms < again_ms for ended in evidence.outcomes.get(delivery_id, [])):
            yield f"{delivery_id} was accepted again when its outcome was known: {pushes}", None
    if len(twice) > allowance.twice_max:
        for delivery_id, pushes in twice.items():
            user = admitted[delivery_id]["user"] if delivery_id in admitted else None
            yield f"{delivery_id} was accepted {len(pushes)} times: {pushes}", user


def bad_records_are_dead_letters_and_nothing_else_is(
    evidence: Evidence, allowance: Allowance, findings: Findings
) -> Iterator[tuple[str, str | None]]:
    """By position."""
    letters = {
        (letter["partition"], letter["offset"]): letter["reason"]
        for records in evidence.written.dead_letters.values()
        for letter in (orjson.loads(record.value) for record in records)
    }
    findings.dead_letters = len(letters)
    bad = set(evidence.meaning.bad)
    for place in bad - letters.keys():
        yield f"{place} is no event and no dead letter", None
    for where in letters.keys() - bad:
        yield f"{where} is a dead letter ({letters[where]}) for no reason", None


def everything_committed_was_published(
    evidence: Evidence, allowance: Allowance, findings: Findings
) -> Iterator[tuple[str, str | None]]:
    """What still stands in an outbox after the workers have stopped is in its topic."""
    written = evidence.written
    topics = [written.events, written.decisions, written.outcomes, written.dead_letters]
    topics += written.lanes.values()
    marks = {
        seq_of(record)
        for partitions in topics
        for records in partitions.values()
        for record in records
        if any(name == "seq" for name, _ in record.headers)
    }
    for shard, dump in evidence.dumps.items():
        for seq, blob in dump["outbox"].items():
            entry = unpack_entry(blob)
            missing = [
                message.topic
                for number, message in enumerate(entry.messages)
                if message is not None and f"{entry.mark}:{number}" not in marks
            ]
            if missing:
                yield f"shard {shard}: outbox entry {seq} lacks {Counter(missing)}", None


CHECKS: tuple[Check, ...] = (
    every_activation_is_decided_once_and_rightly,
    no_absence_is_false,
    decisions_are_those_of_a_run_without_faults,
    stored_fields_are_those_of_a_run_without_faults,
    deliveries_are_what_was_admitted,
    every_delivery_ends_once,
    nothing_is_sent_twice,
    ghosts_are_whom_the_hash_says,
    ghosts_are_never_sent,
    limits_hold_where_it_was_sent,
    limits_hold_where_it_was_decided,
    bad_records_are_dead_letters_and_nothing_else_is,
    everything_committed_was_published,
)


def _short(row: dict[str, Any] | None) -> str:
    if row is None:
        return "nothing"
    return f"{row['outcome']} {row['reason'] or ''} at {row['at']} ({log_ms(row['at'])})"

"""Several processes decide what one decides: the same decisions, report, counters and state."""

import json
import os
import signal
import subprocess
import sys
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from errno import ENOSPC
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from time import monotonic
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.backtest import jobs
from engine.backtest.jobs import Inseparable, JobEnded
from engine.backtest.page import report_page
from engine.backtest.places import Places, merges_in
from engine.backtest.report import report_json, report_lines
from engine.backtest.run import Backtest
from engine.backtest.session import Definitions, Session
from engine.backtest.spill import Spill
from engine.files import Batch, batch_of
from schemas.events import EVENT_BYTES_MAX, BadRecord, Event, decode_event
from schemas.reasons import DeadLetterReason
from tests.unit.backtest.histories import (
    CART,
    DAY,
    HOUR,
    LOOK,
    MINUTE,
    SILENCE,
    T0,
    definitions,
    event,
)
from tests.unit.backtest.test_cli import folder, tripline, write_events
from triggers.merging import merge_of

__all__ = ["folder"]

#: Python 3.12 warns of forking beside threads: other tests leave some behind, the command has none.
pytestmark = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded")

Rows = list[tuple[int, Event]]

GREETED = {
    "id": "greeted",
    "state": "live",
    "when": {"event": "Signed Up"},
    "message": {"push": {"title": "Hello {{ event.properties.first }}", "body": "Good to see you"}},
    "experiment": {"control": "30%", "variants": {"on": "70%"}},
}
ALL = definitions(
    CART,
    LOOK,
    SILENCE,
    GREETED,
    policies={
        "default": {"spacing": "2h", "caps": [{"max": 2, "per": "1d"}], "text": {"title_max": 8}}
    },
)
NAMES = ("Product Added", "Product Viewed", "Order Completed", "Signed Up", "Something Else")


def history(seed: int, size: int) -> Rows:
    """Of nine profiles, some of which turn out to be the same person."""
    random, at, rows = Random(seed), 0, []
    for number in range(size):
        at += random.choice((0, 1, MINUTE, 20 * MINUTE, HOUR, 3 * HOUR, 2 * DAY))
        user, other = random.sample([f"u{n}" for n in range(9)], 2)
        kind = random.randrange(12)
        if kind == 0:
            made = Event("identify", f"m{number}", None, user, other, traits={"plan": "pro"})
        elif kind == 1:
            made = Event("alias", f"m{number}", None, user, None, other)
        elif kind == 2:
            made = Event("identify", f"m{number}", None, None, user)
        else:
            _, made = event(at, user, random.choice(NAMES), first="x" * random.randrange(9))
            made.message_id = f"m{number}"
            if kind == 3:
                made.context = {"timezone": random.choice(("Asia/Almaty", "Europe/Berlin"))}
        rows.append((T0 + at, made))
    return rows


def merges_of(rows: Rows) -> Iterator[tuple[str, str]]:
    return (pair for _, made in rows if (pair := merge_of(made)) is not None)


def batches(rows: Rows, size: int = 7) -> Iterator[Batch]:
    yield batch_of(())
    for begin in range(0, len(rows), size):
        yield batch_of((a, made, None) for a, made in rows[begin : begin + size])


@dataclass
class Done:
    """Everything a run leaves, `users` as the state file has them."""

    report: object
    text: list[str]
    page: str
    decisions: bytes
    counters: bytes
    hints: list[str]
    users: list[bytes]


def run_jobs(
    found: Definitions, rows: Rows, into: Path, count: int, *, drain: bool, state: bool = True
) -> Done:
    places = None
    if count > 1:
        places = Places(count)
        places.join(merges_of(rows))
    session = Session(
        found,
        state=into / "state" if state else None,
        decisions=into / "decisions",
        counters=into / "counters",
        places=places,
    )
    with closing(session):
        session.feed(batches(rows))
        result = session.end(drain=drain, rows=len(rows))
        return Done(
            report_json(result),
            report_lines(result, session.run.program, 1.0),
            report_page(result, session.run.program, 1.0),
            (into / "decisions").read_bytes(),
            (into / "counters").read_bytes(),
            [f"{trigger}: {problem}" for trigger, problem in session.problems()],
            sorted(session._decider.records()),
        )


@settings(max_examples=25)
@given(st.integers(0, 100_000), st.integers(2, 4), st.booleans())
def test_several_processes_decide_what_one_decides(seed: int, count: int, drain: bool) -> None:
    rows = history(seed, 120)
    with TemporaryDirectory() as one, TemporaryDirectory() as many:
        expected = run_jobs(ALL, rows, Path(one), 1, drain=drain)
        assert run_jobs(ALL, rows, Path(many), count, drain=drain) == expected
    assert b"ADMITTED" in expected.decisions


def test_texts_are_counted_in_every_process(tmp_path: Path) -> None:
    rows = [event(n, f"u{n}", "Signed Up", first="x" * (n % 5)) for n in range(100)]
    one, many = (run_jobs(ALL, rows, tmp_path, count, drain=True, state=False) for count in (1, 3))
    assert many.hints == one.hints
    assert "longer than 8 characters" in many.hints[0]


@settings(max_examples=15)
@given(st.integers(0, 100_000), st.lists(st.integers(1, 4), min_size=2, max_size=3))
def test_a_state_is_carried_between_runs_of_any_number_of_processes(
    seed: int, counts: Sequence[int]
) -> None:
    rows = history(seed, 150)
    size = 1 + len(rows) // len(counts)
    with TemporaryDirectory() as one, TemporaryDirectory() as many:
        for begin, count in zip(range(0, len(rows), size), counts, strict=True):
            part = rows[begin : begin + size]
            expected = run_jobs(ALL, part, Path(one), 1, drain=False)
            assert run_jobs(ALL, part, Path(many), count, drain=False) == expected


def test_integers_of_any_size_reach_the_process_that_decides(tmp_path: Path) -> None:
    wanted = {"event": "Product Viewed", "where": {"properties.n": {"gt": 2**53}}}
    found = definitions({**LOOK, "when": wanted})
    rows = [event(n, f"u{n}", "Product Viewed", n=2 ** (50 + n)) for n in range(30)]
    done = [
        run_jobs(found, rows, tmp_path, count, drain=True, state=False).decisions
        for count in (1, 2)
    ]
    assert done[0] == done[1]
    assert done[0].count(b"ADMITTED") == 26


def test_counters_are_those_of_one_process_whatever_they_add_up_to(tmp_path: Path) -> None:
    """The worth of one day to nothing, that of the next to over 64 bits."""
    goal = {**LOOK["goal"], "value": "properties.revenue"}
    found = definitions({**LOOK, "goal": goal})
    worth = [5, -5, *[10**12] * 20]
    rows = []
    for number, revenue in enumerate(worth):
        user, at = f"u{4 * number}", DAY * (number > 1) + number
        rows.append(event(at, user, "Product Viewed"))
        rows.append(event(at, user, "Order Completed", revenue=revenue))
    assert {Places(2).of("u0"), Places(2).of("u4")} == {0, 1}
    one, many = (run_jobs(found, rows, tmp_path, n, drain=True, state=False) for n in (1, 2))
    assert many.counters == one.counters
    assert str(20 * 10**18).encode() in one.counters


def test_a_deep_event_beside_a_large_integer_is_left_to_one_process() -> None:
    deep: dict[str, object] = {}
    for _ in range(100_000):
        deep = {"a": deep}
    large = event(0, "u0", "Product Viewed", n=2**70)
    rows = [large, event(0, "u0", "Product Viewed", n=deep)]
    with closing(Session(ALL, places=Places(2))) as session, pytest.raises(Inseparable):
        session.feed(batches(rows))


def test_what_only_a_job_finds_too_deep_is_left_to_one_process(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(jobs, "_events_of", _too_deep)
    with closing(Session(ALL, places=Places(2))) as session, pytest.raises(Inseparable):
        session.feed(batches([event(0, "ann", "Product Viewed")]))


def _too_deep(_: bytes) -> list[Event]:
    raise RecursionError


def test_an_event_of_any_depth_is_decided_or_counted(folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    deepest = bisect_left(range(EVENT_BYTES_MAX // 2), True, key=_is_too_deep)
    # The command may read some calls deeper than this test.
    depths = range(deepest - 200, deepest + 10)
    path.write_bytes(b"".join(nested(depth) + b"\n" for depth in depths))
    answer = tripline("backtest", folder, "-e", path, "-j", 2, "-o", "json")
    refused = int(answer.stderr.partition("TOO_DEEP: ")[2].partition("\n")[0])
    assert 0 < refused < 200
    assert json.loads(answer.stdout)["triggers"]["look"]["admitted"] == len(depths) - refused


def nested(depth: int) -> bytes:
    head = b'{"type":"track","event":"Product Viewed","timestamp":"2026-01-05T10:00:00Z",'
    lists = b"[" * depth + b"]" * depth
    return b'%b"messageId":"%d","userId":"u%d","properties":{"a":%b}}' % (head, depth, depth, lists)


def _is_too_deep(depth: int) -> bool:
    try:
        decode_event(nested(depth))
    except BadRecord as error:
        return error.reason is DeadLetterReason.TOO_DEEP
    return False


def test_profiles_that_become_one_are_decided_together_however_they_are_linked() -> None:
    places = Places(64)
    places.join([("a", "b"), ("c", "d")])
    places.join([("x", "y"), ("d", "e"), ("b", "c")])
    assert len({places.of(user) for user in "abcde"}) == 1
    assert len({Places(64).of(f"u{n}") for n in range(500)}) == 64


def test_a_merge_that_nobody_foresaw_ends_the_run(tmp_path: Path) -> None:
    known = next(f"k{n}" for n in range(99) if Places(2).of(f"k{n}") != Places(2).of("guest"))
    merge = (T0, Event("identify", "m", None, known, "guest"))
    session = Session(ALL, decisions=tmp_path / "decisions", places=Places(2))
    with closing(session), pytest.raises(Inseparable):
        session.feed(batches([merge]))


def test_what_merges_profiles_is_found_without_reading_the_events(tmp_path: Path) -> None:
    rows = history(3, 200)
    write_events(tmp_path / "a.jsonl", rows[:100])
    (tmp_path / "b.jsonl").write_bytes(b'{"type": "identify", "userId": 3}\nidentify\n\xff alias\n')
    write_events(tmp_path / "c.jsonl", rows[100:])
    assert list(merges_in(tmp_path)) == list(merges_of(rows))
    assert list(merges_of(rows))


def test_the_command_decides_alone_where_a_merge_is_hidden(folder: Path, tmp_path: Path) -> None:
    rows = history(5, 200)
    written = write_events(tmp_path / "events.jsonl", rows)
    hidden = written.read_bytes().replace(b'"identify"', rb'"\u0069dentify"')
    hidden = hidden.replace(b'"alias"', rb'"\u0061lias"')
    (tmp_path / "hidden.jsonl").write_bytes(hidden + b"not an event\n")
    said = []
    for name, count in (("events", 1), ("events", 3), ("hidden", 3)):
        out = tmp_path / f"{name}-{count}.jsonl"
        options = ["--jobs", count, "--decisions", out, "-o", "json"]
        answer = tripline("backtest", folder, "-e", tmp_path / f"{name}.jsonl", *options)
        said.append((json.loads(answer.stdout), out.read_bytes()))
        assert answer.stderr.count("MALFORMED_JSON: 1\n") == (name == "hidden")
    assert said[0] == said[1] == said[2]


def test_rows_of_a_table_are_decided_by_several_processes(folder: Path, tmp_path: Path) -> None:
    table, mapping = tmp_path / "events.csv", tmp_path / "mapping.yaml"
    lines = [f"u{n % 50},{T0 + n * MINUTE},Product Viewed,{n}" for n in range(2_000)]
    table.write_text("who,at,what,price\n" + "\n".join(lines) + "\n")
    mapping.write_text(
        "user: who\ntime: {column: at, unit: ms}\nevent: what\n"
        "properties: {price: {name: price, type: int}}\n"
    )
    said = []
    for count in (1, 2):
        out = tmp_path / f"{count}.jsonl"
        tripline("backtest", folder, "-e", table, "--map", mapping, "-j", count, "--decisions", out)
        said.append(out.read_bytes())
    assert said[0] == said[1]
    assert said[0].count(b"\n") == 2_000


def test_a_process_that_is_killed_is_told() -> None:
    session = Session(ALL, places=Places(2))
    with closing(session):
        process, _ = session._decider._processes  # type: ignore[attr-defined]
        process.kill()
        process.join()
        with pytest.raises(JobEnded, match="killed by signal 9"):
            session.feed(batches([event(n, f"u{n}", "Product Viewed") for n in range(50)]))


def test_a_bug_in_every_process_is_told_once(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Backtest, "finish", _fail)
    path = write_events(tmp_path / "events.jsonl", history(1, 300))
    answer = tripline("backtest", folder, "-e", path, "-j", 3, code=1)
    assert answer.stderr.startswith("Traceback (most recent call last)")
    assert answer.stderr.count("Traceback") == 1
    assert answer.stderr.endswith("KeyError: 'a bug'\n")


def _fail(*_: object) -> None:
    raise KeyError("a bug")


@pytest.mark.parametrize("count", [1, 3])
def test_a_full_disk_is_told_in_one_line(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    monkeypatch.setattr(Spill, "add", _full)
    path = write_events(tmp_path / "events.jsonl", history(1, 300))
    options = ("-j", count, "--decisions", tmp_path / "decisions")
    answer = tripline("backtest", folder, "-e", path, *options, code=2)
    assert answer.stderr == "[Errno 28] No space left on device\n"


def _full(*_: object) -> None:
    raise OSError(ENOSPC, "No space left on device")


def test_ctrl_c_is_left_to_the_command_from_the_first_moment_of_a_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin = jobs._job

    def interrupted(*arguments: Any) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        begin(*arguments)

    monkeypatch.setattr(jobs, "_job", interrupted)
    rows = history(1, 100)
    assert run_jobs(ALL, rows, tmp_path, 3, drain=True, state=False).decisions
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, ())


_WAITING = """
import sys, time
from engine.backtest.places import Places
from engine.backtest.session import Session
from tests.unit.backtest.test_jobs import ALL
session = Session(ALL, places=Places(2))
print(*(one.pid for one in session._decider._processes), flush=True)
time.sleep(300)
"""


def test_no_process_stays_behind_when_the_command_is_killed() -> None:
    begun = subprocess.Popen([sys.executable, "-c", _WAITING], stdout=subprocess.PIPE)
    assert begun.stdout is not None
    found = list(map(int, begun.stdout.readline().split()))
    assert len(found) == 2
    begun.send_signal(signal.SIGKILL)
    begun.wait()
    begun.stdout.close()
    deadline = monotonic() + 30
    while (left := [one for one in found if _lives(one)]) and monotonic() < deadline:
        os.sched_yield()
    assert not left


def _lives(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def test_closing_ends_every_process() -> None:
    session = Session(ALL, places=Places(3))
    processes = session._decider._processes  # type: ignore[attr-defined]
    assert all(process.is_alive() for process in processes)
    session.close()
    assert not any(process.is_alive() for process in processes)

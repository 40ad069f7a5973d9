"""State carried from run to run: nothing is forgotten, nothing foreign is continued."""

import os
from collections.abc import Iterable
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.backtest.page import report_page
from engine.backtest.run import POLL_EVERY
from engine.backtest.saved import FILE_NAME, StateRefused
from engine.backtest.session import Definitions, Session
from engine.files import Batch, batch_of
from schemas.events import Event
from tests.reference.machines import event_of
from tests.reference.test_machine import play
from tests.reference.workloads import case
from tests.unit.backtest.histories import (
    CART,
    HOUR,
    LOOK,
    SILENCE,
    SPACED,
    T0,
    definitions,
    event,
)
from triggers.workspace import load_documents


def in_columns(events: Iterable[tuple[int, Event]]) -> Batch:
    return batch_of((a_ms, event, None) for a_ms, event in events)


def run_session(
    found: Definitions,
    events: Iterable[tuple[int, Event]],
    folder: Path,
    *,
    state: bool = True,
    drain: bool = False,
    rows: int = 0,
) -> tuple[Session, list[bytes]]:
    """A run, and the lines of its decision file."""
    out = folder / "decisions.jsonl"
    session = Session(found, state=folder / "state" if state else None, decisions=out)
    session.feed([in_columns(events)])
    session.end(drain=drain, rows=rows)
    return session, out.read_bytes().splitlines()


@settings(max_examples=60)
@given(st.integers(0, 100_000), st.lists(st.integers(0, 60), max_size=4))
def test_the_runs_of_a_split_history_decide_together_what_one_run_decides(
    seed: int, cuts: list[int]
) -> None:
    made, steps = case(Random(seed).choice, range(5, 60))
    loaded = load_documents(made.triggers, made.policies)
    found = Definitions(loaded.triggers, loaded.policies)
    log = [record for record in play(made, steps).log if "message" in record]
    ends = sorted(min(cut, len(log)) for cut in cuts)
    with TemporaryDirectory() as directory:
        folder = Path(directory)
        whole = [(record["a"], event_of(record)) for record in log]
        _, expected = run_session(found, whole, folder, state=False, drain=True)
        together: list[bytes] = []
        for first, end in zip([0, *ends], [*ends, len(log) + 1], strict=True):
            part = [(record["a"], event_of(record)) for record in log[first:end]]
            _, lines = run_session(found, part, folder, drain=end > len(log))
            together += lines
        assert sorted(together) == sorted(expected)


def test_a_goal_of_the_next_run_credits_a_message_of_the_run_before(tmp_path: Path) -> None:
    found = definitions(LOOK)
    run_session(found, [event(0, "ann", "Product Viewed")], tmp_path)
    after, _ = run_session(found, [event(HOUR, "ann", "Order Completed")], tmp_path)
    assert after.run.tally.triggers["look"].converted == 1
    assert "<td class=n>1</td>" in report_page(after.run.result(), after.run.program, 1.0)


@pytest.mark.parametrize("polled", [False, True])
def test_a_timeline_begins_with_the_first_event_in_its_run(tmp_path: Path, polled: bool) -> None:
    found = definitions(CART)
    run_session(found, [event(0, "ann", "Product Added")], tmp_path)
    others = [event(2 * HOUR, "bob", "Something Else") for _ in range(polled * POLL_EVERY)]
    mine = [event(3 * HOUR, "ann", "Product Added"), event(5 * HOUR, "ann", "Something Else")]
    session, lines = run_session(found, [*others, *mine], tmp_path)
    assert len(lines) == 2
    (one,) = session.run.result().timelines()
    assert [entry.what for entry in one.entries] == ["Product Added", "ADMITTED", "Something Else"]


def test_row_numbers_go_on_where_the_last_run_stopped(tmp_path: Path) -> None:
    found = definitions(CART)
    first, _ = run_session(found, [event(0, "ann", "Product Added")], tmp_path, rows=7)
    assert first.row_from == 0
    second, _ = run_session(found, [event(1, "ann", "Product Added")], tmp_path, rows=5)
    assert second.row_from == 7
    assert Session(found, state=tmp_path / "state").row_from == 12


def test_a_state_of_other_definitions_is_refused(tmp_path: Path) -> None:
    run_session(definitions(CART), [event(0, "ann", "Product Added")], tmp_path)
    for other in (
        definitions(CART, LOOK),
        definitions({**CART, "wait": "2h"}),
        definitions(CART, policies=SPACED),
    ):
        with pytest.raises(StateRefused, match="other definitions"):
            Session(other, state=tmp_path / "state")
    with pytest.raises(StateRefused, match="other definitions"):
        Session(definitions(CART), assume_devices=False, state=tmp_path / "state")


def test_a_change_of_a_triggers_tests_keeps_the_state(tmp_path: Path) -> None:
    run_session(definitions(CART), [event(0, "ann", "Product Added")], tmp_path)
    changed = definitions({**CART, "tests": [{"name": "x", "events": [], "expect": []}]})
    assert Session(changed, state=tmp_path / "state").run.pending == 1


@pytest.mark.parametrize("keep", [0.0, 0.3, 0.9, 0.99])
def test_a_state_that_was_cut_short_is_refused(tmp_path: Path, keep: float) -> None:
    found = definitions(CART, SILENCE)
    events = [event(n, f"u{n}", "Product Added") for n in range(50)]
    run_session(found, events, tmp_path)
    path = tmp_path / "state" / FILE_NAME
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * keep)])
    with pytest.raises(StateRefused):
        Session(found, state=tmp_path / "state")


@settings(max_examples=60)
@given(st.integers(0, 10_000), st.integers(1, 255))
def test_a_state_with_a_changed_byte_is_refused(place: int, change: int) -> None:
    found = definitions(CART, SILENCE)
    with TemporaryDirectory() as directory:
        folder = Path(directory)
        run_session(found, [event(0, "ann", "Product Added")], folder)
        path = folder / "state" / FILE_NAME
        data = bytearray(path.read_bytes())
        data[place % len(data)] ^= change
        path.write_bytes(data)
        with pytest.raises(StateRefused):
            Session(found, state=folder / "state")


def test_a_run_that_fails_leaves_the_state_before_it(tmp_path: Path) -> None:
    found = definitions(CART)
    run_session(found, [event(0, "ann", "Product Added")], tmp_path)
    before = (tmp_path / "state" / FILE_NAME).read_bytes()
    session = Session(found, state=tmp_path / "state")
    session.feed([in_columns([event(1, "bob", "Product Added")])])
    assert (tmp_path / "state" / FILE_NAME).read_bytes() == before
    assert [path.name for path in (tmp_path / "state").iterdir()] == [FILE_NAME]


def test_a_folder_in_which_no_state_can_be_saved_is_refused_before_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(StateRefused, match="is not a folder"):
        Session(definitions(CART), state=file)
    with pytest.raises(NotADirectoryError):
        Session(definitions(CART), state=file / "below")
    monkeypatch.setattr(os, "access", lambda path, _: path != tmp_path)
    with pytest.raises(StateRefused, match="may not be written to"):
        Session(definitions(CART), state=tmp_path)


def test_events_before_the_end_of_the_state_are_refused(tmp_path: Path) -> None:
    found = definitions(CART)
    run_session(found, [event(HOUR, "ann", "Product Added")], tmp_path)
    session = Session(found, state=tmp_path / "state")
    with pytest.raises(StateRefused, match="3600000 ms before"):
        session.feed([in_columns([event(0, "ann", "Product Added")])])


def test_a_state_says_since_when_history_is_known(tmp_path: Path) -> None:
    found = definitions(CART)
    run_session(found, [event(0, "ann", "Product Added")], tmp_path)
    session, _ = run_session(found, [event(HOUR, "ann", "Something Else")], tmp_path)
    assert session.run.known_from_ms == T0
    assert session.run.tally.first_ms == T0 + HOUR
    assert session.run.users == 1

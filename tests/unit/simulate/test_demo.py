"""The demonstration shows what it is meant to: every trigger speaks, every kind of silence."""

from pathlib import Path

import pytest

from engine.backtest.run import Backtest
from engine.files import Problems, read_events
from engine.registry.folder import load_folder
from schemas.decisions import Decision
from schemas.reasons import Outcome, Reason
from triggers.compile import RegisteredTrigger, compile_program

DEMO = Path(__file__).parents[3] / "examples" / "demo"


@pytest.fixture(scope="module")
def decisions() -> list[Decision]:
    triggers, policies, _ = load_folder(DEMO)
    registered = [RegisteredTrigger(found, 1, found.state, 0) for found in triggers.values()]
    made: list[Decision] = []
    run = Backtest(compile_program(1, registered, policies), made.append, assume_devices=False)
    problems = Problems(strict=True)
    source = read_events(DEMO / "clickstream.jsonl.zst", problems=problems)
    run.feed((found.a_ms, found.event) for found in source)
    assert 20_000 <= problems.events <= 30_000
    return made


def test_every_demo_trigger_speaks(decisions: list[Decision]) -> None:
    triggers, *_ = load_folder(DEMO)
    spoken = {found.trigger for found in decisions if found.outcome is Outcome.ADMITTED}
    assert spoken == triggers.keys()


def test_the_demo_shows_cancels_and_every_reason_for_silence(decisions: list[Decision]) -> None:
    reasons = {found.reason for found in decisions if found.outcome is Outcome.SUPPRESSED}
    assert reasons == {
        Reason.COOLDOWN,
        Reason.SPACING,
        Reason.FREQUENCY_CAP,
        Reason.NO_DEVICE,
    }
    assert any(found.outcome is Outcome.CANCELLED for found in decisions)

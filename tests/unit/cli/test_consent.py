"""`tripline consent` without a Kafka: what it refuses to write, and when it gives up."""

import pytest

from engine.local.ports import free_port
from tests.unit.cli.test_events import run


@pytest.fixture(autouse=True)
def nowhere(monkeypatch: pytest.MonkeyPatch) -> str:
    """Settings for a Kafka that does not answer."""
    address = f"127.0.0.1:{free_port()}"
    monkeypatch.setenv("TRIPLINE_KAFKA_SERVERS", address)
    monkeypatch.setenv("TRIPLINE_LOG_SECRET", "0123456789abcdef")
    return address


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "say something"),
        (["--channel", "push"], "NAME=in or NAME=out"),
        (["--channel", "pager=out"], "a channel is one of"),
        (["--category", "News=in"], "no trigger can have this category"),
        (["--category", "news=maybe"], "NAME=in or NAME=out"),
        (["--category", "news=in", "--category", "news=out"], "in and out at once"),
        (["--profiling", "off"], "Invalid value"),
    ],
)
def test_what_makes_no_sense_is_not_written(arguments: list[str], message: str) -> None:
    answer = run("consent", "--user", "ann", *arguments)
    assert answer.exit_code == 2
    assert message in answer.stderr
    assert answer.stdout == ""


def test_an_id_that_no_user_can_have_is_refused() -> None:
    assert run("consent", "--user", "u" * 300, "--all", "out").exit_code == 2


def test_a_kafka_that_does_not_answer_ends_with_6(nowhere: str) -> None:
    answer = run("consent", "--user", "ann", "--all", "out", "--timeout", "0.3")
    assert answer.exit_code == 6
    assert f"Kafka at {nowhere}: no answer within 0.3 s" in answer.stderr

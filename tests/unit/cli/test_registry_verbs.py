"""What the registry's verbs do without a registry: refuse, and say why."""

import json
from pathlib import Path

import pytest
from aiokafka.errors import (
    KafkaConnectionError,
    MessageSizeTooLargeError,
    TopicAuthorizationFailedError,
)
from typer.testing import CliRunner

from engine.cli.common import ExitCode
from engine.cli.main import make_app
from engine.cli.registry import exit_code_of
from engine.local.ports import free_port
from engine.registry.operations import ConflictError

TRIGGER = "id: a\nwhen: {event: Product Added}\n"
WRONG = "id: b\nwhen: {event: Product Added}\nwitout: x\nunless:\n  - {event: Order Completed}\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "triggers").mkdir()
    (tmp_path / "triggers" / "a.yaml").write_text(TRIGGER)
    (tmp_path / "policy.yaml").write_text("strict: {spacing: 2h}\n")
    return tmp_path


@pytest.fixture
def nowhere(monkeypatch: pytest.MonkeyPatch) -> str:
    """Settings for a Kafka that does not answer."""
    address = f"127.0.0.1:{free_port()}"
    monkeypatch.setenv("TRIPLINE_KAFKA_SERVERS", address)
    monkeypatch.setenv("TRIPLINE_LOG_SECRET", "0123456789abcdef")
    return address


def test_validate_accepts_a_right_folder(folder: Path) -> None:
    answer = CliRunner().invoke(make_app(), ["validate", str(folder)])
    assert answer.exit_code == 0, answer.stderr
    assert answer.stdout == ""
    assert answer.stderr == "valid: triggers 1, policies 1\n"


def test_validate_prints_every_error_with_its_place_and_ends_with_2(folder: Path) -> None:
    (folder / "triggers" / "b.yaml").write_text(WRONG)
    (folder / "policy.yaml").write_text("default: {spacing: soon}\n")
    answer = CliRunner().invoke(make_app(), ["validate", str(folder)])
    assert answer.exit_code == 2
    lines = answer.stderr.splitlines()
    assert any(line.startswith("policy.yaml:1:20: ") for line in lines), lines
    assert any(line.startswith("triggers/b.yaml:3:1: unknown field 'witout'") for line in lines)


def test_validate_gives_the_same_as_json(folder: Path) -> None:
    right = CliRunner().invoke(make_app(), ["validate", str(folder), "-o", "json"])
    assert json.loads(right.stdout) == {
        "version": 1,
        "valid": True,
        "triggers": ["a"],
        "policies": ["strict"],
        "errors": [],
        "hints": [],
    }
    (folder / "triggers" / "b.yaml").write_text(WRONG)
    wrong = CliRunner().invoke(make_app(), ["validate", str(folder), "-o", "json"])
    assert wrong.exit_code == 2
    told = json.loads(wrong.stdout)
    assert not told["valid"]
    assert ("triggers/b.yaml", 3, 1) in {
        (error["file"], error["line"], error["column"]) for error in told["errors"]
    }


def test_a_path_that_is_no_workspace_ends_with_2(tmp_path: Path) -> None:
    answer = CliRunner().invoke(make_app(), ["validate", str(tmp_path / "absent")])
    assert answer.exit_code == 2
    assert "is not a folder" in answer.stderr


def test_a_wrong_folder_is_refused_before_kafka_is_asked(folder: Path, nowhere: str) -> None:
    (folder / "triggers" / "b.yaml").write_text(WRONG)
    answer = CliRunner().invoke(make_app(), ["apply", str(folder)])
    assert answer.exit_code == 2
    assert answer.stdout == ""
    assert "triggers/b.yaml:3:1: " in answer.stderr
    assert nowhere not in answer.stderr


def test_changing_the_registry_without_the_log_secret_ends_with_2(
    folder: Path, nowhere: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TRIPLINE_LOG_SECRET")
    for arguments in (["apply", str(folder)], ["pause", "a"], ["resume", "a"]):
        answer = CliRunner().invoke(make_app(), arguments)
        assert answer.exit_code == 2
        assert "TRIPLINE_LOG_SECRET" in answer.stderr


@pytest.mark.parametrize("arguments", [["apply"], ["get"], ["pause", "a"], ["resume", "a"]])
def test_a_kafka_that_does_not_answer_ends_with_6(
    arguments: list[str], folder: Path, nowhere: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRIPLINE_WORKSPACE", str(folder))
    answer = CliRunner().invoke(make_app(), [*arguments, "--timeout", "0.3"])
    assert answer.exit_code == 6
    assert answer.stdout == ""
    assert f"Kafka at {nowhere}: no answer within 0.3 s" in answer.stderr


def test_a_revision_without_an_id_is_refused(nowhere: str) -> None:
    answer = CliRunner().invoke(make_app(), ["get", "--revision", "1"])
    assert answer.exit_code == 2
    assert "--revision needs the ID" in answer.stderr


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ConflictError(), ExitCode.CONFLICT),
        (KafkaConnectionError(), ExitCode.UNREACHABLE),
        (TimeoutError(), ExitCode.UNREACHABLE),
        (TopicAuthorizationFailedError(), ExitCode.AUTH),
        (MessageSizeTooLargeError(), ExitCode.ERROR),
    ],
)
def test_errors_have_their_exit_codes(error: Exception, code: ExitCode) -> None:
    assert exit_code_of(error) is code

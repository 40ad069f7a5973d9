"""`tripline test`: what it says and how it ends."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest
from typer.testing import CliRunner

from engine.cli.main import make_app
from tests.waiting import eventually

CASE = """\
id: hello
when: {event: Opened}
tests:
  - name: at once
    events: [{at: 1m, event: Opened}]
    expect: [{at: 1m, outcome: ADMITTED}]
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "triggers").mkdir()
    (tmp_path / "triggers" / "hello.yaml").write_text(CASE)
    (tmp_path / "triggers" / "quiet.yaml").write_text("id: quiet\nwhen: {event: Closed}\n")
    return tmp_path


def run(folder: Path, *words: str) -> tuple[int, str, str]:
    answer = CliRunner().invoke(make_app(), ["test", str(folder), *words])
    return answer.exit_code, answer.stdout, answer.stderr


def fail(folder: Path) -> None:
    (folder / "triggers" / "hello.yaml").write_text(
        CASE.replace("expect: [{at: 1m", "expect: [{at: 2m")
    )


def test_passing_ends_with_0_and_names_the_triggers_without_tests(folder: Path) -> None:
    code, stdout, stderr = run(folder)
    assert (code, stderr) == (0, "without tests: quiet\n")
    assert stdout == "hello  1 passed\n\n1 passed\n"


def test_failing_ends_with_1(folder: Path) -> None:
    fail(folder)
    code, stdout, _ = run(folder)
    assert code == 1
    assert "- 2m       ADMITTED" in stdout
    assert "+ 1m       ADMITTED" in stdout


def test_the_json_is_versioned_and_ends_with_1_too(folder: Path) -> None:
    fail(folder)
    code, stdout, _ = run(folder, "-o", "json")
    report = json.loads(stdout)
    assert code == 1
    assert (report["version"], report["passed"], report["failed"]) == (1, 0, 1)


def test_the_junit_file_is_written_also_when_tests_fail(folder: Path, tmp_path: Path) -> None:
    fail(folder)
    out = tmp_path / "junit.xml"
    assert run(folder, "--junit", str(out))[0] == 1
    assert ElementTree.parse(out).getroot().get("failures") == "1"
    code, _, stderr = run(folder, "--junit", "/dev/full")
    assert code == 1
    assert "cannot write" in stderr


def test_a_junit_file_without_a_folder_is_refused_before_any_test_runs(folder: Path) -> None:
    fail(folder)
    out = folder / "no" / "junit.xml"
    code, stdout, stderr = run(folder, "--junit", str(out))
    assert (code, stdout) == (2, "")
    assert stderr == f"--junit {out}: there is no folder {out.parent}\n"


@pytest.mark.parametrize("words", [["-k", "nobody"], ["-k", "not hello"]])
def test_no_test_at_all_ends_with_4(folder: Path, words: list[str]) -> None:
    code, _, stderr = run(folder, *words)
    assert code == 4
    assert "no test fits -k" in stderr
    (folder / "triggers" / "hello.yaml").unlink()
    assert run(folder)[0] == 4


def test_an_invalid_workspace_or_expression_ends_with_2(folder: Path) -> None:
    assert run(folder, "-k", "a and")[0] == 2
    assert run(folder / "nowhere")[0] == 2
    (folder / "triggers" / "hello.yaml").write_text(CASE.replace("outcome", "outcom"))
    code, _, stderr = run(folder)
    assert code == 2
    assert "triggers/hello.yaml:6:23: unknown field 'outcom' (did you mean 'outcome'?)" in stderr


def _heeding_sigint() -> None:
    """A shell's background jobs ignore it, and so would all that they start."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


async def test_watch_runs_again_when_a_file_changes_and_survives_a_broken_one(
    folder: Path,
) -> None:
    command = [sys.executable, "-m", "engine.cli", "test", str(folder), "--watch"]
    log = folder / "log"
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    with (
        log.open("wb") as out,
        subprocess.Popen(
            command, stdout=out, stderr=out, env=environment, preexec_fn=_heeding_sigint
        ) as watching,
    ):
        try:
            await eventually(
                lambda: log.read_text().count("waiting for a change") == 1, within_s=60
            )
            assert "1 passed" in log.read_text()
            fail(folder)
            await eventually(
                lambda: log.read_text().count("waiting for a change") == 2, within_s=30
            )
            assert "1 failed" in log.read_text()
            (folder / "triggers" / "hello.yaml").write_text("id: [\n")
            await eventually(
                lambda: log.read_text().count("waiting for a change") == 3, within_s=30
            )
            assert "hello.yaml:2:1: not valid YAML" in log.read_text()
            watching.send_signal(signal.SIGINT)
            await eventually(lambda: watching.poll() is not None, within_s=30)
        finally:
            watching.kill()
    assert watching.returncode == 0


def test_texts_that_tests_render_too_long_are_warned_of_with_the_worst(folder: Path) -> None:
    rows = "".join(
        f"  - name: {name}\n"
        f"    events: [{{at: 1m, event: Opened, properties: {{name: {name}}}}}]\n"
        "    expect: [{at: 1m, outcome: ADMITTED}]\n"
        for name in ("Bo", "Maximiliana", "Maximilian")
    )
    (folder / "triggers" / "hello.yaml").write_text(
        "id: hello\nwhen: {event: Opened}\n"
        "message: {push: {title: 'Hi {{ event.properties.name }}', body: ok}}\n"
        f"tests:\n{rows}"
    )
    (folder / "policy.yaml").write_text("default: {text: {title_max: 8}}\n")
    code, _, stderr = run(folder)
    assert code == 0
    assert stderr.splitlines()[0] == (
        "hint: triggers/hello.yaml:3:25: this title was longer than 8 characters "
        "(`text.title_max` of its policy) in 2 of 3 messages, the longest has 14: 'Hi Maximiliana'"
    )

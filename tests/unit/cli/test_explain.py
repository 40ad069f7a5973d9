"""`tripline explain --events`: the story of a file's user, on stdout."""

import json
from pathlib import Path

import pytest

from tests.unit.cli.test_events import message, run


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "triggers").mkdir()
    trigger = (
        "id: kettle\nstate: live\nclass: transactional\n"
        "when: {event: Kettle Viewed, where: {properties.price: {lt: 22}}}\n"
    )
    (tmp_path / "triggers" / "kettle.yaml").write_text(trigger)
    lines = [message(n, "Kettle Viewed", price=20 + n) for n in range(4)]
    (tmp_path / "events.jsonl").write_bytes(b"\n".join(lines))
    return tmp_path


def test_a_file_is_explained_for_people_and_for_scripts(folder: Path) -> None:
    where = ("--events", folder / "events.jsonl", "--workspace", folder)
    told = run("explain", "--user", "u1", *where)
    assert told.exit_code == 0
    assert "ADMITTED m1: delivery" in told.stdout
    assert "price 21 < 22\n" in told.stdout
    answer = run("explain", "--user", "u3", "--trigger", "kettle", "-o", "json", *where)
    found = json.loads(answer.stdout)
    assert (answer.exit_code, found["version"], found["records"]) == (0, 1, 1)
    (entry,) = found["triggers"]["kettle"]["entries"]
    assert (entry["what"], entry["clauses"][0]["value"]) == ("NOT_MATCHED", 23)


def test_a_user_of_whom_nothing_is_known_is_told_as_that(folder: Path) -> None:
    where = ("--events", folder / "events.jsonl", "--workspace", folder)
    told = run("explain", "--user", "nobody", *where)
    assert told.exit_code == 0
    assert "nobody: 0 records" in told.stdout
    assert "no trigger names any of them, and nothing is pending" in told.stdout


def test_an_earlier_moment_leaves_out_what_came_later(folder: Path) -> None:
    where = ("--events", folder / "events.jsonl", "--workspace", folder)
    told = run("explain", "--user", "u1", "--at", "2026-01-05T10:00:30Z", *where)
    assert "u1: 0 records" in told.stdout


def test_wrong_names_and_times_end_with_their_codes(folder: Path) -> None:
    where = ("--events", folder / "events.jsonl", "--workspace", folder)
    unknown = run("explain", "--user", "u1", "--trigger", "ketle", *where)
    assert (unknown.exit_code, unknown.stdout) == (4, "")
    assert "did you mean 'kettle'?" in unknown.stderr
    assert run("explain", "--user", "u1", "--at", "noon", *where).exit_code == 2
    assert run("explain", "--user", "u1", "--events", folder / "no.jsonl").exit_code == 2


def test_the_live_commands_need_the_log_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TRIPLINE_LOG_SECRET", raising=False)
    for arguments in (("explain", "--user", "u1"), ("replay",)):
        answer = run(*arguments)
        assert answer.exit_code == 2
        assert "TRIPLINE_LOG_SECRET" in answer.stderr


def test_replay_knows_how_many_shards_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRIPLINE_LOG_SECRET", "s" * 32)
    monkeypatch.setenv("TRIPLINE_PARTITIONS", "4")
    answer = run("replay", "--shard", "4")
    assert (answer.exit_code, answer.stderr) == (2, "--shard 4: there are 4, from 0\n")

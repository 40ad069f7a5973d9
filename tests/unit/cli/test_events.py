"""`tripline events`: learn from a file, show what is known, and let validate use it."""

import json
from pathlib import Path

import msgspec
import pytest
from typer.testing import CliRunner, Result

from engine.cli.main import make_app


def run(*arguments: object) -> Result:
    return CliRunner().invoke(make_app(), [str(argument) for argument in arguments])


def message(number: int, event: str, **properties: object) -> bytes:
    fields = {"type": "track", "event": event, "userId": f"u{number}", "messageId": f"m{number}"}
    at = f"2026-01-05T10:{number:02d}:00.000Z"
    return msgspec.json.encode({**fields, "receivedAt": at, "properties": properties})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "triggers").mkdir()
    trigger = "id: a\nwhen: {event: Kettle Viewed, where: {properties.price: {gte: 20}}}\n"
    (tmp_path / "triggers" / "a.yaml").write_text(trigger)
    lines = [message(n, "Kettle Viewed", price=20 + n, colour="red") for n in range(4)]
    (tmp_path / "events.jsonl").write_bytes(b"\n".join([*lines, b"not json"]))
    return tmp_path


def test_a_catalogue_without_a_folder_is_refused_before_anything_is_learned(folder: Path) -> None:
    out = folder / "no" / "catalog.yaml"
    answer = run("events", folder, "--learn", folder / "nowhere.jsonl", "--out", out)
    assert answer.exit_code == 2
    assert answer.stderr == f"--out {out}: there is no folder {out.parent}\n"


def test_what_was_learned_is_listed_and_shown(folder: Path) -> None:
    answer = run("events", folder, "--learn", folder / "events.jsonl")
    assert (answer.exit_code, answer.stdout) == (0, "")
    assert "MALFORMED_JSON: 1" in answer.stderr
    assert "learned from 4 events: 1 names (1 new), 2 paths (2 new)" in answer.stderr
    listed = run("events", folder).stdout.splitlines()
    assert listed[1].split() == ["Kettle", "Viewed", "4", "2026-01-05T10:03:00.000Z", "2", "-"]
    shown = run("events", folder, "--event", "Kettle Viewed").stdout.splitlines()
    assert [line.split() for line in shown[1:]] == [
        ["properties.colour", "string", "4", "red", "-"],
        ["properties.price", "integer", "4", "-", "-"],
    ]


def test_json_output_is_versioned(folder: Path) -> None:
    learned = json.loads(
        run("events", folder, "--learn", folder / "events.jsonl", "-o", "json").stdout
    )
    assert learned == {
        "version": 1,
        "events": 4,
        "unnamed": 0,
        "new": ["Kettle Viewed"],
        "names": 1,
        "paths": 2,
    }
    found = json.loads(run("events", folder, "-o", "json").stdout)
    assert found["version"] == 1
    assert found["events"]["Kettle Viewed"]["paths"]["properties.colour"] == {
        "types": {"string": 4},
        "examples": ["red"],
        "open": False,
    }


def test_a_learned_catalogue_lets_validate_refuse_a_slip(folder: Path) -> None:
    run("events", folder, "--learn", folder / "events.jsonl")
    assert run("validate", folder).exit_code == 0
    path = folder / "triggers" / "a.yaml"
    path.write_text(path.read_text().replace("properties.price", "properties.prce"))
    answer = run("validate", folder)
    assert answer.exit_code == 2
    assert answer.stderr == (
        "triggers/a.yaml:2:38: unknown path 'properties.prce' of Kettle Viewed"
        " (did you mean 'properties.price'?)\n"
    )


def test_out_names_another_file_and_learning_again_adds_up(folder: Path) -> None:
    out = folder / "other.yaml"
    for _ in range(2):
        run("events", folder, "--learn", folder / "events.jsonl", "--out", out)
    assert "count: 8" in out.read_text()
    assert not (folder / "catalog.yaml").exists()


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        ((), 4, "catalog.yaml is not there: `tripline events --learn FILE` makes it"),
        (("--learn", "absent.jsonl"), 2, "absent.jsonl: cannot be read"),
        (("--learn", "{}/events.jsonl", "--strict"), 2, "events.jsonl:5: MALFORMED_JSON"),
        (("--learn", "{}/events.jsonl", "--map", "absent.yaml"), 2, "absent.yaml"),
    ],
)
def test_what_cannot_be_done_ends_with_its_code_and_writes_nothing(
    folder: Path, arguments: tuple[str, ...], code: int, said: str
) -> None:
    answer = run("events", folder, *(argument.format(folder) for argument in arguments))
    assert answer.exit_code == code
    assert said in answer.stderr
    assert not (folder / "catalog.yaml").exists()


def test_a_file_out_of_order_is_learned_from_as_it_stands(folder: Path) -> None:
    lines = [message(number, "Kettle Viewed") for number in (2, 1, 3)]
    (folder / "mixed.jsonl").write_bytes(b"\n".join(lines))
    assert run("events", folder, "--learn", folder / "mixed.jsonl").exit_code == 0
    found = json.loads(run("events", folder, "-o", "json").stdout)["events"]["Kettle Viewed"]
    assert (found["first"][14:16], found["last"][14:16]) == ("01", "03")


def test_an_unknown_event_and_a_broken_catalogue_end_with_their_codes(folder: Path) -> None:
    run("events", folder, "--learn", folder / "events.jsonl")
    answer = run("events", folder, "--event", "Kettle Vewed")
    assert (answer.exit_code, answer.stderr) == (
        4,
        "unknown event 'Kettle Vewed' (did you mean 'Kettle Viewed'?)\n",
    )
    (folder / "catalog.yaml").write_text("events: 3\n")
    assert run("events", folder).exit_code == 2


def test_validate_says_hints_and_still_accepts(folder: Path) -> None:
    (folder / "triggers" / "a.yaml").write_text("id: a\nwhen: {event: Completed Order}\n")
    answer = run("validate", folder, "-o", "json")
    assert answer.exit_code == 0
    assert answer.stderr.startswith(
        "hint: triggers/a.yaml:2:15: 'Completed Order' is the version 1"
    )
    (hint,) = json.loads(answer.stdout)["hints"]
    assert (hint["file"], hint["line"], hint["column"]) == ("triggers/a.yaml", 2, 15)

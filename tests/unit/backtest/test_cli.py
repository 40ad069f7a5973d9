"""`tripline backtest` as scripts see it: its JSON, its files, its exit codes."""

import json
from pathlib import Path

import msgspec
import pytest
from typer.testing import CliRunner, Result

from engine.cli.main import make_app
from engine.files import to_segment
from schemas.events import Event
from tests.unit.backtest.histories import CART, DAY, HOUR, LOOK, MINUTE, event

CART_YAML = json.dumps(CART)
LOOK_YAML = json.dumps({**LOOK, "cooldown": "1h"})
POLICY = "default: {spacing: 30m, grace: 0s}\n"

EVENTS = [
    event(0, "ann", "Product Added"),
    event(0, "bob", "Product Added"),
    event(30 * MINUTE, "bob", "Order Completed"),
    event(59 * MINUTE, "eve", "Product Viewed"),
    event(60 * MINUTE, "eve", "Product Viewed"),
    event(70 * MINUTE, "ann", "Product Viewed"),
    event(2 * HOUR, "ann", "Order Completed"),
    event(DAY, "ann", "Product Added"),
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "workspace"
    (made / "triggers").mkdir(parents=True)
    (made / "triggers" / "cart.yaml").write_text(CART_YAML)
    (made / "triggers" / "look.yaml").write_text(LOOK_YAML)
    (made / "policy.yaml").write_text(POLICY)
    return made


@pytest.fixture
def events(tmp_path: Path) -> Path:
    return write_events(tmp_path / "events.jsonl", EVENTS)


def write_events(path: Path, rows: list[tuple[int, Event]]) -> Path:
    path.write_bytes(b"".join(to_segment(found, a) + b"\n" for a, found in rows))
    return path


def tripline(*arguments: object, code: int = 0) -> Result:
    answer = CliRunner().invoke(make_app(), [str(argument) for argument in arguments])
    assert answer.exit_code == code, (answer.exit_code, answer.output, answer.exception)
    return answer


def test_the_json_report_is_what_scripts_rely_on(folder: Path, events: Path) -> None:
    answer = tripline("backtest", folder, "-e", events, "-o", "json")
    assert json.loads(answer.stdout) == {
        "version": 1,
        "triggers": {
            "cart": {
                "candidates": 1,
                "admitted": 1,
                "suppressed": {},
                "cancelled": 1,
                "expired": 0,
                "converted": 1,
            },
            "look": {
                "candidates": 3,
                "admitted": 1,
                "suppressed": {"COOLDOWN": 1, "SPACING": 1},
                "cancelled": 0,
                "expired": 0,
                "converted": 0,
            },
        },
        "users": 3,
        "events": 8,
    }
    assert list(json.loads(answer.stdout)) == ["version", "triggers", "users", "events"]


def test_drain_fires_what_is_pending(folder: Path, events: Path) -> None:
    answer = tripline("backtest", folder, "-e", events, "-o", "json", "--drain")
    assert json.loads(answer.stdout)["triggers"]["cart"]["admitted"] == 2


def test_a_policy_value_can_be_set_for_one_run(folder: Path, events: Path) -> None:
    options = ["--set", "policy.default.spacing=0s"]
    answer = tripline("backtest", folder, "-e", events, "-o", "json", *options)
    assert json.loads(answer.stdout)["triggers"]["look"]["suppressed"] == {"COOLDOWN": 1}


def test_quiet_hours_can_be_tried_for_one_run_and_drained(folder: Path, events: Path) -> None:
    out = folder.parent / "decisions.jsonl"
    options = ["--set", 'policy.default.quiet=["00:00", "23:59"]', "--decisions", out]
    held = tripline("backtest", folder, "-e", events, *options)
    # Of the second day nothing has been released when the events end.
    assert "still pending" in held.output
    tripline("backtest", folder, "-e", events, *options, "--drain")
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    sent = [row["at"] for row in rows if row["outcome"] == "ADMITTED"]
    assert sent
    assert all(at.endswith("T23:59:00.000Z") for at in sent)


def test_grace_is_short_for_the_grace_of_every_policy(folder: Path, events: Path) -> None:
    out = folder.parent / "decisions.jsonl"
    tripline("backtest", folder, "-e", events, "--grace", "7s", "--decisions", out)
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    (sent,) = [row for row in rows if row["trigger"] == "cart" and row["outcome"] == "ADMITTED"]
    assert sent["at"] == "2026-01-05T11:00:07.000Z"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("policy.default.spacing=soon", "spacing"),
        ("policy.other.spacing=0s", "there is no policy 'other'"),
        ("spacing=0s", "is not policy.<name>.<field>=<value>"),
        ("policy.default.spacin=0s", "spacin"),
    ],
)
def test_an_impossible_change_is_refused(
    folder: Path, events: Path, change: str, message: str
) -> None:
    answer = tripline("backtest", folder, "-e", events, "--set", change, code=2)
    assert message in answer.stderr


@pytest.mark.parametrize("option", ["--decisions", "--counters", "--html"])
def test_a_file_without_a_folder_is_refused_before_any_work_and_names_its_option(
    folder: Path, tmp_path: Path, option: str
) -> None:
    out, state = tmp_path / "no" / "out.file", tmp_path / "state"
    words = ("backtest", folder, "-e", tmp_path / "nowhere.jsonl", "--state", state)
    answer = tripline(*words, option, out, code=2)
    assert answer.stderr == f"{option} {out}: there is no folder {out.parent}\n"
    answer = tripline(*words, option, folder, code=2)
    assert answer.stderr == f"{option} {folder}: this is a folder, not a file\n"
    assert not state.exists()


def test_decisions_are_one_object_a_line_in_order(folder: Path, events: Path) -> None:
    out = folder.parent / "decisions.jsonl"
    tripline("backtest", folder, "-e", events, "--decisions", out)
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert rows[0] == {
        "trigger": "cart",
        "user": "bob",
        "activation": "bob-Product Added-0",
        "at": "2026-01-05T10:30:00.000Z",
        "outcome": "CANCELLED",
        "reason": None,
        "start": "bob-Product Added-0",
        "event": "bob-Product Added-0",
        "variant": None,
    }
    assert [row["at"] for row in rows] == sorted(row["at"] for row in rows)


def test_a_split_input_with_state_gives_the_decisions_of_one_run(
    folder: Path, events: Path
) -> None:
    out, state = folder.parent / "d.jsonl", folder.parent / "state"
    tripline("backtest", folder, "-e", events, "--decisions", out, "--drain")
    expected = out.read_bytes()
    lines = events.read_bytes().splitlines(keepends=True)
    together = b""
    for number in range(0, len(lines), 3):
        part = folder.parent / f"part{number}.jsonl"
        part.write_bytes(b"".join(lines[number : number + 3]))
        last = ["--drain"] if number + 3 >= len(lines) else []
        tripline("backtest", folder, "-e", part, "--decisions", out, "--state", state, *last)
        together += out.read_bytes()
    assert together == expected


def test_messages_without_an_id_are_numbered_through_all_runs(folder: Path) -> None:
    rows = [msgspec.json.decode(to_segment(found, a)) for a, found in EVENTS[:2]]
    for row in rows:
        del row["messageId"]
    out, state = folder.parent / "d.jsonl", folder.parent / "state"
    seen = []
    for number, row in enumerate(rows):
        part = folder.parent / f"part{number}.jsonl"
        part.write_bytes(msgspec.json.encode(row) + b"\n")
        drain = ["--drain"] if number else []
        tripline("backtest", folder, "-e", part, "--decisions", out, "--state", state, *drain)
        seen += [json.loads(line)["activation"] for line in out.read_text().splitlines()]
    assert seen == ["1", "2"]


def test_a_foreign_state_ends_with_2_and_says_why(folder: Path, events: Path) -> None:
    state = folder.parent / "state"
    tripline("backtest", folder, "-e", events, "--state", state)
    (folder / "policy.yaml").write_text("default: {spacing: 5h}\n")
    answer = tripline("backtest", folder, "-e", events, "--state", state, code=2)
    assert "other definitions" in answer.stderr


def test_the_summary_says_what_happened_to_whom(folder: Path, events: Path) -> None:
    text = tripline("backtest", folder, "-e", events).stdout
    assert "8 events of 3 users" in text
    assert "2026-01-05" in text
    assert "messages per user" in text
    assert "look <- cart  SPACING" in text
    assert "user ann" in text
    assert "* cart: ADMITTED" in text
    assert "1 instances are still pending" in text
    assert "approximate until" in text
    assert "cooldown 1h (look)" in text


def test_the_page_is_one_file_without_requests_or_script(folder: Path, events: Path) -> None:
    page = folder.parent / "report.html"
    tripline("backtest", folder, "-e", events, "--html", page)
    text = page.read_text()
    assert text.count("<svg") >= 4
    for foreign in ("<script", "<link", "@import", "url(", 'src="', "http://", "https://"):
        assert foreign not in text.replace("http://www.w3.org/2000/svg", "")
    assert "prefers-color-scheme: dark" in text


def test_the_page_escapes_what_events_say(folder: Path) -> None:
    rows = [event(0, "<script>alert(1)</script>", "Product Viewed")]
    path = write_events(folder.parent / "evil.jsonl", rows)
    page = folder.parent / "report.html"
    tripline("backtest", folder, "-e", path, "--html", page)
    assert "<script" not in page.read_text()


def test_an_empty_history_gives_an_empty_report(folder: Path) -> None:
    path = write_events(folder.parent / "none.jsonl", [])
    page = folder.parent / "report.html"
    answer = tripline("backtest", folder, "-e", path, "--html", page, "-o", "json")
    assert json.loads(answer.stdout)["events"] == 0
    assert "<h1>" in page.read_text()


@pytest.mark.parametrize("title", ["For {{ trigger.id }}", "For look"])
def test_texts_that_were_rendered_too_long_are_warned_of_where_they_stand(
    tmp_path: Path, events: Path, title: str
) -> None:
    made = tmp_path / "says"
    (made / "triggers").mkdir(parents=True)
    (made / "triggers" / "look.yaml").write_text(
        "id: look\nstate: live\nwhen: {event: Product Viewed}\n"
        f"message: {{push: {{title: '{title}', body: ok}}}}\n"
    )
    set_ = ("--set", "policy.default.text.title_max=5")
    answer = tripline("backtest", made, "-e", events, "-o", "json", *set_)
    assert json.loads(answer.stdout)["triggers"]["look"]["admitted"] == 3
    assert answer.stderr == (
        "hint: triggers/look.yaml:4:25: this title was longer than 5 characters "
        "(`text.title_max` of its policy) in 3 of 3 messages, the longest has 8: 'For look'\n"
    )
    assert tripline("backtest", made, "-e", events).stderr == ""


def test_messages_that_cannot_be_rendered_are_warned_of(tmp_path: Path, events: Path) -> None:
    made = tmp_path / "says"
    (made / "triggers").mkdir(parents=True)
    (made / "triggers" / "look.yaml").write_text(
        "id: look\nstate: live\nwhen: {event: Product Viewed}\n"
        "message: {push: {title: 'For {{ event.properties.nobody }}', body: ok}}\n"
    )
    assert (
        "hint: triggers/look.yaml:4:25: this title could not be rendered in 3 of 3 messages, which "
        "end TEMPLATE_ERROR: "
    ) in tripline("backtest", made, "-e", events).stderr


def test_links_that_cannot_be_rendered_are_warned_of_where_they_stand(
    tmp_path: Path, events: Path
) -> None:
    made = tmp_path / "says"
    (made / "triggers").mkdir(parents=True)
    (made / "triggers" / "look.yaml").write_text(
        "id: look\nstate: live\nwhen: {event: Product Viewed}\n"
        "message: {link: 'app://{{ event.properties.nobody }}', push: {title: t, body: b}}\n"
    )
    assert (
        "hint: triggers/look.yaml:4:17: this link could not be rendered in 3 of 3 messages, which "
        "end TEMPLATE_ERROR: "
    ) in tripline("backtest", made, "-e", events).stderr


def test_a_candidate_that_was_held_too_long_is_one_in_the_backtest_and_in_the_report(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "held"
    (folder / "triggers").mkdir(parents=True)
    look = {**LOOK, "state": "live", "hold": {"at_most": "1h"}}
    (folder / "triggers" / "look.yaml").write_text(json.dumps(look))
    (folder / "policy.yaml").write_text('default: {quiet: ["00:00", "23:00"], zone: UTC}\n')
    events = write_events(
        tmp_path / "held.jsonl",
        [event(0, "eve", "Product Viewed"), event(3 * HOUR, "eve", "Other")],
    )
    counters = tmp_path / "counters.json"
    answer = tripline("backtest", folder, "--events", events, "--counters", counters, "-o", "json")
    found = json.loads(answer.stdout)["triggers"]["look"]
    assert (found["candidates"], found["expired"], found["admitted"]) == (1, 1, 0)
    report = json.loads(tripline("report", "--from-backtest", counters, "-o", "json").stdout)
    funnel = report["triggers"]["look"]["funnel"]
    assert (funnel["matched"], funnel["expired"]) == (1, 1)

"""The catalogue of shipped triggers: whole, tested, tried on events, and ready to be copied."""

import json
import shlex
from collections.abc import Iterable
from importlib.resources import files
from pathlib import Path

import pytest
from typer.testing import CliRunner

from engine.cli.main import make_app
from engine.registry.folder import load_folder
from engine.starter.shipped import (
    catalogue_page,
    catalogue_texts,
    chosen_files,
    intent_of,
    shipped,
    trigger_file,
)
from engine.testing.cases import Case, cases_of
from engine.testing.run import run_case
from schemas.reasons import Outcome
from triggers.loader import load_workspace
from triggers.names import ANY, signal_name
from triggers.schema import SCHEMAS
from triggers.workspace import DefinitionError

CATALOG = Path(str(files("triggers") / "catalog"))
CLICKSTREAM = Path("examples/demo/clickstream.jsonl.zst")
WORKSPACE = load_workspace(catalogue_texts())
CASES = list(cases_of(WORKSPACE))
#: What issue and product ask for, by the id that serves it.
ASKED = """
abandoned-cart-item abandoned-cart-bundle abandoned-favourite abandoned-checkout abandoned-form
abandoned-session repeat-category-view kettle-got-cheaper price-drop back-in-stock
low-stock-in-cart idle-7d idle-14d idle-30d first-purchase fifth-purchase feedback-request
feedback-thanks order-delivered birthday subscription-expiring happy-hours schedule-changed
bonus-credited new-device-sign-in near-store digest-of-drops welcome win-back churn-risk
"""


def run(line: str) -> tuple[int, str, str]:
    answer = CliRunner().invoke(make_app(), shlex.split(line))
    return answer.exit_code, answer.stdout, answer.stderr


def _said(case: Case) -> int:
    own = case.trigger.id
    return sum(
        expected.outcome == Outcome.ADMITTED and expected.trigger in (None, own)
        for expected in case.test.expect
    )


def _starters(case: Case) -> int:
    """How many of its events have a name that its pattern wants."""
    pattern = case.program.triggers[case.trigger.id].pattern
    names = {want.name for want in pattern.wants}
    given = (one.event or one.signal for one in case.test.events)
    if ANY in names:
        return len(case.test.events)
    return sum(bool({name, signal_name(name)} & names) for name in given if name)


def _shows_silence(case: Case) -> bool:
    """Nothing is said at all, or, where nothing is waited for, not at every event of that name."""
    said = _said(case)
    return said == 0 or (not case.trigger.waits and said < _starters(case))


def _of(trigger: str) -> Iterable[Case]:
    return (case for case in CASES if case.trigger.id == trigger)


def test_every_trigger_that_is_asked_for_is_there_and_none_gives_an_error_or_a_hint() -> None:
    hints: list[DefinitionError] = []
    folder = load_folder(CATALOG, hints)
    assert hints == []
    assert set(ASKED.split()) <= folder.triggers.keys()
    assert len(folder.triggers) >= 25
    code, _, stderr = run(f"validate {shlex.quote(str(CATALOG))}")
    assert (code, "hint" in stderr) == (0, False)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.title)
def test_every_shipped_test_passes(case: Case) -> None:
    verdict = run_case(case)
    assert verdict.passed, [str(line) for line in verdict.lines] + list(verdict.why)


@pytest.mark.parametrize("trigger", sorted(WORKSPACE.triggers))
def test_every_trigger_says_its_intent_and_shows_when_it_speaks_and_when_not(trigger: str) -> None:
    text = catalogue_texts()[trigger_file(trigger)]
    definition = WORKSPACE.triggers[trigger]
    assert 20 <= len(intent_of(text)) <= 100
    assert (definition.name, definition.owner, definition.category) != (None, None, None)
    assert all(set(message.push.title) == {"en", "ru"} for message in definition.all_messages)
    if definition.state == "draft":
        assert definition.when.__class__.__name__ in ("ItemWhen", "ScheduleWhen")
        assert "# A draft, without tests" in text
        assert definition.tests == ()
    else:
        assert any(_said(case) > 0 for case in _of(trigger))
        assert any(_shows_silence(case) for case in _of(trigger))


def test_the_backtest_over_the_demo_speaks_for_every_trigger_its_events_can_start() -> None:
    folder, events = shlex.quote(str(CATALOG)), CLICKSTREAM
    code, stdout, stderr = run(f"backtest {folder} --events {events} --drain -o json")
    assert code == 0, stderr
    tallies = json.loads(stdout)["triggers"]
    speaking = {name for name, tally in tallies.items() if tally["admitted"] > 0}
    assert tallies.keys() == {one.id for one in shipped().values() if not one.draft}
    assert speaking >= {
        "abandoned-cart-bundle",
        "abandoned-cart-item",
        "abandoned-checkout",
        "abandoned-favourite",
        "abandoned-session",
        "cheaper-second-look",
        "first-purchase",
        "idle-7d",
        "idle-14d",
        "idle-30d",
        "repeat-category-view",
        "searching-in-vain",
        "win-back",
    }


def test_the_page_in_docs_is_the_catalogue() -> None:
    page = Path("docs/catalog.md").read_text()
    assert page == catalogue_page(), "run: python -m engine.starter.shipped > docs/catalog.md"


def test_all_of_it_is_copied_with_what_editors_need_and_passes_there(tmp_path: Path) -> None:
    code, stdout, _ = run(f"init {shlex.quote(str(tmp_path))} --from catalog")
    assert (code, stdout) == (0, "")
    copied = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.*")}
    assert copied == {
        *catalogue_texts(),
        *(f"schema/{name}.schema.json" for name in SCHEMAS),
    }
    assert load_folder(tmp_path) == load_folder(CATALOG)
    for name, text in catalogue_texts().items():
        start, _, schema = text.splitlines()[0].partition("=")
        assert start == "# yaml-language-server: $schema"
        assert ((tmp_path / name).parent / schema).is_file()


@pytest.mark.parametrize("trigger", sorted(WORKSPACE.triggers))
def test_any_one_of_it_stands_by_itself_with_what_it_needs(trigger: str) -> None:
    contents = chosen_files([trigger])
    alone = load_workspace({name: text.decode() for name, text in contents.items()})
    assert trigger in alone.triggers
    assert "policy.yaml" in contents


def test_what_is_chosen_brings_what_it_needs_and_nothing_else() -> None:
    names = chosen_files(["feedback-reminder", "near-store"]).keys()
    assert names == {
        "places.yaml",
        "policy.yaml",
        "relations.yaml",
        "triggers/feedback-reminder.yaml",
        "triggers/feedback-request.yaml",
        "triggers/near-store.yaml",
    }


def test_what_it_needs_stays_as_it_is_and_a_trigger_that_exists_is_refused(tmp_path: Path) -> None:
    folder = shlex.quote(str(tmp_path))
    assert run(f"init {folder} --from catalog:feedback-request")[0] == 0
    (tmp_path / "policy.yaml").write_text("default: {spacing: 5h}\n")
    code, _, stderr = run(f"init {folder} --from catalog:feedback-reminder")
    assert code == 0
    assert f"kept {tmp_path / 'policy.yaml'}" in stderr
    assert (tmp_path / "policy.yaml").read_text() == "default: {spacing: 5h}\n"
    assert load_folder(tmp_path).triggers.keys() == {"feedback-request", "feedback-reminder"}
    code, _, stderr = run(f"init {folder} --from catalog:welcome,feedback-reminder")
    assert code == 5
    assert "feedback-reminder.yaml" in stderr
    assert not (tmp_path / "triggers" / "welcome.yaml").exists()


@pytest.mark.parametrize(
    ("source", "code", "said"),
    [
        ("catalog:win-bak", 4, "did you mean 'win-back'"),
        ("catalog:", 2, "catalog:ID,ID"),
        ("katalog", 2, "catalog:ID,ID"),
    ],
)
def test_what_is_not_in_the_catalogue_is_refused_before_anything_is_written(
    source: str, code: int, said: str, tmp_path: Path
) -> None:
    found, _, stderr = run(f"init {shlex.quote(str(tmp_path))} --from {source}")
    assert (found, said in stderr) == (code, True)
    assert list(tmp_path.iterdir()) == []


def test_the_list_has_a_line_of_intent_for_each_and_tells_the_drafts() -> None:
    code, stdout, _ = run("init --list")
    lines = stdout.splitlines()
    assert code == 0
    assert [line.split()[0] for line in lines] == list(shipped())
    assert all(one.intent in line for one, line in zip(shipped().values(), lines, strict=True))
    drafts = {line.split()[0] for line in lines if line.endswith("(draft)")}
    assert drafts == {one.id for one in shipped().values() if one.draft}

"""What an author sees in an editor: the real yaml-language-server with the files of `init`."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

import pytest

from engine.starter.files import starter_files, write_starter
from tests.integration.editor.lsp import Editor, editor
from triggers.operators import OPERATORS

T = TypeVar("T")

TRIGGER = "# yaml-language-server: $schema=../schema/trigger.schema.json\n"
POLICY = "# yaml-language-server: $schema=schema/policy.schema.json\n"


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shop")
    write_starter(folder, starter_files())
    return folder


def in_editor(shop: Path, work: Callable[[Editor], Awaitable[T]]) -> T:
    async def run() -> T:
        async with editor(shop) as server:
            return await work(server)

    return asyncio.run(run())


def test_the_files_of_init_are_without_a_complaint(shop: Path) -> None:
    definitions = [*sorted(shop.glob("triggers/*.yaml")), shop / "policy.yaml"]

    async def look(server: Editor) -> list[list[str]]:
        return [await server.open(path, path.read_text()) for path in definitions]

    assert in_editor(shop, look) == [[]] * 4


WRONG = {
    "wat: 2h": "4: Property wat is not allowed.",
    "state: lve": '4: Value is not accepted. Valid values: "draft", "shadow", "live", "paused".',
    "wait: 2 hours": "4: a duration has units, the longest first: 90s, 2h, 1h30m, 7d",
    "cooldown: {usr: 1d}": "4: Property usr is not allowed.",
    "unless: {evnt: B}": '4: Missing property "event".',
    "priority: high": '4: Incorrect type. Expected "integer".',
    "goal: {event: B, where: {properties.price: {gtee: 20}}}": "4: Property gtee is not allowed.",
    "goal: {event: B, where: {propertis.price: 20}}": "4: Property propertis.price is not allowed.",
    "goal: {event: B, where: {any: []}}": "4: Array has too few items. Expected 1 or more.",
    "tests: [{name: a, events: [], expect: [{at: 1h, outcome: ADMITED}]}]": (
        '4: Value is not accepted. Valid values: "ADMITTED", "SUPPRESSED", "CANCELLED",'
        ' "EXPIRED", "BUNDLED".'
    ),
}


def test_what_is_wrong_is_marked_where_it_stands(shop: Path) -> None:
    async def look(server: Editor) -> dict[str, list[str]]:
        found = {}
        for number, line in enumerate(WRONG):
            path = shop / "triggers" / f"wrong-{number}.yaml"
            found[line] = await server.open(path, f"{TRIGGER}id: a\nwhen: {{event: A}}\n{line}\n")
        return found

    found = in_editor(shop, look)
    assert {line: problems[:1] for line, problems in found.items()} == {
        line: [problem] for line, problem in WRONG.items()
    }


def test_what_may_come_next_is_offered(shop: Path) -> None:
    head = f"{TRIGGER}id: a\nwhen:\n  event: A\n"
    texts = {
        "fields": f"{head}|",
        "states": f"{head}state: |",
        "pattern": f"{TRIGGER}id: a\nwhen:\n  |",
        "groups": f"{head}  where:\n    |",
        "operators": f"{head}  where:\n    properties.price:\n      |",
        "outcomes": f"{head}tests:\n  - name: a\n    expect:\n      - at: 1h\n        outcome: |",
    }

    async def look(server: Editor) -> dict[str, dict[str, str]]:
        return {
            name: await server.complete(shop / "triggers" / f"{name}.yaml", text)
            for name, text in texts.items()
        }

    found = in_editor(shop, look)
    assert {"unless", "wait", "per", "message", "tests"} <= found["fields"].keys()
    assert not {"id", "when", "properties"} & found["fields"].keys()
    assert set(found["states"]) == {"draft", "shadow", "live", "paused"}
    assert {"event", "idle"} <= found["pattern"].keys()
    assert {"all", "any", "not"} <= found["groups"].keys()
    assert set(OPERATORS) == found["operators"].keys()
    assert {"ADMITTED", "CANCELLED", "SUPPRESSED"} <= found["outcomes"].keys()


def test_a_field_and_an_operator_explain_themselves(shop: Path) -> None:
    texts = {
        "wait": f"{TRIGGER}id: a\nwhen: {{event: A}}\nwa|it: 2h\n",
        "gte": f"{TRIGGER}id: a\nwhen: {{event: A, where: {{properties.price: {{gt|e: 2}}}}}}\n",
    }

    async def look(server: Editor) -> dict[str, str]:
        return {
            name: await server.hover(shop / "triggers" / f"hover-{name}.yaml", text)
            for name, text in texts.items()
        }

    found = in_editor(shop, look)
    assert "How long to wait" in found["wait"]
    assert "1h30m" in found["wait"]
    assert "Greater than or equal." in found["gte"]


def test_a_policy_is_checked_and_completed_under_any_name(shop: Path) -> None:
    async def look(server: Editor) -> tuple[list[str], dict[str, str]]:
        path = shop / "policy-tried.yaml"
        problems = await server.open(path, f"{POLICY}gentle: {{spacng: 2h}}\n")
        offered = await server.complete(shop / "policy-more.yaml", f"{POLICY}gentle:\n  |")
        return problems, offered

    problems, offered = in_editor(shop, look)
    assert problems == ["2: Property spacng is not allowed."]
    assert {"spacing", "caps", "cooldown", "zone"} <= offered.keys()

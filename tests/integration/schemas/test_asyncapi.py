"""The AsyncAPI parser reads docs/asyncapi.yaml."""

import json
import subprocess
from pathlib import Path
from typing import Any

from engine.asyncapi.examples import EXAMPLES

NODE_MODULES = Path(".state/editor/node_modules/@asyncapi/parser")
DOCUMENT = Path("docs/asyncapi.yaml")


def parse(path: Path) -> dict[str, Any]:
    assert NODE_MODULES.is_dir(), "`make setup` fetches the parser"
    answer = subprocess.run(
        ["node", "tests/integration/schemas/parse.mjs", ".state/editor", str(path)],
        capture_output=True,
        check=True,
        timeout=120,
    )
    found: dict[str, Any] = json.loads(answer.stdout)
    return found


def test_the_parser_finds_nothing_wrong_and_examples_fit_their_schemas() -> None:
    found = parse(DOCUMENT)
    assert found["problems"] == []
    assert "{prefix}decisions" in found["channels"]
    assert len(found["channels"]) == 7
    assert EXAMPLES.keys() == set(found["examples"])


def test_an_example_that_does_not_fit_is_found(tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.yaml"
    text = DOCUMENT.read_text()
    assert "outcome: ADMITTED" in text
    wrong.write_text(text.replace("outcome: ADMITTED", "outcome: PONDERED"))
    (problem,) = parse(wrong)["problems"]
    assert problem == "decision: data/outcome must be equal to one of the allowed values"

"""Every definition that we ship passes its own tests, and has some."""

from pathlib import Path

import pytest

from engine.registry.folder import read_folder
from engine.testing.cases import cases_of
from engine.testing.run import run_case
from triggers.loader import load_workspace

FOLDERS = ("examples/demo", "engine/starter/workspace")


@pytest.mark.parametrize("folder", FOLDERS)
def test_every_shipped_trigger_passes_its_tests(folder: str) -> None:
    workspace = load_workspace(read_folder(Path(folder)))
    verdicts = [run_case(case) for case in cases_of(workspace)]
    assert [verdict.case.title for verdict in verdicts if not verdict.passed] == []
    assert {verdict.case.trigger.id for verdict in verdicts} == workspace.triggers.keys()

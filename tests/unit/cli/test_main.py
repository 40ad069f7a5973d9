import subprocess
import sys
from importlib import import_module
from inspect import getdoc

import pytest
from typer.testing import CliRunner

from engine.cli.main import VERBS, Verb, make_app

HEAVY = ("aiokafka", "redis", "faust", "pydantic", "ruamel", "rich", "aiohttp")


def test_help_lists_every_verb_without_importing_what_they_need() -> None:
    script = (
        "import sys\n"
        "from engine.cli.main import make_app\n"
        "make_app()(['--help'], standalone_mode=False)\n"
        f"print(sorted(set(sys.modules) & set({HEAVY!r})), file=sys.stderr)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stderr.strip() == "[]"
    for verb in VERBS:
        assert verb.name in done.stdout
        assert verb.help in done.stdout


@pytest.mark.parametrize("verb", VERBS, ids=[verb.name for verb in VERBS])
def test_every_verb_of_the_table_has_its_function_and_its_help(verb: Verb) -> None:
    function = getattr(import_module(verb.module), verb.function)
    answer = CliRunner().invoke(make_app(), [verb.name, "--help"])
    assert answer.exit_code == 0
    assert f"{verb.name} [OPTIONS]" in answer.stdout
    about, *_ = (getdoc(function) or "").split(".")
    assert about
    assert about in " ".join(answer.stdout.split())


def test_a_misspelt_verb_ends_with_2_and_a_suggestion() -> None:
    answer = CliRunner().invoke(make_app(), ["aply"])
    assert answer.exit_code == 2
    assert "Did you mean 'apply'" in answer.stderr


def test_no_verb_at_all_shows_the_help() -> None:
    answer = CliRunner().invoke(make_app(), [])
    assert answer.exit_code == 2
    assert "validate" in answer.output


@pytest.mark.parametrize(("answer", "code"), [(None, 0), (0, 0), (3, 3)])
def test_what_a_verb_returns_is_its_exit_code(
    answer: int | None, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def pause() -> int | None:
        """Stand in."""
        return answer

    monkeypatch.setattr("engine.cli.pause.pause", pause)
    assert CliRunner().invoke(make_app(), ["pause"]).exit_code == code

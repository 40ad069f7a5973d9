import json

import pytest
import typer

from engine.cli.common import CliError, ExitCode, data_json, fail, load_settings_or_fail, run, table


def test_columns_are_as_wide_as_their_widest_cell_on_a_terminal() -> None:
    text = table(("ID", "NAME", "N"), [("a", "корзина", 1), ("long-id", "かご", 22)])
    assert text.split("\n") == [
        "ID       NAME     N",
        "a        корзина  1",
        "long-id  かご     22",
    ]


def test_control_characters_do_not_reach_the_terminal() -> None:
    assert table(("A",), [("x\x1b[31m\n",)]).split("\n") == ["A", "x?[31m?"]


def test_an_error_ends_the_command_with_its_code_and_says_its_lines_on_stderr(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(typer.Exit) as ended:
        fail(CliError(ExitCode.CONFLICT, ["one", "two"]))
    assert ended.value.exit_code == 5
    said = capsys.readouterr()
    assert (said.out, said.err) == ("", "one\ntwo\n")


def test_an_error_inside_a_coroutine_ends_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    async def work() -> None:
        raise CliError(ExitCode.NOT_FOUND, "no such thing")

    with pytest.raises(typer.Exit) as ended:
        run(work)
    assert ended.value.exit_code == 4
    assert capsys.readouterr().err == "no such thing\n"


def test_json_output_carries_its_version(capsys: pytest.CaptureFixture[str]) -> None:
    data_json({"name": "Корзина"})
    out = capsys.readouterr().out
    assert json.loads(out) == {"version": 1, "name": "Корзина"}
    assert "Корзина" in out


def test_a_wrong_and_a_missing_setting_are_named_and_end_with_2(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("TRIPLINE_LOG_SECRET", raising=False)
    with pytest.raises(typer.Exit) as ended:
        load_settings_or_fail(require=("log_secret",))
    assert ended.value.exit_code == 2
    assert "TRIPLINE_LOG_SECRET" in capsys.readouterr().err
    monkeypatch.setenv("TRIPLINE_KAFKA_SERVERS", "nowhere")
    with pytest.raises(typer.Exit):
        load_settings_or_fail()
    assert "TRIPLINE_KAFKA_SERVERS: 'nowhere' is not host:port" in capsys.readouterr().err

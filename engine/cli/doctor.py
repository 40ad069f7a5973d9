"""`tripline doctor`: is everything there that the roles need, and as they need it?"""

from typing import Annotated

import typer

from engine.cli.common import (
    TIMEOUT_S,
    CliError,
    ExitCode,
    Output,
    OutputOption,
    TimeoutOption,
    data,
    data_json,
    fail,
    load_settings_or_fail,
    run,
    table,
    talk,
)
from engine.doctor import Check, State, examine
from engine.kafka_client import KAFKA_AWAY
from engine.logs import setup_command_logs
from engine.settings import Settings, describe_settings
from engine.topics import TopicsError, ensure_topics


def doctor(
    settings: Annotated[
        bool, typer.Option("--settings", help="List every setting and check nothing.")
    ] = False,
    create_topics: Annotated[
        bool, typer.Option("--create-topics", help="Create the missing topics first.")
    ] = False,
    output: OutputOption = Output.TABLE,
    timeout: TimeoutOption = TIMEOUT_S,
) -> None:
    """Check Kafka, Redis, topics, credentials and clocks; change nothing unless told to.

    Exit codes: 0 nothing is wrong (warnings do not count), 1 something is, 2 a setting is wrong,
    3 Redis refuses the login or a right, 6 Kafka or Redis cannot be reached.
    """
    if settings:
        _list_settings(output)
        return
    given = load_settings_or_fail()
    setup_command_logs()
    checks: list[Check] = []

    async def work() -> None:
        if create_topics:
            await _create_topics(given)
        checks.extend(await examine(given, timeout))

    run(work)
    _show(checks, output)
    code = exit_code(checks)
    if code is not ExitCode.OK:
        wrong = sum(check.state not in (State.OK, State.WARN) for check in checks)
        fail(CliError(code, f"wrong: {wrong} of {len(checks)} checks"))
    talk(f"nothing is wrong: {len(checks)} checks")


async def _create_topics(settings: Settings) -> None:
    try:
        await ensure_topics(settings)
    except TopicsError as error:
        raise CliError(ExitCode.ERROR, error.problems) from error
    except KAFKA_AWAY as error:
        raise CliError(ExitCode.UNREACHABLE, f"kafka: {settings.kafka_servers}: {error}") from error


def exit_code(checks: list[Check]) -> ExitCode:
    """The gravest thing found: what cannot be reached, then what refuses, then what is wrong."""
    states = {check.state for check in checks}
    if State.UNREACHABLE in states:
        return ExitCode.UNREACHABLE
    if State.REFUSED in states:
        return ExitCode.AUTH
    return ExitCode.ERROR if State.FAIL in states else ExitCode.OK


def _show(checks: list[Check], output: Output) -> None:
    if output is Output.JSON:
        rows = [
            {"check": check.name, "state": check.state.value, "detail": check.detail}
            for check in checks
        ]
        data_json({"ok": exit_code(checks) is ExitCode.OK, "checks": rows})
        return
    data(table(("STATE", "CHECK", "DETAIL"), [(c.state.value, c.name, c.detail) for c in checks]))


def _list_settings(output: Output) -> None:
    rows = describe_settings()
    if output is Output.JSON:
        data_json({"settings": [row._asdict() for row in rows]})
        return
    data(
        table(
            ("SETTING", "DEFAULT", "GIVEN", "MEANING"),
            [(row.variable, row.default, row.value, row.description) for row in rows],
        )
    )

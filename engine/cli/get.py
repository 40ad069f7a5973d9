"""`tripline get`: the registered triggers, or one of them, or one of its revisions."""

from collections.abc import Sequence
from datetime import UTC, datetime
from enum import StrEnum
from io import StringIO
from typing import Annotated, Any

import typer
from ruamel.yaml import YAML

from engine.cli.common import (
    OUTPUT_VERSION,
    TIMEOUT_S,
    CliError,
    ExitCode,
    TimeoutOption,
    data,
    data_json,
    load_settings_or_fail,
    table,
    talk,
)
from engine.cli.registry import run_on_registry
from engine.registry.entries import TRIGGER, BodyKey, decode_trigger
from engine.registry.operations import open_to_read
from engine.registry.reader import RegistryReader
from triggers.compile import RegisteredTrigger
from triggers.definition import TriggerDefinition
from triggers.fields import share_text
from triggers.patterns import kind_of


class Format(StrEnum):
    """Formats of `get`; name prints one id a line."""

    TABLE = "table"
    WIDE = "wide"
    JSON = "json"
    YAML = "yaml"
    NAME = "name"


_COLUMNS = ("id", "state", "revision", "pattern", "class", "priority", "owner")
_WIDE = (*_COLUMNS, "canary", "name", "category", "lane", "policy", "registered_at")


def get(
    trigger_id: Annotated[
        str | None, typer.Argument(metavar="ID", help="The trigger's id; all by default.")
    ] = None,
    revision: Annotated[
        int | None, typer.Option("--revision", min=1, help="An earlier revision of ID.")
    ] = None,
    output: Annotated[
        Format, typer.Option("--output", "-o", help="The format of stdout.")
    ] = Format.TABLE,
    timeout: TimeoutOption = TIMEOUT_S,
) -> None:
    """Show registered triggers: all, one, or an earlier revision of one.

    Exit codes: 4 no such trigger or revision, 6 Kafka cannot be reached.
    """
    if revision is not None and trigger_id is None:
        raise typer.BadParameter("--revision needs the ID of a trigger")
    settings = load_settings_or_fail()

    async def work() -> None:
        async with open_to_read(settings, timeout) as reader:
            found = _select(reader, trigger_id, revision)
            shared = [] if trigger_id is not None else _documents(reader)
        _show(found, shared, reader.history.latest, output)

    run_on_registry(settings, work)


def _select(
    reader: RegistryReader, trigger_id: str | None, revision: int | None
) -> list[RegisteredTrigger]:
    version = reader.latest
    triggers = version.triggers if version is not None else {}
    if trigger_id is None:
        return [triggers[name] for name in sorted(triggers)]
    held = triggers.get(trigger_id)
    if revision is None or (held is not None and held.revision == revision):
        if held is None:
            raise CliError(ExitCode.NOT_FOUND, f"no trigger {trigger_id} is registered")
        return [held]
    return [_earlier(reader, trigger_id, revision)]


def _earlier(reader: RegistryReader, trigger_id: str, revision: int) -> RegisteredTrigger:
    """A revision that is not in force: its state is the one its document had."""
    definition = reader.definition(trigger_id, revision)
    body = reader.history.body(BodyKey(TRIGGER, trigger_id, revision))
    if definition is None or body is None:
        raise CliError(ExitCode.NOT_FOUND, f"trigger {trigger_id} has no revision {revision}")
    registered_at_ms = decode_trigger(body).registered_at_ms
    return RegisteredTrigger(definition, revision, definition.state, registered_at_ms)


def _documents(reader: RegistryReader) -> list[dict[str, Any]]:
    """Segments, relations and what else triggers share, with their revisions."""
    version = reader.latest
    if version is None:
        return []
    revisions = reader.history.contents(version.number).documents
    return [
        {
            "kind": kind,
            "name": name,
            "revision": revision,
            "document": version.documents[kind][name],
        }
        for (kind, name), revision in sorted(revisions.items())
    ]


def _show(
    found: Sequence[RegisteredTrigger],
    shared: Sequence[dict[str, Any]],
    registry: int,
    output: Format,
) -> None:
    rows = [_row(trigger) for trigger in found]
    if output in (Format.JSON, Format.YAML):
        listing = [
            {**row, "document": trigger.definition.to_document()}
            for row, trigger in zip(rows, found, strict=True)
        ]
        fields = {"registry": registry, "triggers": listing}
        if shared:
            fields["documents"] = list(shared)
        if output is Format.JSON:
            data_json(fields)
        else:
            data(_yaml({"version": OUTPUT_VERSION, **fields}))
    elif output is Format.NAME:
        for row in rows:
            data(row["id"])
    elif rows:
        columns = _WIDE if output is Format.WIDE else _COLUMNS
        heads = [column.upper().replace("_", " ") for column in columns]
        data(table(heads, [[_cell(row[column]) for column in columns] for row in rows]))
    else:
        talk("no triggers are registered")


def _row(trigger: RegisteredTrigger) -> dict[str, Any]:
    definition = trigger.definition
    registered_at = datetime.fromtimestamp(trigger.registered_at_ms / 1000, UTC)
    return {
        "id": definition.id,
        "state": trigger.state,
        "revision": trigger.revision,
        "pattern": _pattern(definition),
        "class": definition.class_,
        "priority": definition.priority,
        "owner": definition.owner,
        "name": definition.name,
        "category": definition.category,
        "lane": definition.lane,
        "policy": definition.policy,
        "canary": _canary(trigger),
        "registered_at": registered_at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
    }


def _canary(trigger: RegisteredTrigger) -> str | None:
    """The revision beside this one, and for whom."""
    if trigger.canary is None:
        return None
    return f"{trigger.canary.revision} for {share_text(trigger.canary_share)}"


def _pattern(definition: TriggerDefinition) -> str:
    if definition.unless:
        return "absence"
    field = kind_of(definition.when).field
    return "immediate" if field == "event" else field


def _cell(value: object) -> object:
    return "-" if value is None else value


def _yaml(value: dict[str, Any]) -> str:
    writer = YAML()
    writer.default_flow_style = False
    writer.width = 100
    stream = StringIO()
    writer.dump(value, stream)
    return stream.getvalue().rstrip("\n")

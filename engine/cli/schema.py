"""`tripline schema`: the JSON Schemas of definition files, for editors."""

from pathlib import Path
from typing import Annotated

import typer

from engine.cli.common import CliError, ExitCode, data, fail, talk


def schema(
    name: Annotated[
        str, typer.Argument(help="trigger, policy, segments, relations or places.")
    ] = "trigger",
    out: Annotated[
        Path | None, typer.Option("--out", help="Write all of them into this folder instead.")
    ] = None,
) -> None:
    """Print a JSON Schema, or write all of them as DIR/<name>.schema.json.

    A line at the top of a definition makes an editor with yaml-language-server use it:
    `# yaml-language-server: $schema=../schema/trigger.schema.json`. Exit codes: 0 ok,
    1 cannot write, 4 no such schema.
    """
    from triggers.schema import SCHEMAS, schema_text

    if name not in SCHEMAS:
        fail(CliError(ExitCode.NOT_FOUND, f"no schema '{name}': one of {', '.join(SCHEMAS)}"))
    if out is None:
        data(schema_text(name).rstrip())
        return
    try:
        out.mkdir(parents=True, exist_ok=True)
        for each in SCHEMAS:
            path = out / f"{each}.schema.json"
            path.write_text(schema_text(each), encoding="utf-8")
            talk(f"wrote {path}")
    except OSError as error:
        fail(CliError(ExitCode.ERROR, f"cannot write: {error}"))

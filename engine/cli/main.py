"""`tripline VERB ...`: the table of verbs, each imported only when it is called."""

from importlib import import_module
from typing import Any, NamedTuple

import typer
import typer.core
import typer.main


class Verb(NamedTuple):
    """`module` has a function called `function`: its parameters are the verb's options, its
    docstring the verb's own help, what it returns the exit code (None: 0). `help` is the line in
    the list of verbs."""

    name: str
    module: str
    function: str
    help: str


VERBS = (
    Verb("init", "engine.cli.init", "init", "Write a first workspace, ready to try."),
    Verb("validate", "engine.cli.validate", "validate", "Check a workspace folder, offline."),
    Verb("test", "engine.cli.test", "run_tests", "Run the tests that stand in triggers."),
    Verb("schema", "engine.cli.schema", "schema", "Write the JSON Schemas that editors use."),
    Verb("apply", "engine.cli.apply", "apply", "Register a workspace folder and activate it."),
    Verb("get", "engine.cli.get", "get", "Show registered triggers."),
    Verb("pause", "engine.cli.pause", "pause", "Stop a trigger from sending."),
    Verb("resume", "engine.cli.resume", "resume", "Let a paused trigger go on."),
    Verb("promote", "engine.cli.canary", "promote", "Give a trigger's canary to everyone."),
    Verb("abort", "engine.cli.canary", "abort", "End a trigger's canary."),
    Verb("backtest", "engine.cli.backtest", "backtest", "Decide past events, offline."),
    Verb("report", "engine.cli.report", "report", "Show what became of triggers, and their worth."),
    Verb("explain", "engine.cli.explain", "explain", "Tell why a user got a message, or none."),
    Verb("consent", "engine.cli.consent", "consent", "Note what a user agrees to and refuses."),
    Verb("replay", "engine.cli.replay", "replay", "Decide the live log again and compare."),
    Verb("export", "engine.cli.export", "export", "Write decisions and outcomes for warehouses."),
    Verb("events", "engine.cli.events", "events", "Learn and show the event catalogue."),
    Verb("diff", "engine.cli.diff", "diff", "Compare definitions, and what they would send."),
    Verb("worker", "engine.cli.worker", "worker", "Run the user stage: decide."),
    Verb("deliver", "engine.cli.deliver", "deliver", "Run the delivery worker: send."),
    Verb("up", "engine.cli.up", "up", "Run everything on this machine until it is stopped."),
    Verb("down", "engine.cli.up", "down", "Stop what `up` started."),
    Verb("demo", "engine.cli.demo", "demo", "Play a clickstream through everything and sum up."),
    Verb("doctor", "engine.cli.doctor", "doctor", "Check Kafka, Redis, topics and settings."),
    Verb("simulate", "engine.cli.simulate", "simulate", "Make up a clickstream."),
)


class LazyGroup(typer.core.TyperGroup):
    """Stands in for every verb until one is called: `--help` must not import Kafka's client."""

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        """The real command behind the stand-in that was named."""
        name, _, rest = super().resolve_command(ctx, args)
        return name, load(next(verb for verb in VERBS if verb.name == name)), rest


def load(verb: Verb) -> Any:
    """Import a verb and make its command."""
    function = getattr(import_module(verb.module), verb.function)
    single = _typer()
    single.command(verb.name)(function)
    return typer.main.get_command(single)


def _typer(**options: Any) -> typer.Typer:
    return typer.Typer(
        add_completion=options.pop("add_completion", False),
        # Plain help and tracebacks: rich costs a third of the start-up time and hides nothing less.
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        **options,
    )


def _stand_in() -> None:
    """Never called: `LazyGroup` puts the real command in its place."""


def _about() -> None:
    """Real-time triggers on a clickstream in Kafka.

    Settings are environment variables TRIPLINE_*. Exit codes: 0 ok, 1 error, 2 invalid,
    3 not allowed, 4 not found, 5 conflict, 6 unreachable.
    """


def _end(answer: Any) -> None:
    """What a verb returns is its exit code; click drops it."""
    if isinstance(answer, int) and answer != 0:
        raise typer.Exit(int(answer))


def make_app() -> typer.Typer:
    """The whole command line."""
    app = _typer(cls=LazyGroup, add_completion=True, no_args_is_help=True)
    app.callback(result_callback=_end)(_about)
    for verb in VERBS:
        app.command(verb.name, help=verb.help)(_stand_in)
    return app


def main() -> None:
    """The console script."""
    make_app()(prog_name="tripline")

"""`tripline explain`: why a user got a message, or why not, and what is pending."""

from collections.abc import Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

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
)
from engine.cli.history import EventsOption, MapOption, SortOption, moment_ms, open_history

if TYPE_CHECKING:
    from engine.explain.story import Story
    from engine.settings import Settings

ALL = "all"


def explain(
    user: Annotated[str, typer.Option("--user", "-u", help="The userId, else anonymousId.")],
    trigger: Annotated[
        str | None, typer.Option("--trigger", "-t", help="This trigger only.")
    ] = None,
    at: Annotated[
        str | None, typer.Option("--at", help="As it was then: 2026-01-05T10:00, or 2h ago.")
    ] = None,
    since: Annotated[
        str | None,
        typer.Option(
            "--since", help="How far back to read: a duration, a time, or all (default: 48h)."
        ),
    ] = None,
    events: EventsOption = None,
    workspace: Annotated[
        Path, typer.Option("--workspace", "-w", help="With --events: the definitions.")
    ] = Path(),
    mapping: MapOption = None,
    sort: SortOption = False,
    assume_nothing: Annotated[
        bool,
        typer.Option("--assume-nothing", help="Only devices and consent that the events tell."),
    ] = False,
    output: OutputOption = Output.TABLE,
    timeout: TimeoutOption = TIMEOUT_S,
) -> None:
    """Decide a user's records again and tell every step with its values.

    Live: reads the user's part of the log, the registry, and the stored state and journal; changes
    nothing. With --events: a file and a workspace, as `backtest` reads them.
    Exit codes: 0 told, 2 an invalid option, file or workspace, 4 no such trigger, 6 unreachable.
    """
    from engine.explain.story import UnknownTriggerError, story_json
    from engine.explain.telling import story_lines

    try:
        if events is None:
            story = _live(user, at, since, timeout)
        else:
            story = _offline(
                user, at, workspace, events, mapping, sort=sort, assume_devices=not assume_nothing
            )
        if output is Output.JSON:
            data_json(story_json(story, trigger))
        else:
            data("\n".join(story_lines(story, trigger)))
    except UnknownTriggerError as error:
        fail(CliError(ExitCode.NOT_FOUND, str(error)))
    except CliError as error:
        fail(error)


def _live(user: str, at: str | None, since: str | None, timeout_s: float) -> "Story":
    from engine.cli.registry import run_on_registry
    from engine.clock import now_ms
    from engine.explain.live import Window, explain_user

    settings = load_settings_or_fail(("log_secret",))
    now = now_ms()
    # In a log with its emitters' times "48 h ago" may lie beyond all of it.
    since = since or (ALL if settings.clock == "log" else "48h")
    window = Window(
        None if since == ALL else moment_ms("--since", since, now),
        moment_ms("--at", at, now),
    )
    found: list[Story] = []

    async def work() -> None:
        async def read(store: Any) -> None:
            found.append(await explain_user(settings, store, user, window, timeout_s))

        await with_store(settings, timeout_s, read)

    run_on_registry(settings, work)
    return found[0]


async def with_store(settings: "Settings", timeout_s: float, work: Any) -> None:
    """Run `work(store)` on the stored state; a Redis that does not answer ends with UNREACHABLE."""
    from engine.ports import StoreUnavailable
    from engine.store.errors import StoreBroken
    from engine.store.redis import RedisStore
    from triggers.state import NewerState

    store = RedisStore(
        settings.redis_url,
        settings.key_prefix,
        timeout_s=min(settings.redis_timeout_s, timeout_s),
        retry_within_s=timeout_s,
    )
    try:
        doing: Coroutine[Any, Any, None] = work(store)
        await doing
    except StoreUnavailable as error:
        raise CliError(ExitCode.UNREACHABLE, f"Redis: {error}") from error
    except (StoreBroken, NewerState) as error:
        raise CliError(ExitCode.ERROR, f"Redis: {error}") from error
    finally:
        await store.aclose()


def _offline(
    user: str,
    at: str | None,
    workspace: Path,
    events: str,
    mapping: Path | None,
    *,
    sort: bool,
    assume_devices: bool,
) -> "Story":
    from engine.cli.backtest import load_definitions, refusals
    from engine.clock import now_ms
    from engine.explain.offline import Assumed, explain_events, profiles_of
    from engine.files import Problems, pairs_of
    from triggers.compile import RegisteredTrigger, compile_program
    from triggers.definition import Policy
    from triggers.overrides import assume_consent

    found = load_definitions(workspace, [], None)
    registered = [RegisteredTrigger(one, 1, one.state, 0) for one in found.triggers.values()]
    policies = assume_consent(found.policies) if assume_devices else found.policies
    program = compile_program(1, registered, policies, found.documents)
    zone = found.policies.get("default", Policy()).zone
    with refusals():
        with open_history(events, mapping, Problems(), sort=sort, talks=False) as source:
            profiles = profiles_of(user, pairs_of(source))
        with open_history(events, mapping, Problems(), sort=sort) as source:
            return explain_events(
                program,
                user,
                pairs_of(source),
                profiles,
                at_ms=moment_ms("--at", at, now_ms()),
                assumed=Assumed(zone, assume_devices),
            )

"""`make run`: everything started, a clickstream played, the pushes shown, summed up, stopped.

With event files of your own the log's clock is used: history runs as fast as the machine goes, and
the decisions are compared with a backtest of the same events.
"""

import asyncio
import signal
from dataclasses import dataclass
from pathlib import Path

from engine import clock
from engine.backtest.run import Backtest
from engine.files import FileMapping, Problems, read_events
from engine.play.ensemble import Ensemble, EnsembleOptions
from engine.play.player import Played, play_events
from engine.play.settled import Settled
from engine.play.summary import Summary
from engine.play.view import View
from engine.play.watcher import Watcher
from engine.registry.folder import Folder
from engine.store.redis import RedisStore
from engine.tasks import spawn
from schemas.decisions import Decision, decision_order, decision_row
from triggers.compile import RegisteredTrigger, compile_program
from triggers.overrides import override_policies

#: Timers due later than this after the last event are not waited for.
HORIZON_MS = 20_000
REST_WITHIN_S = 60.0
REST_WITHIN_LOG_S = 1_800.0
REST_POLL_S = 0.5
DELAY_MS = 20.0


@dataclass(frozen=True, slots=True)
class DemoOptions:
    """`history`: the log's clock, and a comparison with the backtest."""

    directory: Path
    workspace: Folder
    events: Path
    mapping: FileMapping | None
    history: bool
    sort: bool = False


class DemoFailed(Exception):
    """A process that should run does not, or nothing came to rest in time."""


async def demonstrate(options: DemoOptions, view: View) -> Summary:
    """Run the whole of it; raises DemoFailed, ChildError, MissingProgramError, FileRefused."""
    ensemble = Ensemble(
        EnsembleOptions(
            options.directory,
            clock="log" if options.history else "wall",
            delay_ms=0.0 if options.history else DELAY_MS,
        )
    )
    interrupted = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, interrupted.set)
    try:
        return await _run(options, ensemble, view, interrupted)
    finally:
        view.say("stopping")
        await ensemble.stop()


async def _run(
    options: DemoOptions, ensemble: Ensemble, view: View, interrupted: asyncio.Event
) -> Summary:
    view.say("starting Kafka, Redis and stand-ins for FCM and APNs")
    await ensemble.start_services()
    settings = ensemble.settings
    store = RedisStore(settings.redis_url, settings.key_prefix)
    watcher = Watcher(
        settings, ensemble.push_log, ensemble.options.delay_ms, keep_rows=options.history
    )
    watching = None
    try:
        await store.wait_ready(30.0)
        view.say(f"registered the workspace as version {await ensemble.apply(options.workspace)}")
        ensemble.start_roles()
        watching = spawn(watcher.run(), "watcher")
        played = Played()
        source = read_events(options.events, options.mapping, sort=options.sort)
        playing = spawn(play_events(settings, source, played, interrupted.is_set, store), "player")
        horizon_ms = 0 if options.history else HORIZON_MS
        settled = Settled(settings, store, horizon_ms)
        await _until_rest(ensemble, playing, settled, watcher, played, view, interrupted)
        seconds = clock.monotonic_s() - played.started_s
        outcomes = {} if interrupted.is_set() else await ensemble.outcomes()
        equal = None
        if options.history and not interrupted.is_set():
            view.say("comparing with a backtest of the same events")
            equal = await asyncio.to_thread(_compare, options, watcher)
        return Summary(played, watcher.seen, seconds, options.history, equal, outcomes)
    finally:
        if watching is not None:
            watching.cancel()
        await store.aclose()


async def _until_rest(
    ensemble: Ensemble,
    playing: asyncio.Task[None],
    settled: Settled,
    watcher: Watcher,
    played: Played,
    view: View,
    interrupted: asyncio.Event,
) -> None:
    """Wait until everything played is decided and sent."""
    rest_within_s = REST_WITHIN_LOG_S if settled.history else REST_WITHIN_S
    deadline_s: float | None = None
    state = "playing"
    checked_s = 0.0
    while not interrupted.is_set():
        await asyncio.sleep(0.1)
        now_s = clock.monotonic_s()
        view.show(played, watcher.seen, now_s, state)
        failure = ensemble.failed()
        if failure is not None:
            raise DemoFailed(failure)
        if not playing.done():
            continue
        playing.result()
        deadline_s = deadline_s or now_s + rest_within_s
        if now_s - checked_s < REST_POLL_S:
            continue
        unrest = await settled.unrest()
        checked_s = clock.monotonic_s()
        if unrest is None and watcher.is_level():
            return
        state = unrest or "reading what was decided"
        if checked_s > deadline_s:
            raise DemoFailed(f"no rest within {rest_within_s:g} s: {state}")


def _compare(options: DemoOptions, watcher: Watcher) -> tuple[int, int]:
    """(equal, different) decisions of the live run and of a backtest."""
    made: list[Decision] = []
    folder = options.workspace
    registered = [RegisteredTrigger(t, 1, t.state, 0) for t in folder.triggers.values()]
    policies = override_policies(folder.policies, [])
    program = compile_program(1, registered, policies, folder.documents)
    run = Backtest(program, made.append)
    source = read_events(options.events, options.mapping, problems=Problems(), sort=options.sort)
    run.feed((found.a_ms, found.event) for found in source)
    expected = {tuple(decision_row(made_).values()) for made_ in sorted(made, key=decision_order)}
    found_rows = {tuple(row.values()) for row in watcher.seen.rows}
    return len(expected & found_rows), len(expected ^ found_rows)

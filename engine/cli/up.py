"""`tripline up`: everything on this machine, until Ctrl-C or `tripline down`."""

import asyncio
import signal
from pathlib import Path

from engine.cli.common import CliError, ExitCode, FolderArgument, data, fail, talk

UP = Path(".state/up")
DEMO = Path("examples/demo")


def up(folder: FolderArgument = DEMO) -> None:
    """Start Kafka, Redis, stand-in providers, a worker and a delivery worker; apply FOLDER."""
    from engine.local.errors import ChildError, MissingProgramError
    from engine.logs import setup_command_logs
    from engine.registry.folder import NotAWorkspaceError, load_folder
    from triggers.workspace import DefinitionErrors

    setup_command_logs()
    try:
        asyncio.run(_serve(load_folder(folder)))
    except DefinitionErrors as error:
        fail(CliError(ExitCode.INVALID, map(str, error.errors)))
    except (NotAWorkspaceError, OSError) as error:
        fail(CliError(ExitCode.INVALID, str(error)))
    except (ChildError, MissingProgramError) as error:
        fail(CliError(ExitCode.ERROR, str(error)))


async def _serve(folder: object) -> None:
    from engine.play.ensemble import Ensemble, EnsembleOptions
    from engine.registry.folder import Folder
    from engine.store.redis import RedisStore

    assert isinstance(folder, Folder)
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    ensemble = Ensemble(EnsembleOptions(UP))
    try:
        await ensemble.start_services()
        store = RedisStore(ensemble.settings.redis_url, ensemble.settings.key_prefix)
        await store.wait_ready(30.0)
        await store.aclose()
        version = await ensemble.apply(folder)
        ensemble.start_roles()
        talk(f"up, registry version {version}; logs in {UP}/logs, pushes in {ensemble.push_log}")
        for name, value in sorted(ensemble.environment.items()):
            data(f"export {name}={value}")
        await _until(stop, ensemble)
    finally:
        await ensemble.stop()


async def _until(stop: asyncio.Event, ensemble: object) -> None:
    from engine.local.errors import ChildError
    from engine.play.ensemble import Ensemble

    assert isinstance(ensemble, Ensemble)
    while not stop.is_set():
        failure = ensemble.failed()
        if failure is not None:
            raise ChildError(failure)
        try:
            async with asyncio.timeout(1.0):
                await stop.wait()
        except TimeoutError:
            continue


def down() -> None:
    """Stop what `tripline up` started here, and nothing else."""
    from engine.local.stack import stop_recorded

    stopped = stop_recorded(UP)
    talk(f"stopped: {', '.join(stopped)}" if stopped else "nothing was up")

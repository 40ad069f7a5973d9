"""`tripline resume`: let a paused trigger go on."""

from engine.cli.common import (
    TIMEOUT_S,
    Output,
    OutputOption,
    TimeoutOption,
    load_settings_or_fail,
)
from engine.cli.registry import (
    ByOption,
    IdArgument,
    MessageOption,
    run_on_registry,
    show_applied,
    signature,
)
from engine.registry.operations import open_to_write


def resume(
    trigger_id: IdArgument,
    message: MessageOption = "",
    by: ByOption = "",
    output: OutputOption = Output.TABLE,
    timeout: TimeoutOption = TIMEOUT_S,
) -> None:
    """Let a paused trigger go on in the state its file gives it; live where that is paused.

    Exit codes: 4 no such trigger, 5 somebody else changed the registry meanwhile, 6 Kafka cannot be
    reached.
    """
    settings = load_settings_or_fail(require=("log_secret",))

    async def work() -> None:
        async with open_to_write(settings, timeout) as registry:
            applied = await registry.resume(trigger_id, signature(by, message))
        show_applied(applied, output)

    run_on_registry(settings, work)

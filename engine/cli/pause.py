"""`tripline pause`: stop a trigger from sending, now and without an edit of its file."""

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


def pause(
    trigger_id: IdArgument,
    message: MessageOption = "",
    by: ByOption = "",
    output: OutputOption = Output.TABLE,
    timeout: TimeoutOption = TIMEOUT_S,
) -> None:
    """Stop a trigger from sending. Its candidates are recorded as suppressed, reason PAUSED.

    It stays paused over later applies, until `resume` or another state in its file. Exit codes:
    4 no such trigger, 5 somebody else changed the registry meanwhile, 6 Kafka cannot be reached.
    """
    settings = load_settings_or_fail(require=("log_secret",))

    async def work() -> None:
        async with open_to_write(settings, timeout) as registry:
            applied = await registry.pause(trigger_id, signature(by, message))
        show_applied(applied, output)

    run_on_registry(settings, work)

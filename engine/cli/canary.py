"""`tripline promote` and `tripline abort`: how the canary of a trigger ends."""

from collections.abc import Awaitable, Callable

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
from engine.registry.operations import Applied, WritableRegistry, open_to_write


def promote(
    trigger_id: IdArgument,
    message: MessageOption = "",
    by: ByOption = "",
    output: OutputOption = Output.TABLE,
    timeout: TimeoutOption = TIMEOUT_S,
) -> None:
    """Give the canary of a trigger (`apply --canary`) to everyone.

    Exit codes: 1 there is no canary, 4 no such trigger, 5 somebody else changed the registry
    meanwhile, 6 Kafka cannot be reached.
    """
    _change(lambda registry: registry.promote(trigger_id, signature(by, message)), output, timeout)


def abort(
    trigger_id: IdArgument,
    message: MessageOption = "",
    by: ByOption = "",
    output: OutputOption = Output.TABLE,
    timeout: TimeoutOption = TIMEOUT_S,
) -> None:
    """End the canary of a trigger: its users get the revision of all others again.

    Exit codes: 1 there is no canary, 4 no such trigger, 5 somebody else changed the registry
    meanwhile, 6 Kafka cannot be reached.
    """
    _change(lambda registry: registry.abort(trigger_id, signature(by, message)), output, timeout)


def _change(
    change: Callable[[WritableRegistry], Awaitable[Applied]], output: Output, timeout: float
) -> None:
    settings = load_settings_or_fail(require=("log_secret",))

    async def work() -> None:
        async with open_to_write(settings, timeout) as registry:
            applied = await change(registry)
        show_applied(applied, output)

    run_on_registry(settings, work)

"""Devices of a user: learnt from `context.device` of their events, forgotten when the provider says
that the token is unregistered.
"""

from collections.abc import Sequence
from typing import Any

from schemas.events import ID_CHARS_MAX, Event
from schemas.records import DeadToken
from triggers.state import DAY_MS, DEVICES_MAX, Device, UserState

TOKEN_CHARS_MAX = 16 * ID_CHARS_MAX
PLATFORMS = {"ios": "ios", "android": "android"}


def device_of(event: Event) -> tuple[str, str] | None:
    """(token, platform) of `context.device`, or None. Segment: `device.token`, `device.type`."""
    context = event.context
    if not context:
        return None
    device: Any = context.get("device")
    if type(device) is not dict:
        return None
    token = device.get("token")
    kind = device.get("type")
    if type(token) is not str or type(kind) is not str or not 0 < len(token) <= TOKEN_CHARS_MAX:
        return None
    platform = PLATFORMS.get(kind.lower())
    return None if platform is None else (token, platform)


def register_device(state: UserState, event: Event, a: int) -> bool:
    """Remember the event's device; its `seen` moves at most once a day (no write per event)."""
    found = device_of(event)
    if found is None:
        return False
    token, platform = found
    for device in state.devices:
        if device.token == token:
            if a - device.seen < DAY_MS:
                return False
            device.seen = a
            return True
    state.devices.append(Device(token, platform, a))
    if len(state.devices) > DEVICES_MAX:
        state.devices.remove(min(state.devices, key=lambda device: device.seen))
    return True


def remove_dead(state: UserState, dead: Sequence[DeadToken]) -> bool:
    """Remove tokens the provider called unregistered, unless registered again since then."""
    if not dead:
        return False
    since = {token.token: token.invalid_since_ms for token in dead}
    kept = [
        device
        for device in state.devices
        if device.token not in since
        or ((limit := since[device.token]) is not None and device.seen > limit)
    ]
    if len(kept) == len(state.devices):
        return False
    state.devices = kept
    return True

"""Devices of a user: learnt from `context.device` of their events, forgotten when the provider says
that the token is unregistered, or an `Application Uninstalled` that the app is gone.

`Push Disabled` and `Push Enabled` tell the permission of the device in their `context.device`, or,
without one, of every device known. The token itself says nothing of it: it outlives the permission.
"""

from collections.abc import Sequence
from typing import Any

from schemas.events import ID_CHARS_MAX, Event
from schemas.records import DeadToken
from triggers.packing import is_packed, pack_token
from triggers.state import DAY_MS, DEVICES_MAX, Consent, Device, UserState

TOKEN_CHARS_MAX = 16 * ID_CHARS_MAX
PUSH_ENABLED = "Push Enabled"
PUSH_DISABLED = "Push Disabled"
UNINSTALLED = "Application Uninstalled"
#: Tokens that begin so stand for the device of a user of whom a history tells none: what it tells
#: of any device holds for this one, too.
ASSUMED_TOKEN = "assumed"
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


def tells_device(state: UserState, event: Event, a: int) -> bool:
    """False for most events: they tell no device, or one that was seen within the day."""
    context = event.context
    told = context.get("device") if context else None
    if type(told) is not dict:
        return False
    token = told.get("token")
    for device in state.devices:
        if is_packed(device.packed, token):
            return a - device.seen >= DAY_MS
    return True


def register_device(state: UserState, event: Event, a: int) -> bool:
    """Remember the event's device; its `seen` moves at most once a day (no write per event)."""
    if not tells_device(state, event, a):
        return False
    found = device_of(event)
    if found is None:
        return False
    token, platform = found
    for device in state.devices:
        if device.token == token:
            device.seen = a
            return True
    state.devices.append(Device(pack_token(token), platform, a))
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


def reachable(state: UserState) -> Sequence[Device]:
    """The devices that may be sent a push."""
    consent = state.consent
    if consent is None or not consent.devices:
        return state.devices
    return [device for device in state.devices if device.token not in consent.devices]


def note_permission(state: UserState, event: Event, e: int, a: int) -> bool:
    """Apply one of the three events above, of client time `e`; False when it changes nothing.

    A withdrawal counts whenever it was made, a permission when it is later than the withdrawal; a
    device that was seen after its app was uninstalled stays.
    """
    found = device_of(event)
    named = None if found is None else found[0]
    if event.event == UNINSTALLED:
        gone = [
            DeadToken(token, None if token.startswith(ASSUMED_TOKEN) else e)
            for token in _meant(state, named)
        ]
        return remove_dead(state, gone)
    changed = register_device(state, event, a)
    consent = Consent() if state.consent is None else state.consent
    withdrawn = {
        device.token: consent.devices[device.token]
        for device in state.devices
        if device.token in consent.devices
    }
    for token in _meant(state, named):
        since = withdrawn.get(token, 0)
        if event.event == PUSH_DISABLED:
            withdrawn[token] = max(since, e)
        elif since and e > since:
            del withdrawn[token]
    if withdrawn == consent.devices:
        return changed
    consent.devices = withdrawn
    state.consent = None if consent == Consent() else consent
    return True


def _meant(state: UserState, named: str | None) -> list[str]:
    """The tokens of the device that an event names, or of all."""
    return [
        device.token
        for device in state.devices
        if named in (None, device.token) or device.token.startswith(ASSUMED_TOKEN)
    ]

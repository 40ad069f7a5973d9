"""Durations as people write them (`90s`, `2h`, `1h30m`, `7d`, `1w`) and as milliseconds."""

import re

#: Ten years: beyond it nobody means what they wrote.
DURATION_MAX_MS = 3650 * 86_400_000

_UNITS_MS = {"w": 604_800_000, "d": 86_400_000, "h": 3_600_000, "m": 60_000, "s": 1000, "ms": 1}
#: Each unit at most once, the longest first.
_DURATION = re.compile("".join(rf"(?:([0-9]{{1,15}}){unit}(?![a-z]))?" for unit in _UNITS_MS))
#: The same for JSON Schema, which has no way to say "not empty" but a look-ahead.
DURATION_PATTERN = (
    "^(?=[0-9])" + "".join(rf"([0-9]{{1,15}}{unit}(?![a-z]))?" for unit in _UNITS_MS) + "$"
)
_EXAMPLE = "write it with units, the longest first: 90s, 10m, 2h, 1h30m, 7d"


def parse_duration(text: str) -> int:
    """Milliseconds of a duration such as `1h30m`; units w, d, h, m, s, ms, whole numbers.

    Raises ValueError with a sentence for the author of the definition.
    """
    shown = text if len(text) <= 40 else text[:40] + "..."
    match = _DURATION.fullmatch(text)
    if match is None or not text:
        if re.fullmatch(r"[0-9]+", text):
            raise ValueError(f"'{shown}' has no unit: {_EXAMPLE}")
        if re.search(r"[0-9]\s*(mo|month|months|y|year|years|M|Y)\b", text):
            raise ValueError(f"'{shown}': months and years differ in length; write days, as in 30d")
        raise ValueError(f"'{shown}' is not a duration: {_EXAMPLE}")
    amounts = zip(match.groups(default="0"), _UNITS_MS.values(), strict=True)
    total_ms = sum(int(amount) * unit_ms for amount, unit_ms in amounts)
    if total_ms > DURATION_MAX_MS:
        raise ValueError(f"'{shown}' is longer than {format_duration(DURATION_MAX_MS)}")
    return total_ms


def format_duration(duration_ms: int) -> str:
    """The canonical text of a duration: `parse_duration` gives it back. Weeks become days."""
    if duration_ms < 0:
        raise ValueError(f"a duration is not negative: {duration_ms}")
    parts = []
    rest_ms = duration_ms
    for unit, unit_ms in _UNITS_MS.items():
        if unit == "w":
            continue
        amount, rest_ms = divmod(rest_ms, unit_ms)
        if amount:
            parts.append(f"{amount}{unit}")
    return "".join(parts) or "0s"

"""The only place that reads a clock. Everything else takes `now_ms` or `now_s` as an argument.

Wall time is milliseconds since the Unix epoch (`int`), monotonic time is seconds (`float`).
"""

import time


def now_ms() -> int:
    """Wall time in milliseconds since the Unix epoch."""
    return time.time_ns() // 1_000_000


def monotonic_s() -> float:
    """Monotonic seconds, for deadlines and durations inside one process."""
    return time.monotonic()

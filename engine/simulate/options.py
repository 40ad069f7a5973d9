"""What a simulation is asked for."""

from dataclasses import dataclass
from typing import Final

#: 2026-01-05T10:00:00Z, a Monday: the start of a simulation that names none.
START_MS: Final = 1_767_607_200_000
USERS_MAX: Final = 50_000_000
RATE_MAX_PER_S: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class SimulationOptions:
    """`users` shop for `duration_ms` from `start_ms` at `rate_per_s` messages, all from `seed`.

    `compression` divides every human time (reading, absence, outages, clock errors), so that a cart
    is abandoned within seconds; it rises by itself when the users are too few for the rate.
    `noise` is the share of messages no shop trigger names, `duplicates` the share sent twice,
    `guests` the share of users without a `userId`. `prefix` begins every user id, so that two
    simulations do not share users. Raises ValueError for a value out of range.
    """

    users: int = 1_000
    duration_ms: int = 60_000
    rate_per_s: float = 300.0
    seed: int = 1
    start_ms: int = START_MS
    compression: float = 1.0
    noise: float = 0.1
    duplicates: float = 0.01
    guests: float = 0.1
    prefix: str = "u"

    def __post_init__(self) -> None:
        _check("users", self.users, 1, USERS_MAX)
        _check("duration_ms", self.duration_ms, 1, 10 * 366 * 86_400_000)
        _check("rate_per_s", self.rate_per_s, 0.001, RATE_MAX_PER_S)
        _check("seed", self.seed, 0, 2**63 - 1)
        _check("start_ms", self.start_ms, 0, 4_102_444_800_000)
        _check("compression", self.compression, 0.01, 100_000)
        _check("noise", self.noise, 0, 0.99)
        _check("duplicates", self.duplicates, 0, 1)
        _check("guests", self.guests, 0, 1)
        if not self.prefix or len(self.prefix) > 64 or not self.prefix.isascii():
            raise ValueError("prefix is 1 to 64 ASCII characters")


def _check(name: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:
        raise ValueError(f"{name} is {value}, not within {low} and {high}")

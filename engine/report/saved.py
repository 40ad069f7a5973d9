"""What `tripline backtest --counters FILE` writes and `tripline report --from-backtest FILE` reads:
the counters of one run and the plans that explain them."""

from collections.abc import Mapping
from typing import Final

import msgspec

from engine.report.plans import Plan

FORMAT: Final = 1


class Saved(msgspec.Struct, frozen=True):
    """One run. `counters` by their stored names, `plans` by trigger and revision."""

    version: int
    counters: dict[str, int]
    plans: dict[str, dict[int, Plan]]


class NotSaved(ValueError):
    """A file that holds something else."""


_decoder = msgspec.json.Decoder(Saved)


def write_saved(counters: Mapping[str, int], plans: Mapping[str, Mapping[int, Plan]]) -> bytes:
    """One line of JSON, counters by name."""
    plain = {name: dict(found) for name, found in plans.items()}
    return msgspec.json.encode(Saved(FORMAT, dict(sorted(counters.items())), plain)) + b"\n"


def read_saved(data: bytes) -> Saved:
    """Raises NotSaved."""
    try:
        saved = _decoder.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        message = f"no counters of a backtest, which `backtest --counters` writes: {error}"
        raise NotSaved(message) from None
    if saved.version != FORMAT:
        raise NotSaved(f"counters of version {saved.version}, this one reads {FORMAT}")
    return saved

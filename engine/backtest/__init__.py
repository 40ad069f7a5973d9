"""Backtest: the same decision over past events, without a broker or a database.

- `Backtest` (`run`) holds all users of a history in memory and calls `triggers.decide`, as the live
  shard does; `Tally` counts what came out.
- `report` prints it and writes decision files.

It assumes a device and the acceptance of every send unless told otherwise (language.md,
"Interfaces").
"""

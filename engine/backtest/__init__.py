"""Backtest: the same decision over past events, without a broker or a database.

- `Session` (`session`) is one run with all around it: definitions, decisions sorted on disk
  (`Spill`), state carried from run to run (`saved`).
- `Part` (`part`) decides in this process; `Jobs` (`jobs`) in several, each the users whose `Places`
  (`places`) it is. What came of parts adds up to one `Result` (`result`).
- `Backtest` (`run`) feeds events to `triggers.decide`, as the live shard does; it keeps a `Slot`
  for each user (`users`) and counts in a `Tally`. `timelines` follow a few users.
- `report` and `page` (with `charts`) say what came out; `approximate` what cannot be known.

It assumes a device and the acceptance of every send unless told otherwise (language.md,
"Interfaces"). Memory is bounded by users, not by events.
"""

"""The shell: everything that reads a clock, waits, or talks to the outside.

- `stream`: the user stage, from the log to the commit and the published outbox.
- `delivery`: the delivery worker, from a lane through the gate to a provider and back to the log.
- `registry`: definitions as immutable revisions, activated through the log.
- `store`: the shards' state in Redis or in memory, behind `ports`.
- `backtest`, `play`, `simulate`, `files`: the same decision over past events, demonstrations, and
  what they read.
- `cli`, `roles`: commands, and how a long-running one starts and stops.
- `standins`, `local`: providers, a broker and a Redis on this machine.

They meet in `stream.shard`: records in, `triggers.decide`, one commit out.
"""

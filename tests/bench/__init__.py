"""Benches: how fast it is on this machine, beside others, in one run. `make bench ARGS="..."`.

- `stream` makes the clickstream, `workspaces` what decides over it; both are the same everywhere.
- `bed` starts a broker and a Redis for the benches alone; `machine` pins processes to cores.
- `worker` runs the user stage from Kafka to Kafka over a preloaded log; `peers` runs other engines
  over the same log; `many` compares a thousand triggers with ten; `latency` plays a log as it
  happens through the whole pipeline; `memory` weighs a user; `history` times and weighs backtests.
- `report` prints tables and keeps them in docs/benchmarks.md.

Nothing here asserts a time: machines are noisy. Repetitions of what is compared take turns, and the
median counts.
"""

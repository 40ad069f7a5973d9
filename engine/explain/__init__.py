"""Explain and replay: what was decided and why, decided again by the same core.

- `log`: one partition of a topic, read between two offsets; nothing is committed, nothing written.
- `live`: a user's records of the log through `triggers.explaining.Watch`, with the registry's
  versions and, read only, the stored state and journal. `offline`: the same of an event file.
- `story`: what both give, and its JSON. `telling`: the same for people, in the user's local time.
- `replay`: whole partitions through `engine.stream.shard.Shard` over a memory store, and
  `comparing`: their decisions held against those of the decisions topic.
"""

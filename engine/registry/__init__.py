"""The registry: which triggers and policies hold, as an append-only topic with versions.

- `entries`: what the topic holds. An *apply* writes the bodies that are new to it and then one
  manifest, which names the revision and state of every trigger and the revision of every policy.
- `history`: the fold of the topic, pure. A manifest is accepted when it was made from the version
  accepted last; any other is void for every reader, so of two applies at once exactly one wins.
  The number of a version is its manifest's offset + 1: it grows, is never 0, and needs no counter.
- `versions`: versions and their definitions, read back from a history.
- `reader`: the topic followed by a process; shards and delivery workers ask it for versions.
- `folder`, `changes`: a workspace folder, and what an apply of it would change.
- `writer`: append an apply, and activate a version: a sealed control record on every partition of
  the log, so that what a shard decides depends on the log alone (design.md section 4).
- `pending`: how many instances the triggers that an apply edits have armed.
- `operations`: apply, pause, resume and read, as the command line and the API use them.
"""

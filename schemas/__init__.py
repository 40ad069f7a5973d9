"""The wire: every record Tripline reads or writes, defined once.

- `events`: what emitters send (the Segment shape), decoded to `Event` or refused as a bad record.
- `kinds`: what tells records of the log apart: the `kind` header, and the seal on engine-made ones.
- `records`: the engine-made kinds of the log: outcome, signal, preference, activate, merge.
- `deliveries`, `decisions`, `deadletters`: what leaves the engine.
- `reasons`: the closed lists of outcomes, reasons and dead-letter reasons.
- `topics`, `partitioner`: the topics, their names and settings, and who lives in which partition.

Nothing here imports anything of ours, reads a clock or does I/O.
"""

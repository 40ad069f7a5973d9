"""The user stage: from records of the log to atomic commits and published deliveries.

Read it in this order:

- `batches`: Faust hands over record batches (up to N consecutive records of one partition), each
  linked to the one before, so that a batch lost on the way is noticed.
- `consumer`: Faust's Kafka consumer, made to start where the store says, not where Kafka says.
- `fetching`: fetched bytes become records.
- `intake`: one record becomes an input of the core, or a dead letter.
- `shard`: the state of one partition: apply inputs, fire timers, build the one commit.
- `actor`: owns a shard while its partition is assigned: order, gaps, back-pressure, publishing.
- `outbox`: publishes what commits left behind, in order, and says what may be trimmed.
- `worker`: the composition root: Faust app, actors, ticks, offsets for the dashboards.
"""

"""The language and the decision. Pure: no I/O, clock, randomness, async or logging.

- A `TriggerDefinition` (`definition`) is what an author writes; `loader` reads a workspace of them,
  every mistake with its place.
- `compile` makes a `Program` of one version of the registry: triggers indexed by event name.
- `UserState` (`state`) is everything remembered of one user.
- `decide` applies one input to one state under one program and collects `Effects`: decisions,
  admitted deliveries, journal, counters.

How they meet: `Program.match` says which roles an event plays, `decide.apply_event` cancels, arms
and turns completed patterns into candidates (`patterns`, `absence`), `admission` says yes or why
not.
"""

"""The language and the decision. Pure: no I/O, clock, randomness, async or logging.

- A `TriggerDefinition` (`definition`) is what an author writes; `loader` reads a workspace of them,
  every mistake with its place.
- `compile` makes a `Program` of one version of the registry: triggers indexed by event name.
- `UserState` (`state`) is everything remembered of one user.
- `decide` applies one input to one state under one program and collects `Effects`: decisions,
  admitted deliveries, journal, counters.

How they meet: `Program.hits` says which roles an event plays, `decide.apply_event` fires what is
due and asks the `patterns`; a completed one arms an instance (`instances`, `absence`) or becomes a
candidate (`booking`), and `admission` says yes or why not.
"""

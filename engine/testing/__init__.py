"""Running the tests that authors write under `tests:`, in virtual time.

- `Case` (`cases`) is one test of one trigger of a workspace, with its place; `-k` picks some.
- `Timeline` (`timeline`) hands a case's events to `triggers.decide`, as the live shard does, and
  keeps every outcome (`Got`).
- `compare` (`compare`) holds them against what was expected: a diff, and whether it is empty.
- `reasons` (`reasons`) says why an event of the test did nothing.
- `run_case` (`run`) puts these together into a `Verdict`; `report`, `junit` print verdicts,
  `watch` tells when to run again.
"""

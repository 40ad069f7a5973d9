"""Play: everything on one machine: a first look, a demonstration, history as if it were live.

- `Ensemble` (`ensemble`): a broker, a Redis, stand-in providers, a worker and a delivery worker as
  child processes, with a workspace applied.
- `play_events` (`player`) appends a clickstream to the log: at its own pace shifted to now, or as
  fast as the machine goes in the log's own time (`--clock log`).
- `Watcher` (`watcher`) follows the decisions, deliveries and accepted pushes; `View` (`view`) shows
  them; `Summary` (`summary`) adds them up.
- `demonstrate` (`demo`) is `make run`.
"""

"""What became of triggers, and what they were worth: pure functions over the funnel counters.

`counters` reads their names and adds them up; `funnel` makes the seven stages of them, `weeks` what
one user gets. `readout` compares the arms of an experiment: `sequences` has the intervals, which
hold however often one looks, `balance` the check that users were shared out as planned, `score`
weighs goals against unsubscribes. `document` is the versioned JSON, `text` what a person reads.
Counters come from the shards (`tripline report`) or a file (`tripline backtest --counters`).
"""

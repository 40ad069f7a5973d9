"""What was decided and what became of it, for warehouses and analytics tools.

- `Dataset` (`rows.py`): the columns of decisions or outcomes, and a record as a row of them.
- `Manifest` (`manifest.py`): which offsets of which source an output folder holds; the truth about
  it, replaced at once after the files it speaks of.
- `Repeats` (`repeats.py`): a record that the engine published twice becomes one row.
- `Folder` (`folder.py`): rows as Parquet files by UTC day, a chunk at a time.
- `export_topic`, `export_file` (`run.py`): from a topic or a backtest's decisions into a folder.
- `write_segment`, `send_segment` (`segment.py`, `sending.py`): outcomes as Segment track events,
  into a file or a topic.
"""

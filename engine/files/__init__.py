"""Event files: reading any history as the events the engine decides about, and writing them.

- `lines.py`: a file as batches of lines, plain, gzip or Zstandard, cut or damaged.
- `load_mapping` (`mapping.py`): which column of a foreign file is what, from `mapping.yaml`.
- `rows.py` turns rows into events by a mapping, `grouping.py` makes one event of an order's lines.
- `read_events` (`reader.py`) yields `FileEvent`s in append order, `ordering.py` sorts those that
  are not; what cannot be read is counted in `Problems`, never raised, unless it is to be strict.
- `to_segment` (`wire.py`) writes an event as the Segment message that gives the same event.
- `open_output` (`output.py`) opens a file to write.
"""

from engine.files.mapping import FileMapping, load_mapping
from engine.files.output import open_output
from engine.files.problems import FileRefused, ProblemKind, Problems, UnsortedError
from engine.files.reader import FileEvent, read_events
from engine.files.wire import to_segment

__all__ = [
    "FileEvent",
    "FileMapping",
    "FileRefused",
    "ProblemKind",
    "Problems",
    "UnsortedError",
    "load_mapping",
    "open_output",
    "read_events",
    "to_segment",
]

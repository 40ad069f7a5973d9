"""Event files: reading any history as the events the engine decides about, and writing them.

- `read_batches` (`source.py`) yields the events of a file or a folder in append order, within a
  `Span`, as columns (`Batch`), `read_events` the same as `FileEvent`s; `open_topic` (`topic.py`)
  reads those of a Kafka topic. What cannot be read is counted in `Problems`, never raised, unless
  it is to be strict.
- `FileReader` (`reader.py`) tells the formats apart. `lines.py`: a file as blocks of lines, plain,
  gzip or Zstandard, cut or damaged. `segment.py` reads messages; `csv_rows.py`, `json_rows.py` and
  `parquet.py` give blocks of rows, which `RowMapper` (`rows.py`, `values.py`) makes events of by a
  mapping (`load_mapping`, `mapping.py`); `grouping.py` makes one event of an order's lines.
- `lines_with` (`looking.py`) finds the few lines that hold a word.
- `ordering.py` sorts what is not in order, in memory or on disk; `numbering.py` numbers rows.
- `to_segment` (`wire.py`) writes an event as the Segment message that gives the same event.
- `open_output` (`output.py`) opens a file to write.
"""

from engine.files.looking import lines_with
from engine.files.mapping import FileMapping, load_mapping
from engine.files.numbering import EVERYTHING, Span
from engine.files.output import open_output
from engine.files.problems import FileRefused, ProblemKind, Problems, UnsortedError
from engine.files.reading import Batch, FileEvent, batch_of, file_events, pairs_of
from engine.files.source import input_bytes, read_batches, read_events
from engine.files.wire import to_segment

__all__ = [
    "EVERYTHING",
    "Batch",
    "FileEvent",
    "FileMapping",
    "FileRefused",
    "ProblemKind",
    "Problems",
    "Span",
    "UnsortedError",
    "batch_of",
    "file_events",
    "input_bytes",
    "lines_with",
    "load_mapping",
    "open_output",
    "pairs_of",
    "read_batches",
    "read_events",
    "to_segment",
]

"""How fast event files are read: rows per CPU second of this process, reading alone.

What is decoded is read in turns with its reader, in short stretches, so that both meet the same
machine; the median stretch counts. The real data sets are read where they lie beside the checkout.
"""

import csv
import gc
import io
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any, Final

import msgspec
import zstandard

from engine.files import load_mapping, read_events
from schemas.events import Event
from tests.bench.history import write_stream
from tests.bench.report import table
from tests.bench.stream import StreamShape

_ROOT: Final = Path(__file__).parents[2]
_DATA: Final = _ROOT.parent / "shared" / "data"
_REAL: Final = {
    "ga360": "ga360_merch_store_2016-08.csv.zst",
    "uci": "uci_online_retail_2010-12_2011-12.csv.zst",
}
_STRETCH: Final = 2_000


def bench_files(quick: bool) -> str:
    """Readers beside the C decoder of their format."""
    rows = []
    most = 15 if quick else 100
    with TemporaryDirectory() as directory:
        events = Path(directory) / "events.jsonl"
        write_stream(events, StreamShape(events=30_000 if quick else 100_000))
        small = Path(directory) / "small.jsonl"
        small.write_bytes(b"".join(map(_small, events.open("rb"))))
        for label, path in (("JSON lines, 490 bytes", events), ("JSON lines, 180 bytes", small)):
            decoded = map(msgspec.json.Decoder(Event).decode, path.open("rb"))
            rows.append([label, *_rates(read_events(path), decoded, most)])
    for name, file in _REAL.items():
        path = _DATA / file
        if path.exists():
            rules = load_mapping(_ROOT / "examples" / name / "mapping.yaml")
            found = _rates(read_events(path, rules), _csv_rows(path), most)
            rows.append([f"CSV by a mapping, {name}", *found])
    head = ["what", "events per CPU s", "its decoder alone", "ratio"]
    return "### Reading event files\n\n" + table(head, rows)


def _rates(ours: Iterator[Any], alone: Iterator[Any], most: int) -> list[str]:
    found: tuple[list[float], list[float]] = ([], [])
    gc.disable()
    try:
        for _ in range(most):
            for source, rates in zip((ours, alone), found, strict=True):
                began_ns = time.process_time_ns()
                count = sum(1 for _ in islice(source, _STRETCH))
                rates.append(count * 1e9 / (time.process_time_ns() - began_ns))
            if count < _STRETCH:
                break
    finally:
        gc.enable()
    # The first stretch opens the file, the last one may be short.
    reader, decoder = (median(rates[1:-1]) for rates in found)
    return [f"{reader:,.0f}", f"{decoder:,.0f}", f"{reader / decoder:.2f}"]


def _small(line: bytes) -> bytes:
    message = msgspec.json.decode(line)
    values = message["properties"]
    kept = {name: message[name] for name in ("type", "messageId", "userId", "event", "receivedAt")}
    kept["properties"] = {name: values[name] for name in ("product_id", "price")}
    return msgspec.json.encode(kept) + b"\n"


def _csv_rows(path: Path) -> Iterator[list[str]]:
    with path.open("rb") as raw:
        unpacked = zstandard.ZstdDecompressor().stream_reader(raw)
        yield from csv.reader(io.TextIOWrapper(unpacked, newline=""))

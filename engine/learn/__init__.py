"""The event catalogue of a workspace: `catalog.yaml`, read, grown from events, written back.

- `read_catalog` (`store.py`) reads and checks the file, `write_catalog` replaces it at once.
- `learn` (`store.py`) merges what events teach (`triggers.learning`) into a catalogue.
- `render_catalog` (`text.py`) is the text: what people wrote, comments included, stays as it is.
"""

from engine.learn.store import CATALOG_FILE, Learned, learn, read_catalog, write_catalog
from engine.learn.text import render_catalog

__all__ = [
    "CATALOG_FILE",
    "Learned",
    "learn",
    "read_catalog",
    "render_catalog",
    "write_catalog",
]

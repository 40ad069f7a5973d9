"""catalog.yaml on disk, and what events teach."""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from engine.files import FileEvent
from engine.learn.text import render_catalog
from triggers.catalog import Catalog
from triggers.catalog_merge import merge_catalogs
from triggers.learning import Learner
from triggers.loader import CATALOG_FILE, load_catalog
from triggers.workspace import DefinitionError, DefinitionErrors

__all__ = ["CATALOG_FILE", "Learned", "learn", "read_catalog", "write_catalog"]


class Learned(NamedTuple):
    """A catalogue and its text after learning.

    `events` were read; `unnamed` of them have names that are not kept (private, or no room).
    """

    catalog: Catalog
    text: str
    events: int
    unnamed: int


def read_catalog(path: Path) -> tuple[Catalog, str] | None:
    """The catalogue and its text; None where there is no file. Raises DefinitionErrors, OSError."""
    try:
        text = path.read_bytes().decode()
    except FileNotFoundError:
        return None
    except UnicodeDecodeError:
        raise DefinitionErrors(
            [DefinitionError(str(path), 1, 1, "this is not UTF-8 text")]
        ) from None
    return load_catalog(str(path), text), text


def learn(events: Iterable[FileEvent], known: tuple[Catalog, str] | None = None) -> Learned:
    """Merge what the events teach into `known`, a catalogue and its text."""
    learner = Learner()
    add = learner.add
    for found in events:
        add(found.a_ms, found.event)
    new = learner.catalog()
    if known is None:
        return Learned(new, render_catalog(new), learner.events, learner.unnamed)
    merged = merge_catalogs(known[0], new)
    text = render_catalog(merged, *known)
    return Learned(merged, text, learner.events, learner.unnamed)


def write_catalog(path: Path, learned: Learned) -> None:
    """Replace the file at once: who reads meanwhile gets the old one or the new one.

    The text is read back first. Raises DefinitionErrors where it is too large, OSError.
    """
    if load_catalog(str(path), learned.text) != learned.catalog:
        raise RuntimeError(f"{path}: the text does not give the catalogue back; nothing is written")
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        beside.write_text(learned.text, encoding="utf-8")
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)

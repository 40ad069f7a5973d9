"""Two catalogues into one: counts add up, what people wrote stays, nothing goes."""

from triggers.catalog import (
    ALL_PATHS_MAX,
    EVENTS_MAX,
    EXAMPLES_MAX,
    PATHS_MAX,
    TYPES,
    Catalog,
    EventEntry,
    PathEntry,
    SharedEntry,
)


def merge_catalogs(old: Catalog, new: Catalog) -> Catalog:
    """`old` with what `new` has learned: counts add up, what people wrote stays.

    New names come after the old ones; where there is no room for them, `open` says so.
    """
    events = dict(old.events)
    room = ALL_PATHS_MAX - sum(len(entry.paths or ()) for entry in events.values())
    is_open = old.open or new.open
    for name, entry in new.events.items():
        if name not in events and len(events) >= EVENTS_MAX:
            is_open = True
            continue
        before = events.get(name, EventEntry(paths={}))
        events[name] = _merge_events(before, entry, min(PATHS_MAX, len(before.paths or ()) + room))
        room -= len(events[name].paths or ()) - len(before.paths or ())
    paths, full = _merge_paths(old.shared.paths, new.shared.paths, PATHS_MAX)
    shared = SharedEntry(paths=paths, open=old.shared.open or new.shared.open or full)
    return Catalog(open=is_open, events=events, shared=shared)


def _merge_events(old: EventEntry, new: EventEntry, paths_max: int) -> EventEntry:
    paths, full = _merge_paths(old.paths or {}, new.paths or {}, paths_max)
    return old.model_copy(
        update={
            "count": old.count + new.count,
            "first": min(filter(None, (old.first, new.first)), default=None),
            "last": max(filter(None, (old.last, new.last)), default=None),
            "open": old.open or new.open or full,
            "paths": paths,
        }
    )


def _merge_paths(
    old: dict[str, PathEntry], new: dict[str, PathEntry], paths_max: int
) -> tuple[dict[str, PathEntry], bool]:
    """The paths of both, and whether some had no room. Below an open path none are added."""
    merged = dict(old)
    full = False
    for path, entry in new.items():
        if path in merged:
            merged[path] = _merge_path(merged[path], entry)
        elif _is_below_open(path, old):
            continue
        elif len(merged) >= paths_max:
            full = True
        else:
            merged[path] = entry
    return merged, full


def _is_below_open(path: str, paths: dict[str, PathEntry]) -> bool:
    names = path.split(".")
    above = (paths.get(".".join(names[:end])) for end in range(2, len(names)))
    return any(entry is not None and entry.open for entry in above)


def _merge_path(old: PathEntry, new: PathEntry) -> PathEntry:
    types = {
        name: old.types.get(name, 0) + new.types.get(name, 0)
        for name in TYPES
        if name in old.types or name in new.types
    }
    dated = [entry.format for entry in (old, new) if "string" in entry.types or entry.format]
    examples = old.examples
    if new.examples == ():
        examples = ()
    elif new.examples and examples != ():
        kept = list(examples or ())
        seen = {(type(item), item) for item in kept}
        kept += [item for item in new.examples if (type(item), item) not in seen]
        examples = tuple(kept[: max(EXAMPLES_MAX, len(examples or ()))])
    return old.model_copy(
        update={
            "types": types,
            "format": dated[0] if dated and len(set(dated)) == 1 else None,
            "examples": examples,
            "open": old.open or new.open,
        }
    )

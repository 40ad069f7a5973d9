"""Files written for a test, and what came out of them."""

from pathlib import Path
from typing import Any

import msgspec

from engine.files import FileEvent, FileMapping, Problems, load_mapping, read_events


def segment(a_ms: int, **fields: Any) -> bytes:
    """One Segment message received at `a_ms` after 2026-01-05T10:00Z, with defaults."""
    minutes, seconds_ms = divmod(a_ms, 60_000)
    message = {
        "type": "track",
        "event": "Seen",
        "userId": "u1",
        "messageId": f"m{a_ms}",
        "receivedAt": f"2026-01-05T10:{minutes:02d}:{seconds_ms / 1000:06.3f}Z",
        **fields,
    }
    return msgspec.json.encode({name: value for name, value in message.items() if value != ""})


def write(path: Path, content: bytes | str) -> Path:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def mapping(folder: Path, text: str) -> FileMapping:
    return load_mapping(write(folder / "mapping.yaml", text))


def read(
    path: Path, rules: FileMapping | None = None, **options: Any
) -> tuple[list[FileEvent], dict[str, int], list[str]]:
    """Events, counts of problems by kind, and all lines said about them."""
    problems = Problems()
    found = list(read_events(path, rules, problems=problems, **options))
    assert problems.events == len(found)
    counts = {str(kind): count for kind, count in problems.counts.items()}
    return found, counts, list(problems.lines())
